package contender

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Rotate gives a member that seals a new data key, which is active when it returns.
func (p *Process) Rotate(ctx context.Context, client *tls.Config) error {
	_, err := p.administer(ctx, client, "rotate", struct{}{}, nil)
	return err
}

// Reseal rewrites the values of a prefix under the active data key, as fast as a member
// does that nobody told a rate, and returns how many there were. each is told about
// once a second how many are done. The rewriting ends with ctx.
func (p *Process) Reseal(ctx context.Context, client *tls.Config, prefix string, each func(done int64)) (int64, error) {
	return p.administer(ctx, client, "reseal", map[string]string{"prefix": prefix}, each)
}

// event is a line of the answer of etcdguard's administration: docs/sealing.md.
type event struct {
	Progress *rewritten `json:"progress"`
	Result   *rewritten `json:"result"`
	Error    *struct {
		Error string `json:"error"`
		Hint  string `json:"hint"`
	} `json:"error"`
}

type rewritten struct {
	Rewritten int64 `json:"rewritten"`
}

func (p *Process) administer(ctx context.Context, client *tls.Config, call string, request any, each func(int64)) (int64, error) {
	done, err := p.post(ctx, client, call, request, each)
	if err != nil && ctx.Err() == nil {
		return done, fmt.Errorf("asking for %s: %w", call, errors.Join(err, p.Alive()))
	}
	return done, err
}

func (p *Process) post(ctx context.Context, client *tls.Config, call string, request any, each func(int64)) (int64, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+p.Addr+"/etcdguard/v1/seal/"+call, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	post.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: client, DisableKeepAlives: true}
	answer, err := transport.RoundTrip(post)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return 0, fmt.Errorf("%s: %s", answer.Status, text)
	}
	return readEvents(answer.Body, each)
}

// readEvents returns what the last line says.
func readEvents(body io.Reader, each func(int64)) (int64, error) {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return 0, fmt.Errorf("reading a line of the answer: %w", err)
		}
		switch {
		case e.Error != nil:
			return 0, fmt.Errorf("%s (%s)", e.Error.Error, e.Error.Hint)
		case e.Result != nil:
			return e.Result.Rewritten, nil
		case e.Progress != nil && each != nil:
			each(e.Progress.Rewritten)
		}
	}
	return 0, errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}
