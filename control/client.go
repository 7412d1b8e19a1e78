package control

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// ClientConfig says where the members are and who asks, like etcdctl's flags.
type ClientConfig struct {
	Endpoints []string // client URLs, https://HOST:PORT; tried in order
	CACert    string   // file: whom the members' certificates are of
	Cert      string   // file: the caller's certificate
	Key       string   // file: its private key
}

// Client asks members for what the handler does.
type Client struct {
	endpoints []string
	http      *http.Client
}

// NewClient reads the files. Nothing is dialled yet.
func NewClient(c ClientConfig) (*Client, error) {
	var endpoints []string
	for _, e := range c.Endpoints {
		if e = strings.TrimSpace(e); !strings.Contains(e, "://") {
			e = "https://" + e
		}
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.User != nil {
			return nil, fmt.Errorf("reading the endpoint %q: it is none; https://HOST:PORT is one", e)
		}
		endpoints = append(endpoints, "https://"+u.Host)
	}
	if len(endpoints) == 0 {
		return nil, errors.New("no endpoint was given")
	}
	certificate, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the caller's certificate: %w", err)
	}
	pem, err := os.ReadFile(c.CACert)
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the authority: %s has no certificate", c.CACert)
	}
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		DisableKeepAlives:     true, // one call is all that it is for
	}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{endpoints: endpoints, http: &http.Client{Transport: transport, CheckRedirect: refuse}}, nil
}

// Status asks a member for the state of sealing.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	out := &Status{}
	return out, c.get(ctx, etcdapi.SealStatus, out)
}

// Ring asks a member for the wrapped ring.
func (c *Client) Ring(ctx context.Context) (*keyring.Document, error) {
	var data json.RawMessage
	if err := c.get(ctx, etcdapi.RingExport, &data); err != nil {
		return nil, err
	}
	return keyring.ParseDocument(data)
}

// Do makes a long call and fills result, a pointer, from its end. each, which may be
// nil, is told every line before that. The error is an *Error where a member gave it;
// result may be filled in part then.
func (c *Client) Do(ctx context.Context, action etcdapi.Action, request any, result any, each func(Event)) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("wording the request: %w", err)
	}
	answer, err := c.ask(ctx, http.MethodPost, action, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return readError(answer)
	}
	return readEvents(answer.Body, result, each)
}

// longestLine bounds one line of an answer: a list of MaxListed long names.
const longestLine = 256 << 20

func readEvents(body io.Reader, result any, each func(Event)) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 64<<10), longestLine)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		e.Line = calm(e.Line)
		switch {
		case e.Error != nil:
			e.Error.calm()
			if e.Error.Part != nil && result != nil {
				_ = json.Unmarshal(e.Error.Part, result)
			}
			return e.Error
		case e.Result != nil:
			if result == nil {
				return nil
			}
			return json.Unmarshal(e.Result, result)
		case each != nil:
			each(e)
		}
	}
	err := lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return &Error{Message: "the member went before it had finished: " + err.Error(), Fix: "run this again; it goes on from where it was"}
}

func (c *Client) get(ctx context.Context, action etcdapi.Action, into any) error {
	answer, err := c.ask(ctx, http.MethodGet, action, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return readError(answer)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 16<<20)).Decode(into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// ask tries one endpoint after the other while none can be reached, or is ready. A
// call that a member has begun is never made again elsewhere.
func (c *Client) ask(ctx context.Context, method string, action etcdapi.Action, body []byte) (*http.Response, error) {
	var failures []error
	for i, endpoint := range c.endpoints {
		request, err := http.NewRequestWithContext(ctx, method, endpoint+etcdapi.AdminPath(action), bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("asking %s: %w", endpoint, err)
		}
		sent := false
		request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { sent = true },
		}))
		if method == http.MethodPost {
			request.Header.Set("Content-Type", "application/json")
		}
		answer, err := c.http.Do(request)
		switch {
		case err != nil && sent && method == http.MethodPost:
			return nil, &unreachable{err}
		case err != nil:
			failures = append(failures, err)
		case answer.StatusCode == http.StatusServiceUnavailable && i+1 < len(c.endpoints):
			failures = append(failures, readError(answer))
			answer.Body.Close()
		default:
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, &unreachable{errors.Join(failures...)}
}

// unreachable: no member answered.
type unreachable struct{ error }

func (u *unreachable) Error() string { return "asking the members: " + u.error.Error() }

func (u *unreachable) Hint() string {
	return "are the members running, are --endpoints theirs, and are --cacert, --cert and --key those of this cluster?"
}

// readError makes an error of an answer that is one.
func readError(answer *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	e := &Error{}
	if json.Unmarshal(data, e) == nil && e.Message != "" {
		e.calm()
		return e
	}
	switch answer.StatusCode {
	case http.StatusForbidden:
		return &Error{Message: "permission denied", Fix: "the policy must let this caller do it; its log says which rule is missing: Seal.* and Ring.* in docs/policy.md"}
	case http.StatusNotFound:
		return &Error{Message: "this member has no administration of sealing", Fix: "is it an etcdguard, and of a version that seals?"}
	}
	return &Error{Message: fmt.Sprintf("the member answered %s", answer.Status)}
}

// calm keeps the words of a member from speaking to the caller's terminal: whoever owns
// one node chooses them.
func (e *Error) calm() { e.Message, e.Fix = calm(e.Message), calm(e.Fix) }

func calm(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
