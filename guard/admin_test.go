package guard

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/etcdapi"
)

// TestAdministrationNeedsARuleThatEnforces asks for every call as callers of every
// kind, under policies that enforce and that observe.
func TestAdministrationNeedsARuleThatEnforces(t *testing.T) {
	const observing = `
  - {name: seen, match: {cn: [seen]}}
rules:
  - {name: seen, callers: [seen], actions: ["*"], keys: [{all: true}], mode: observe}
  - {name: admin, callers: [admin], role: admin}`
	const callers = "\ncallers:\n  - {name: admin, match: {cn: [admin]}}\n  - {name: monitor, match: {cn: [monitor]}}"
	const head = "apiVersion: etcdguard.dev/v1\nkind: Policy\n"
	policies := map[string]string{
		"enforcing":        head + callers + "\nrules:\n  - {name: admin, callers: [admin], role: admin}\n  - {name: monitor, callers: [monitor], role: monitor}\n",
		"observing rule":   head + callers + observing,
		"observing policy": head + "mode: observe\n" + callers + "\nrules:\n  - {name: admin, callers: [admin], role: admin}\n",
	}
	calls := 0
	for name, text := range policies {
		f := newFixture(t)
		f.SetPolicy(parsePolicy(t, text))
		for _, a := range etcdapi.Actions() {
			path := etcdapi.AdminPath(a)
			if path == "" {
				continue
			}
			for _, cn := range []string{"admin", "monitor", "seen", "nobody", ""} {
				calls++
				reached := false
				h := f.HTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if reached = true; !strings.Contains(CallerName(r), cn) {
						t.Errorf("%s is called %q", cn, CallerName(r))
					}
				}))
				p, _ := peer.FromContext(as(cn))
				r := httptest.NewRequest("POST", path, nil)
				r = r.WithContext(ConnContext(r.Context(), fakeConn{addr: p.Addr.(*certs.Addr)}))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				want := cn == "admin" ||
					cn == "monitor" && name == "enforcing" && a == etcdapi.SealStatus
				if reached != want || want != (w.Code == http.StatusOK) {
					t.Errorf("%s: %v as %q: reached %v with %d, want %v", name, a, cn, reached, w.Code, want)
				}
			}
		}
		if !strings.Contains(f.log.String(), "Seal.Phase") {
			t.Errorf("%s: denials are not on record:\n%s", name, f.log.String())
		}
	}
	if calls < 3*5*8 {
		t.Fatalf("only %d calls were tried", calls)
	}
}

// A call waits for members as long as it takes, and reseals for hours.
func TestACallEndsWithTheRuleThatAllowedIt(t *testing.T) {
	f := newFixture(t)
	begun, ended := make(chan struct{}, 2), make(chan error, 2)
	h := f.HTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		select {
		case <-r.Context().Done():
			ended <- context.Cause(r.Context())
		case <-time.After(time.Minute):
			ended <- nil
		}
	}))
	for range 2 {
		p, _ := peer.FromContext(as("admin"))
		r := httptest.NewRequest("POST", etcdapi.AdminPath(etcdapi.SealPhase), nil)
		r = r.WithContext(ConnContext(r.Context(), fakeConn{addr: p.Addr.(*certs.Addr)}))
		go h.ServeHTTP(httptest.NewRecorder(), r)
		<-begun
	}
	f.SetPolicy(parsePolicy(t, testPolicy)) // as it was
	select {
	case why := <-ended:
		t.Fatalf("a policy that still allows it ended it: %v", why)
	default:
	}
	f.SetPolicy(parsePolicy(t, strings.Replace(testPolicy, "callers: [admin], role: admin", "callers: [admin], role: monitor", 1)))
	for range 2 {
		if why := <-ended; why == nil || !strings.Contains(why.Error(), "permission denied") {
			t.Errorf("it ended with %v", why)
		}
	}
}

// fakeConn is a connection of which only the other end is known.
type fakeConn struct {
	net.Conn
	addr net.Addr
}

func (c fakeConn) RemoteAddr() net.Addr { return c.addr }
