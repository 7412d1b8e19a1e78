package prove

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/etcdguard/etcdguard/atrest"
	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// nothingInTheClear looks at every byte of the member's files. The sealed values that
// it finds are the control: a scan that recognised nothing would find no plaintext
// either.
func (a *attempt) nothingInTheClear(ctx context.Context) (string, error) {
	if len(a.Data) == 0 {
		return "", untried("the member's data directory is not on this machine")
	}
	r, err := atrest.Scan(ctx, a.Data, atrest.Options{})
	if err != nil {
		return "", untried("%w", err)
	}
	var sealed atrest.Count
	for _, row := range r.Totals {
		if row.Kind == atrest.Sealed {
			sealed = row.Total()
		}
	}
	if breaches := r.Breaches(atrest.Expect{Sealed: true}); len(breaches) > 0 {
		const most = 3
		more := ""
		if n := len(breaches) - most; n > 0 {
			more = fmt.Sprintf("; and %d more", n)
		}
		return "", errors.New(strings.Join(breaches[:min(most, len(breaches))], "; ") + more)
	}
	if sealed.Values == 0 {
		return "", untried("no sealed value was found either, so the scan shows nothing")
	}
	return fmt.Sprintf("%d sealed values in %d bytes, and none in the clear", sealed.Values, r.Bytes), nil
}

// settling is how long a member that has only just started may take to acknowledge
// the ring.
var settling = 20 * time.Second

// everyMemberSeals asks the member for the state of sealing. It is the member's own
// word, and that of the others which it has seen; the canary is the test of it.
func (a *attempt) everyMemberSeals(ctx context.Context) (string, error) {
	for deadline := time.Now().Add(settling); ; {
		s, err := a.sealStatus(ctx)
		if err != nil {
			return "", err
		}
		wrong, behind := judgeSealing(s), behind(s)
		if wrong == nil && behind != nil && time.Now().Before(deadline) {
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
				continue
			}
		}
		return fmt.Sprintf("ring %s, generation %d, %d members, %d key providers", s.Ring, s.Generation, len(s.Members), len(s.Providers)),
			errors.Join(wrong, behind)
	}
}

// judgeSealing is what is wrong, however long one waits.
func judgeSealing(s control.Status) error {
	var wrong []error
	if s.Phase != keyring.Strict {
		wrong = append(wrong, fmt.Errorf("the phase is %s, and values may be in the clear in any but strict", s.Phase))
	}
	if s.Refusal != "" {
		wrong = append(wrong, errors.New(s.Refusal))
	}
	for _, m := range s.Members {
		if m.Unguarded {
			wrong = append(wrong, fmt.Errorf("%s runs without etcdguard", m.Name))
		}
	}
	opens := 0
	for _, p := range s.Providers {
		if p.Healthy {
			opens++
		} else {
			wrong = append(wrong, fmt.Errorf("key provider %s: %s", p.Name, p.Problem))
		}
	}
	if len(s.Members) == 0 || opens == 0 {
		wrong = append(wrong, errors.New("it names no member, or no key provider that works"))
	}
	return errors.Join(wrong...)
}

// behind names the members that have not acknowledged the ring.
func behind(s control.Status) error {
	var names []error
	for _, m := range s.Members {
		if !m.Unguarded && (!m.Guarded || !m.Confirmed) {
			names = append(names, fmt.Errorf("%s has not acknowledged generation %d of the ring", m.Name, s.Generation))
		}
	}
	return errors.Join(names...)
}

func (a *attempt) sealStatus(ctx context.Context) (s control.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*askFor)
	defer cancel()
	browser, err := a.browserAs(a.Admin)
	if err != nil {
		return s, err
	}
	defer browser.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+a.Client+etcdapi.AdminPath(etcdapi.SealStatus), nil)
	if err != nil {
		return s, err
	}
	resp, err := browser.Do(req)
	if err != nil {
		return s, untried("%w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the member does not say how it seals: %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 8<<20)).Decode(&s); err != nil {
		return s, untried("reading the state of sealing: %w", err)
	}
	return s, nil
}
