// Package cluster runs the cluster that the tests of this module are about: the
// one that `etcdguard up` makes, as its processes, in a folder of its own.
//
// It knows etcdguard only from outside: the command line, the files that `up`
// writes and the ports it opens. It promises that what it started is stopped when
// the test ends, by the process ids that the members themselves wrote down.
package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/etcdguard/etcdguard/e2e/peers"
)

// Cluster is a running cluster and the folder that names it.
type Cluster struct {
	Dir     string
	Members []*Member
	resume  func(testing.TB)
}

// guarded is a Cluster made by the program under test.
type guarded struct {
	*Cluster
	binary  string
	members int
	listen  string
}

// Member is one process of the cluster, as its own etcd.yaml describes it.
type Member struct {
	Name      string
	ClientURL string
	PeerURL   string
	dir       string
}

// upTime bounds `etcdguard up`: three cold members on a loaded machine.
const upTime = 3 * time.Minute

// Up makes a cluster of n members in a fresh folder and waits until `etcdguard up`
// says that it is healthy.
func Up(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &guarded{
		Cluster: &Cluster{Dir: filepath.Join(t.TempDir(), "cluster")},
		binary:  peers.Path(t, peers.Guard),
		members: n,
		listen:  fmt.Sprintf("127.0.0.1:%d", freePorts(t)),
	}
	c.Cluster.resume = c.up
	t.Cleanup(func() { c.down(t) })
	c.Resume(t)
	for i := range n {
		m, err := readMember(filepath.Join(c.Dir, "members", fmt.Sprintf("m%d", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		c.Members = append(c.Members, m)
	}
	return c.Cluster
}

// Resume runs `etcdguard up` on the folder: what runs is left alone, what does not
// is started again on its data.
func (c *Cluster) Resume(t testing.TB) {
	t.Helper()
	c.resume(t)
}

func (c *guarded) up(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), upTime)
	defer cancel()
	out, err := c.command(ctx, "up", "--dir", c.Dir, "--members", strconv.Itoa(c.members), "--listen", c.listen)
	if err != nil {
		t.Fatalf("etcdguard up: %v\n%s\n%s", err, out, c.tails())
	}
}

func (c *guarded) down(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if t.Failed() {
		t.Logf("the members' last words:\n%s", c.tails())
	}
	if out, err := c.command(ctx, "down", "--dir", c.Dir); err != nil {
		t.Errorf("etcdguard down: %v\n%s", err, out)
	}
}

// command runs the program under test; what it prints is for a failure's message.
func (c *guarded) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.binary, args...)
	// A file, not a pipe: members that outlive the command may hold its stderr.
	out, err := os.CreateTemp("", "etcdguard-*.out")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	printed, _ := os.ReadFile(out.Name())
	return string(printed), err
}

// tails is the end of each member's log.
func (c *Cluster) tails() string {
	var b strings.Builder
	logs, _ := filepath.Glob(filepath.Join(c.Dir, "members", "*", "member.log"))
	for _, log := range logs {
		content, _ := os.ReadFile(log)
		lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
		lines = lines[max(0, len(lines)-15):]
		fmt.Fprintf(&b, "--- %s\n%s\n", filepath.Base(filepath.Dir(log)), bytes.Join(lines, []byte("\n")))
	}
	return b.String()
}

// Endpoints are the members' client addresses, as host:port.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, m := range c.Members {
		out = append(out, m.ClientAddr())
	}
	return out
}

// Identity is one of the client certificates that `up` issued: its files.
func (c *Cluster) Identity(name string) (certFile, keyFile string) {
	base := filepath.Join(c.Dir, "clients", name)
	return base + ".crt", base + ".key"
}

// CAFile verifies the members' client ports.
func (c *Cluster) CAFile() string { return filepath.Join(c.Dir, "pki", "client-ca.crt") }

// TLS is the configuration of a client with one of the certificates of `up`.
func (c *Cluster) TLS(t testing.TB, identity string) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(c.Identity(identity))
	if err != nil {
		t.Fatal(err)
	}
	return c.With(t, &cert)
}

// With is the configuration of a client that trusts the client ports and shows
// cert; nil shows none.
func (c *Cluster) With(t testing.TB, cert *tls.Certificate) *tls.Config {
	t.Helper()
	return withCA(t, c.CAFile(), cert)
}

func withCA(t testing.TB, caFile string, cert *tls.Certificate) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("%s holds no certificate", caFile)
	}
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if cert != nil {
		// GetClientCertificate and not Certificates: the latter is not sent when the
		// server's list of authorities lacks its issuer, and these tests want it sent.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return config
}

// EditPolicy rewrites the policy file in place, as an operator's editor would.
func (c *Cluster) EditPolicy(t testing.TB, edit func(string) string) {
	t.Helper()
	file := filepath.Join(c.Dir, "policy.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	after := edit(string(before))
	if after == string(before) {
		t.Fatalf("the edit changed nothing in the policy that `etcdguard up` wrote:\n%s", before)
	}
	if err := os.WriteFile(file, []byte(after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readMember reads what the member's own configuration says of it.
func readMember(dir string) (*Member, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "etcd.yaml"))
	if err != nil {
		return nil, err
	}
	var config struct {
		Name   string `yaml:"name"`
		Client string `yaml:"advertise-client-urls"`
		Peer   string `yaml:"listen-peer-urls"`
	}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("reading %s/etcd.yaml: %w", dir, err)
	}
	if config.Client == "" || config.Peer == "" {
		return nil, fmt.Errorf("reading %s/etcd.yaml: advertise-client-urls or listen-peer-urls is missing", dir)
	}
	return &Member{Name: config.Name, ClientURL: config.Client, PeerURL: config.Peer, dir: dir}, nil
}

// taken is how many rows of ports this process has given away: those of a cluster
// that is down are not for another one.
var taken atomic.Int64

// freePorts is the first of a row of ports that nothing listens on, below the
// range that the kernel gives to outgoing connections.
func freePorts(t testing.TB) int {
	t.Helper()
	const row, first, rows = 20, 20000, 600
	for range rows {
		base := first + int(int64(os.Getpid())+taken.Add(1))%rows*row
		if allFree(base, row) {
			return base
		}
	}
	t.Fatal("no row of free ports between 20000 and 32000")
	return 0
}

func allFree(base, n int) bool {
	for port := base; port < base+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
