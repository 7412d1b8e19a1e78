package member

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/etcdguard/etcdguard/pki"
)

// asMember in its environment makes the test binary the daemon.
const asMember = "MEMBER_TEST_IS_THE_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(asMember) != "" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "ETCD_") {
			os.Unsetenv(name) // a member takes all of them for its own
		}
	}
	os.Exit(m.Run())
}

// host is an address that no other process listens on, so that tests that run side
// by side can't take each other's ports.
var host = func() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1" // the only one there is
	}
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 64+pid>>16&63, pid>>8&255, max(1, pid&255))
}()

var ports struct {
	sync.Mutex
	taken map[string]bool
}

// freeAddress is an address that was free a moment ago and is handed out once.
func freeAddress(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		if ports.taken == nil {
			ports.taken = map[string]bool{}
		}
		if !ports.taken[addr] {
			ports.taken[addr] = true
			return addr
		}
	}
}

// world is the authorities of one cluster, and the files of one member of it.
type world struct {
	t              testing.TB
	dir            string
	name           string
	clients, peers *pki.Authority
	clientAddr     string
	peerAddr       string
	cluster        string // "" is this member alone
	flags          map[string]string
}

// thePolicy lets admin do everything and watcher look at one prefix; any other
// certificate is good for a handshake and nothing more.
const thePolicy = `apiVersion: etcdguard.dev/v1
kind: Policy
callers:
  - {name: admin, match: {cn: [admin]}}
  - {name: monitor, match: {cn: [monitor]}}
  - {name: watcher, match: {cn: [watcher]}}
rules:
  - {name: admin, callers: [admin], role: admin}
  - {name: monitor, callers: [monitor], role: monitor}
  - {name: watcher, callers: [watcher], actions: [Watch.Watch, KV.Range], keys: [{prefix: /w/}]}
`

func newWorld(t testing.TB) *world {
	t.Helper()
	now := time.Now()
	clients, err := pki.NewAuthority(pki.Clients, "test", now)
	check(t, err)
	peers, err := pki.NewAuthority(pki.Peers, "test", now)
	check(t, err)
	return (&world{t: t, clients: clients, peers: peers}).newMember("m1")
}

// newMember is another member's files under the same authorities.
func (w *world) newMember(name string) *world {
	w.t.Helper()
	m := &world{
		t: w.t, dir: w.t.TempDir(), name: name, clients: w.clients, peers: w.peers,
		clientAddr: freeAddress(w.t), peerAddr: freeAddress(w.t),
	}
	m.write("ca.crt", pki.EncodeCertificates(m.clients.Certificate()))
	m.write("peer-ca.crt", pki.EncodeCertificates(m.peers.Certificate()))
	check(m.t, m.issue(pki.Server, name).Save(m.file("server.crt"), m.file("server.key")))
	check(m.t, m.issue(pki.Peer, name).Save(m.file("peer.crt"), m.file("peer.key")))
	m.write("policy.yaml", []byte(thePolicy))
	m.guardConfig("")
	m.flags = map[string]string{
		"name": name, "data-dir": m.file("data"),
		"listen-client-urls": "https://" + m.clientAddr, "advertise-client-urls": "https://" + m.clientAddr,
		"listen-peer-urls": "https://" + m.peerAddr, "initial-advertise-peer-urls": "https://" + m.peerAddr,
		"cert-file": m.file("server.crt"), "key-file": m.file("server.key"),
		"client-cert-auth": "true", "trusted-ca-file": m.file("ca.crt"),
		"peer-cert-file": m.file("peer.crt"), "peer-key-file": m.file("peer.key"),
		"peer-client-cert-auth": "true", "peer-trusted-ca-file": m.file("peer-ca.crt"),
		"unsafe-no-fsync": "true", "log-outputs": m.file("log"),
		"guard-config": m.file("guard.yaml"),
	}
	return m
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name string, data []byte) {
	w.t.Helper()
	check(w.t, pki.WriteFile(w.file(name), data, 0o600))
}

// guardConfig writes guard.yaml with more lines.
func (w *world) guardConfig(more string) {
	w.write("guard.yaml", []byte("apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: policy.yaml\n"+more))
}

