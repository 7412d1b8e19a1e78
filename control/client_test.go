package control

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/pki"
)

// members are servers with mTLS, and the files of one client.
type members struct {
	t      *testing.T
	ca     *pki.Authority
	config ClientConfig
}

func newMembers(t *testing.T) *members {
	t.Helper()
	dir := t.TempDir()
	ca, err := pki.NewAuthority(pki.Clients, "test", time.Now())
	check(t, err)
	leaf, err := ca.Issue(pki.Profile{Use: pki.Client, Subject: pkix.Name{CommonName: "admin"}}, time.Now())
	check(t, err)
	m := &members{t: t, ca: ca, config: ClientConfig{CACert: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "c.crt"), Key: filepath.Join(dir, "c.key")}}
	check(t, leaf.Save(m.config.Cert, m.config.Key))
	check(t, pki.WriteFile(m.config.CACert, pki.EncodeCertificates(ca.Certificate()), 0o600))
	return m
}

// serve adds a member.
func (m *members) serve(h http.HandlerFunc) {
	leaf, err := m.ca.Issue(pki.Profile{Use: pki.Server, Subject: pkix.Name{CommonName: "m"}, IP: []net.IP{net.IPv4(127, 0, 0, 1)}}, time.Now())
	check(m.t, err)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}, ClientCAs: m.ca.CertPool(), ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	m.t.Cleanup(s.Close)
	m.config.Endpoints = append(m.config.Endpoints, s.URL)
}

func (m *members) client() *Client {
	c, err := NewClient(m.config)
	check(m.t, err)
	return c
}

// deadEndpoint is one that nobody listens on.
func deadEndpoint(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return "https://" + l.Addr().String()
}

func TestClientGoesToTheNextMember(t *testing.T) {
	m := newMembers(t)
	m.config.Endpoints = []string{deadEndpoint(t)}
	m.serve(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, refusal(http.StatusServiceUnavailable, "its ring is shut", ""))
	})
	var asked atomic.Int32
	m.serve(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.ProtoMajor != 1 || r.TLS.PeerCertificates[0].Subject.CommonName != "admin" {
			t.Errorf("asked over %s as %v", r.Proto, r.TLS.PeerCertificates[0].Subject)
		}
		_, _ = w.Write([]byte(`{"line":"begun"}` + "\n" + `{}` + "\n" + `{"result":{"number":7}}` + "\n"))
	})
	var result RotateResult
	lines := 0
	if err := m.client().Do(ctx(t), etcdapi.SealRotate, RotateRequest{}, &result, func(Event) { lines++ }); err != nil || result.Number != 7 || lines != 2 || asked.Load() != 1 {
		t.Errorf("%+v, %d lines: %v", result, lines, err)
	}
}

// TestACallThatBeganIsNotMadeAgainElsewhere: a rotation made twice makes two keys.
func TestACallThatBeganIsNotMadeAgainElsewhere(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"before it answered": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"in the middle": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"line":"begun"}` + "\n"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		m := newMembers(t)
		m.serve(first)
		m.serve(func(http.ResponseWriter, *http.Request) { t.Errorf("%s: asked again", name) })
		err := m.client().Do(ctx(t), etcdapi.SealRotate, RotateRequest{}, nil, nil)
		var hinted interface{ Hint() string }
		if err == nil || !errors.As(err, &hinted) || hinted.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswersThatAreErrors(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   []string
	}{
		"denied by the guard": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "permission denied", http.StatusForbidden) }, []string{"permission denied", "policy"}},
		"no such path":        {http.NotFound, []string{"no administration", "etcdguard"}},
		"refused":             {func(w http.ResponseWriter, _ *http.Request) { refuse(w, refusal(409, "not now", "later")) }, []string{"not now", "later"}},
		"failed on the way": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"line":"x"}` + "\n" + `{"error":{"error":"broke","hint":"mend","part":{"number":3}}}` + "\n"))
		}, []string{"broke", "mend"}},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>\n")) }, []string{"reading the answer"}},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.invalid/", http.StatusTemporaryRedirect)
		}, []string{"307"}},
		"cut in a line": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"result":{"numb`)) }, []string{"reading the answer"}},
	} {
		m := newMembers(t)
		m.serve(test.answer)
		var result RotateResult
		err := m.client().Do(ctx(t), etcdapi.SealRotate, RotateRequest{}, &result, nil)
		text := ""
		if err != nil {
			text = err.Error()
		}
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			text += " | " + hinted.Hint()
		}
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q does not say %q", name, text, want)
			}
		}
		if name == "failed on the way" && result.Number != 3 {
			t.Errorf("what was done is lost: %+v", result)
		}
	}
}

func TestAMemberDoesNotSpeakToTheTerminal(t *testing.T) {
	const evil = "a\x1b]0;b\a\x1b[2J\u202e"
	for name, answer := range map[string]http.HandlerFunc{
		"at once": func(w http.ResponseWriter, _ *http.Request) { refuse(w, refusal(409, evil, evil)) },
		"on the way": func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(Event{Line: evil})
			_ = json.NewEncoder(w).Encode(Event{Error: &Error{Message: evil, Fix: evil}})
		},
	} {
		m := newMembers(t)
		m.serve(answer)
		said := ""
		err := m.client().Do(ctx(t), etcdapi.SealRotate, RotateRequest{}, nil, func(e Event) { said += e.Line })
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v", name, err)
		}
		if all := said + e.Message + e.Fix; strings.ContainsAny(all, "\x1b\a\u202e") || !strings.HasPrefix(e.Message, "a") {
			t.Errorf("%s: %q", name, all)
		}
	}
}

func TestBadConfigurations(t *testing.T) {
	m := newMembers(t)
	good := m.config
	for name, change := range map[string]func(*ClientConfig){
		"no endpoint":     func(c *ClientConfig) { c.Endpoints = nil },
		"plaintext":       func(c *ClientConfig) { c.Endpoints = []string{"http://127.0.0.1:1"} },
		"a path":          func(c *ClientConfig) { c.Endpoints = []string{"https://127.0.0.1:1/x"} },
		"no file":         func(c *ClientConfig) { c.Key += ".not" },
		"no authority":    func(c *ClientConfig) { c.CACert = c.Key },
		"key not fitting": func(c *ClientConfig) { c.Cert = c.CACert },
	} {
		c := good
		c.Endpoints = []string{"127.0.0.1:1"}
		change(&c)
		if _, err := NewClient(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	good.Endpoints = []string{deadEndpoint(t)}
	c, err := NewClient(good)
	check(t, err)
	if _, err := c.Status(ctx(t)); err == nil || !strings.Contains(err.Error(), "asking the members") {
		t.Errorf("nobody there: %v", err)
	}
}
