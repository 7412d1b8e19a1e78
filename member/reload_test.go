package member

import (
	"crypto/tls"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/pki"
)

// metric is the value of one of the member's own metrics; labels are "name=value".
func (m *Member) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := m.config.Registry.(*prometheus.Registry).Gather()
	check(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	next:
		for _, one := range f.GetMetric() {
			for _, label := range one.GetLabel() {
				if !slices.Contains(labels, label.GetName()+"="+label.GetValue()) {
					continue next
				}
			}
			return one.GetCounter().GetValue() + one.GetGauge().GetValue()
		}
	}
	return 0
}

// session is one gRPC connection with TLS sessions that can be resumed.
func (w *world) session(c *tls.Config) *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+w.clientAddr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	check(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// A revoked caller is out as soon as the list says so: its open connection ends,
// its session can't be resumed, and nobody else notices.
func TestARevokedCallerIsOutAtOnce(t *testing.T) {
	w := newWorld(t)
	w.write("crl.pem", w.crl())
	m := w.start("client-crl-file=" + w.file("crl.pem"))
	revoked, kept := w.tls("watcher", "h2"), w.tls("watcher", "h2")
	revoked.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	bad, good := openWatch(t, w.session(revoked), "/w/a"), openWatch(t, w.session(kept), "/w/a")
	resumed, err := tls.Dial("tcp", w.clientAddr, revoked)
	check(t, err)
	if !resumed.ConnectionState().DidResume {
		t.Fatal("the session was not resumed: this test shows nothing")
	}
	resumed.Close()

	w.write("crl.pem", w.crl(revoked.Certificates[0].Leaf))
	if _, err := bad.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the revoked caller's watch ended with %v", err)
	}
	if conn, err := tls.Dial("tcp", w.clientAddr, revoked); err == nil {
		if _, err = conn.Read(make([]byte, 1)); err == nil {
			t.Error("the revoked caller was let in again")
		}
		conn.Close()
	}
	_, err = w.client("admin").Put(withTimeout(t), "/w/a", "1")
	check(t, err)
	if event, err := good.Recv(); err != nil || len(event.Events) != 1 {
		t.Errorf("the other caller's watch got %v, %v", event, err)
	}
	eventually(t, "one closed connection in the metrics", func() bool { return m.metric(t, "etcdguard_connections_closed_total") == 1 })
	if n := m.metric(t, "etcdguard_handshakes_failed_total"); n == 0 {
		t.Error("the refused handshake was not counted")
	}
	if !strings.Contains(w.log(), "connection closed") || !strings.Contains(w.log(), "revoked") {
		t.Error("the log does not say who was closed out and why")
	}
}

// Streams outlive certificates unless somebody looks.
func TestAConnectionEndsWithItsCertificate(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	// A year ago, but for the seconds that it is good for yet.
	soon := time.Now().Add(-365*24*time.Hour + 5*time.Second)
	leaf, err := w.clients.Issue(w.profile(pki.Client, "watcher"), soon)
	check(t, err)
	c := w.tls("watcher", "h2")
	other := openWatch(t, w.session(w.tls("watcher", "h2")), "/w/a")
	c.Certificates = []tls.Certificate{leaf.TLS()}
	if _, err := openWatch(t, w.session(c), "/w/a").Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
	if time.Now().Before(leaf.Certificate.NotAfter) {
		t.Error("the watch ended before its certificate did")
	}
	eventually(t, "one closed connection in the metrics", func() bool { return m.metric(t, "etcdguard_connections_closed_total") == 1 })
	check(t, other.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}))
	if _, err := other.Recv(); err != nil {
		t.Errorf("the other watch ended too: %v", err)
	}
}