func (w *world) profile(use pki.Use, cn string) pki.Profile {
	p := pki.Profile{Use: use, Subject: pkix.Name{CommonName: cn}}
	if use != pki.Client {
		p.DNS, p.IP = []string{"localhost"}, []net.IP{net.ParseIP(host)}
	}
	return p
}

func (w *world) issue(use pki.Use, cn string) *pki.Leaf {
	w.t.Helper()
	authority := w.clients
	if use == pki.Peer {
		authority = w.peers
	}
	leaf, err := authority.Issue(w.profile(use, cn), time.Now())
	check(w.t, err)
	return leaf
}

// args is the command line; with what the test changes, "flag=value" each. A
// value of "-" takes the flag away.
func (w *world) args(changes ...string) []string {
	flags := map[string]string{}
	for name, value := range w.flags {
		flags[name] = value
	}
	flags["initial-cluster"] = w.name + "=https://" + w.peerAddr
	if w.cluster != "" {
		flags["initial-cluster"] = w.cluster
	}
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		flags[name] = value
	}
	var args []string
	for name, value := range flags {
		if value != "-" {
			args = append(args, "--"+name+"="+value)
		}
	}
	return args
}

// config is a member's configuration, made the way that Main makes it.
func (w *world) config(changes ...string) (Config, error) {
	o, err := ParseOptions(w.args(changes...), os.Stdout, os.Stderr)
	if err != nil {
		return Config{}, err
	}
	guard, err := LoadGuardConfig(o.GuardFile)
	if err != nil {
		return Config{}, err
	}
	return Config{
		Etcd: o.Etcd, Guard: guard, Registry: prometheus.NewRegistry(),
		ReloadInterval: 20 * time.Millisecond, SweepInterval: 50 * time.Millisecond,
	}, nil
}

// tryStart starts a member in this process.
func (w *world) tryStart(changes ...string) (*Member, error) {
	w.t.Helper()
	c, err := w.config(changes...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return Start(ctx, c)
}

// start starts a member in this process that lasts as long as the test.
func (w *world) start(changes ...string) *Member {
	w.t.Helper()
	m, err := w.tryStart(changes...)
	if err != nil {
		w.t.Fatalf("starting the member: %v\n%s", err, w.log())
	}
	w.t.Cleanup(func() { m.Stop("the test is over") })
	return m
}

func (w *world) log() string {
	data, err := os.ReadFile(w.file("log"))
	if err != nil {
		return ""
	}
	return string(data)
}

// tls is the TLS of the client with this common name; "" has no certificate.
func (w *world) tls(cn string, protocols ...string) *tls.Config {
	w.t.Helper()
	c := &tls.Config{RootCAs: w.clients.CertPool(), ServerName: host, NextProtos: protocols}
	if cn != "" {
		c.Certificates = []tls.Certificate{w.issue(pki.Client, cn).TLS()}
	}
	return c
}

func (w *world) dial(cn string) *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+w.clientAddr, grpc.WithTransportCredentials(credentials.NewTLS(w.tls(cn))))
	check(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// client is etcd's own client, as the caller with this common name.
func (w *world) client(cn string, endpoints ...string) *clientv3.Client {
	w.t.Helper()
	if len(endpoints) == 0 {
		endpoints = []string{"https://" + w.clientAddr}
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: w.tls(cn), DialTimeout: 20 * time.Second, Logger: zap.NewNop(),
	})
	check(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	return c
}

// curl is an HTTPS client that, like curl, offers h2 and http/1.1.
func (w *world) curl(cn string) *http.Client {
	transport := &http.Transport{TLSClientConfig: w.tls(cn, "h2", "http/1.1"), ForceAttemptHTTP2: true}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

var (
	withPrefix = clientv3.WithPrefix()
	countOnly  = clientv3.WithCountOnly()
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// withTimeout is long enough for any machine: it ends tests that hang.
func withTimeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok holds. It fails only when that never comes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never came: %s", what)
}

// etcdModule is the directory of the server's module that this test is built with.
func etcdModule(t testing.TB) string {
	t.Helper()
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "go.etcd.io/etcd/server/v3")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("asking where etcd's source is: %v", err)
	}
	return strings.TrimSpace(string(out))
}
