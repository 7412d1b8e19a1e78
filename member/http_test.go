package member

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// get returns the status, the body and the protocol of an answer.
func get(t *testing.T, c *http.Client, url string) (int, string, string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	check(t, err)
	return r.StatusCode, string(body), r.Proto
}

// What a healthy member's HTTP endpoints answer, by a word of it.
var endpoints = map[string]string{
	"/health":                  `"health":"true"`,
	"/health?serializable=1":   `"health":"true"`,
	"/livez":                   "ok",
	"/readyz":                  "ok",
	"/readyz?verbose":          "data_corruption",
	"/version":                 `"etcdserver":"3.7.`,
	"/metrics":                 "etcd_server_has_leader 1",
	"/readyz/data_corruption":  "ok",
	"/livez/serializable_read": "ok",
}

// closedPaths are those that etcd has over HTTP and the member must not.
var closedPaths = []string{
	"/debug/vars", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/requests", "/debug/events",
	"/v3/kv/range", "/v3beta/kv/range", "/v3/auth/authenticate", "/v3/lock/lock", "/v2/keys", "/members", "/raft", "/",
	"//health/../debug/vars", "/config/local/log",
}

// TestHTTPClientsAreServedAndJudged is curl's and kubelet's way in: ALPN with both
// protocols offered, on the port that speaks gRPC to those who offer only h2.
func TestHTTPClientsAreServedAndJudged(t *testing.T) {
	w := newWorld(t)
	webOnly := freeAddress(t)
	w.start("listen-client-http-urls=https://" + webOnly)
	allowed, stranger, watcher := w.curl("monitor"), w.curl("stranger"), w.curl("watcher")
	for _, base := range []string{"https://" + w.clientAddr, "https://" + webOnly} {
		for path, want := range endpoints {
			status, body, protocol := get(t, allowed, base+path)
			if status != http.StatusOK || !strings.Contains(body, want) || protocol != "HTTP/1.1" {
				t.Errorf("GET %s%s: %d over %s, without %q in it:\n%.300s", base, path, status, protocol, want, body)
			}
			for name, denied := range map[string]*http.Client{"stranger": stranger, "watcher": watcher} {
				if status, body, _ := get(t, denied, base+path); status != http.StatusForbidden || strings.Contains(body, want) {
					t.Errorf("GET %s%s as %s: %d, want 403:\n%.300s", base, path, name, status, body)
				}
			}
		}
		admin := w.curl("admin")
		for _, path := range closedPaths {
			if status, body, _ := get(t, admin, base+path); status != http.StatusNotFound {
				t.Errorf("GET %s%s: %d, want 404:\n%.300s", base, path, status, body)
			}
			// /debug is an action of the policy, so a stranger learns no more than that.
			if status, body, _ := get(t, stranger, base+path); status != http.StatusNotFound && status != http.StatusForbidden {
				t.Errorf("GET %s%s as a stranger: %d:\n%.300s", base, path, status, body)
			}
		}
	}

	// gRPC on the same port, by a client that offers h2 alone.
	if _, err := w.client("admin").Put(withTimeout(t), "/w/a", "1"); err != nil {
		t.Error(err)
	}
	// The port for HTTP alone lets no gRPC through.
	if conn, err := tls.Dial("tcp", webOnly, w.tls("admin", "h2")); err == nil {
		if _, err = conn.Read(make([]byte, 1)); err == nil {
			t.Error("the HTTP port speaks HTTP/2")
		}
		conn.Close()
	}
}

// What a caller may send is bounded before anybody is asked what to do with it.
func TestHTTPRequestsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.start()
	r, err := http.NewRequest(http.MethodGet, "https://"+w.clientAddr+"/health", nil)
	check(t, err)
	r.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	answer, err := w.curl("monitor").Do(r)
	check(t, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a request with 64 KiB of headers: %d", answer.StatusCode)
	}
}

// Metrics URLs are for kubelet and Prometheus, which bring no certificate over
// http; over https they need one of the client authority, as with etcd.
func TestMetricsURLs(t *testing.T) {
	w := newWorld(t)
	plain, secure := freeAddress(t), freeAddress(t)
	w.start("listen-metrics-urls=http://" + plain + ",https://" + secure)
	anyone := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(anyone.CloseIdleConnections)
	for path, want := range map[string]string{"/metrics": "etcd_server_has_leader 1", "/health": `"health":"true"`, "/livez": "ok", "/readyz": "ok"} {
		for base, c := range map[string]*http.Client{"http://" + plain: anyone, "https://" + secure: w.curl("stranger")} {
			if status, body, _ := get(t, c, base+path); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("GET %s%s: %d:\n%.300s", base, path, status, body)
			}
		}
	}
	for _, path := range append([]string{"/version"}, closedPaths...) {
		if status, body, _ := get(t, anyone, "http://"+plain+path); status != http.StatusNotFound {
			t.Errorf("GET %s at the metrics URL: %d:\n%.300s", path, status, body)
		}
	}
	if _, err := w.curl("").Get("https://" + secure + "/metrics"); err == nil {
		t.Error("the https metrics URL serves a caller without a certificate")
	}
}

// Readiness is the guard's word too: probes must not send clients to a member
// that is leaving, and must not restart it for that.
func TestProbesSeeAMemberThatDrains(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	c, base := w.curl("monitor"), "https://"+w.clientAddr
	admin := w.dial("admin")
	m.guard.SetReady(false)
	for path, want := range map[string]int{"/health": 503, "/readyz": 503, "/livez": 200, "/metrics": 200} {
		if status, body, _ := get(t, c, base+path); status != want {
			t.Errorf("GET %s of a member that is not ready: %d, want %d:\n%.300s", path, status, want, body)
		}
	}
	answer, err := healthpb.NewHealthClient(admin).Check(withTimeout(t), &healthpb.HealthCheckRequest{})
	check(t, err)
	if answer.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("grpc.health.v1 says %v of a member that is not ready", answer.Status)
	}
	m.guard.SetReady(true)
	if status, _, _ := get(t, c, base+"/readyz"); status != http.StatusOK {
		t.Errorf("GET /readyz of a ready member: %d", status)
	}
}

// Without a certificate there is no connection, whatever is asked on it.
func TestNobodyGetsNoConnection(t *testing.T) {
	w := newWorld(t)
	w.start()
	if r, err := w.curl("").Get("https://" + w.clientAddr + "/health"); err == nil {
		t.Errorf("GET /health without a certificate: %d", r.StatusCode)
	}
	ctx, cancel := context.WithCancel(withTimeout(t))
	defer cancel()
	if _, err := healthpb.NewHealthClient(w.dial("")).Check(ctx, &healthpb.HealthCheckRequest{}); err == nil {
		t.Error("a gRPC client without a certificate was served")
	}
	other := newWorld(t) // another cluster's authority with the same names
	conn, err := tls.Dial("tcp", w.clientAddr, func() *tls.Config {
		c := other.tls("admin", "h2")
		c.RootCAs = w.clients.CertPool()
		return c
	}())
	if err == nil {
		if _, err = conn.Read(make([]byte, 1)); err == nil {
			t.Error("a certificate of another authority opens the port")
		}
		conn.Close()
	}
}