func TestABadReloadKeepsTheOldStateAndSaysSo(t *testing.T) {
	mismatched := func(w *world) { check(w.t, w.issue(pki.Server, "m1").Save(w.file("other.crt"), w.file("server.key"))) }
	for name, c := range map[string]struct {
		what  string
		spoil func(*world)
	}{
		"a broken revocation list": {"certificates", func(w *world) { w.write("crl.pem", []byte("nonsense")) }},
		"a broken certificate":     {"certificates", func(w *world) { w.write("server.crt", []byte("nonsense")) }},
		"a mismatched key":         {"certificates", mismatched},
		"an absent authority":      {"certificates", func(w *world) { check(w.t, os.Remove(w.file("ca.crt"))) }},
		"a broken policy":          {"policy", func(w *world) { w.write("policy.yaml", []byte(thePolicy+"unknown: 1\n")) }},
		"an absent policy":         {"policy", func(w *world) { check(w.t, os.Remove(w.file("policy.yaml"))) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("crl.pem", w.crl())
			m := w.start("client-crl-file=" + w.file("crl.pem"))
			failing := func() bool { return m.metric(t, "etcdguard_reload_failing", "what="+c.what) == 1 }
			if failing() {
				t.Fatal("a reload failed before anything was spoilt")
			}
			admin := w.dial("admin")
			open := openWatch(t, admin, "/w/a")
			c.spoil(w)
			eventually(t, "the failed reload in the metrics", failing)
			if n := m.metric(t, "etcdguard_reloads_total", "what="+c.what, "result=kept_old"); n == 0 {
				t.Error("no reload is counted as kept_old")
			}
			if !strings.Contains(w.log(), "reloaded; the old") {
				t.Error("the log does not say that the old state is in force")
			}
			// New and old connections are served as before.
			_, err := w.client("admin").Put(withTimeout(t), "/w/a", "1")
			check(t, err)
			if _, err := open.Recv(); err != nil {
				t.Error(err)
			}
			if _, err := w.client("stranger").Get(withTimeout(t), "/w/a"); err == nil {
				t.Error("a stranger is served")
			}

			w.write("ca.crt", pki.EncodeCertificates(w.clients.Certificate()))
			w.write("policy.yaml", []byte(thePolicy))
			check(t, w.issue(pki.Server, "m1").Save(w.file("server.crt"), w.file("server.key")))
			w.write("crl.pem", w.crl())
			eventually(t, "the good reload in the metrics", func() bool { return !failing() })
			if n := m.metric(t, "etcdguard_reloads_total", "what="+c.what, "result=ok"); n == 0 {
				t.Error("no reload is counted as ok")
			}
		})
	}
}

// The authority of callers is rotated without a restart and without a gap: the
// next one is trusted beside the old one, then alone.
func TestANewAuthorityIsTrustedWithoutARestart(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	next, err := pki.NewAuthority(pki.Clients, "next", time.Now())
	check(t, err)
	leaf, err := next.Issue(w.profile(pki.Client, "admin"), time.Now())
	check(t, err)
	c := w.tls("", "h2")
	c.Certificates = []tls.Certificate{leaf.TLS()}
	put := func(conn *grpc.ClientConn) error {
		_, err := pb.NewKVClient(conn).Put(withTimeout(t), &pb.PutRequest{Key: []byte("/w/a")})
		return err
	}
	if put(w.session(c)) == nil {
		t.Fatal("an authority that is not in the file is trusted")
	}
	old := openWatch(t, w.dial("admin"), "/w/a")
	w.write("ca.crt", pki.EncodeCertificates(w.clients.Certificate(), next.Certificate()))
	eventually(t, "the new authority in force", func() bool { return put(w.session(c)) == nil })
	if _, err := old.Recv(); err != nil {
		t.Errorf("a caller of the old authority: %v", err)
	}
	w.write("ca.crt", pki.EncodeCertificates(next.Certificate()))
	for err == nil {
		_, err = old.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the watch of the old authority's caller ended with %v", err)
	}
	check(t, put(w.session(c)))
	if m.metric(t, "etcdguard_certificate_days_left", "certificate=client_ca") < 3000 {
		t.Error("the days left of the authority are not shown")
	}
}

// A policy that takes a right away ends the watch that stood on it, and no other.
func TestAPolicyThatTakesARightAwayEndsItsWatches(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	conn := w.dial("watcher")
	gone, admins := openWatch(t, conn, "/w/a"), openWatch(t, w.dial("admin"), "/w/a")
	w.write("policy.yaml", []byte(strings.Replace(thePolicy, "prefix: /w/", "prefix: /other/", 1)))
	answer, err := gone.Recv()
	check(t, err)
	if !answer.Canceled || !strings.Contains(answer.CancelReason, "permission denied") {
		t.Errorf("the watch got %v", answer)
	}
	_, err = w.client("admin").Put(withTimeout(t), "/w/a", "1")
	check(t, err)
	if answer, err := admins.Recv(); err != nil || len(answer.Events) != 1 {
		t.Errorf("the admin's watch got %v, %v", answer, err)
	}
	if m.metric(t, "etcdguard_policy_enforcing") != 1 {
		t.Error("etcdguard_policy_enforcing is not 1")
	}
	w.write("policy.yaml", []byte(strings.Replace(thePolicy, "kind: Policy", "kind: Policy\nmode: observe", 1)))
	eventually(t, "the metrics to say that the policy observes", func() bool { return m.metric(t, "etcdguard_policy_enforcing") == 0 })
}
