package cluster

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/etcdguard/etcdguard/e2e/peers"
)

// StockEtcd is a program for a Hand: etcd as its authors release it.
const StockEtcd = "etcd"

// Hand is a cluster whose members are run by hand, one by one, each as stock etcd or
// as a guarded member, on the same files: the way of an operator who adopts an etcd
// cluster, and of one who gives etcdguard up again.
type Hand struct {
	*Cluster
	// Initial is the members' names and peer URLs, as etcd's initial-cluster wants them.
	Initial string

	mu       sync.Mutex
	running  map[string]*process
	binaries map[string]string
}

// process is a member's last one.
type process struct {
	program string
	cmd     *exec.Cmd
	exited  chan struct{}
}

func (p *process) runs() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ByHand writes the files of a cluster of n members, with the authorities, names and
// policy that `etcdguard up` would give it, and starts nothing. What is started is
// killed when the test ends.
func ByHand(t testing.TB, n int) *Hand {
	t.Helper()
	h := &Hand{Cluster: &Cluster{Dir: filepath.Join(t.TempDir(), "cluster")}, running: map[string]*process{}}
	h.Cluster.resume = h.resume
	t.Cleanup(func() { h.killAll(t) })
	base := freePorts(t)
	clients, peerCA := NewAuthority(t, "clients"), NewAuthority(t, "peers")
	pki := func(name string) string { return filepath.Join(h.Dir, "pki", name) }
	WritePair(t, clients.Certificate(), pki("client-ca.crt"), pki("client-ca.key"))
	WritePair(t, peerCA.Certificate(), pki("peer-ca.crt"), pki("peer-ca.key"))
	for name, cn := range map[string]string{
		"admin": "etcdguard-admin", "kube-apiserver": "kube-apiserver-etcd-client", "monitor": "etcdguard-monitor",
		"healthcheck": "kube-etcd-healthcheck-client", "backup": "etcdguard-backup",
	} {
		crt, key := h.Identity(name)
		WritePair(t, clients.Issue(t, pkix.Name{CommonName: cn}), crt, key)
	}
	write(t, filepath.Join(h.Dir, "policy.yaml"), policy)
	var initial []string
	for i := range n {
		initial = append(initial, fmt.Sprintf("m%d=https://127.0.0.1:%d", i+1, base+2*i+1))
	}
	h.Initial = strings.Join(initial, ",")
	for i := range n {
		h.writeMember(t, i, base, clients, peerCA)
	}
	return h
}

// policy says what that of `etcdguard up` says.
const policy = `apiVersion: etcdguard.dev/v1
kind: Policy
callers:
  - {name: admin, match: {cn: [etcdguard-admin]}}
  - {name: kube-apiserver, match: {cn: [kube-apiserver-etcd-client]}}
  - {name: healthcheck, match: {cn: [kube-etcd-healthcheck-client]}}
  - {name: backup, match: {cn: [etcdguard-backup]}}
  - {name: monitor, match: {cn: [etcdguard-monitor]}}
rules:
  - {name: admin, callers: [admin], role: admin}
  - {name: kube-apiserver, callers: [kube-apiserver], role: kube-apiserver}
  - {name: healthcheck, callers: [healthcheck], role: kubeadm-healthcheck}
  - {name: backup, callers: [backup], role: backup}
  - {name: monitor, callers: [monitor], role: monitor}
`

func (h *Hand) writeMember(t testing.TB, i, base int, clients, peerCA Authority) {
	name := fmt.Sprintf("m%d", i+1)
	dir := filepath.Join(h.Dir, "members", name)
	file := func(name string) string { return filepath.Join(dir, name) }
	WritePair(t, clients.Issue(t, pkix.Name{CommonName: name}), file("server.crt"), file("server.key"))
	WritePair(t, peerCA.Issue(t, pkix.Name{CommonName: name}), file("peer.crt"), file("peer.key"))
	clientURL := fmt.Sprintf("https://127.0.0.1:%d", base+2*i)
	peerURL := fmt.Sprintf("https://127.0.0.1:%d", base+2*i+1)
	config, err := yaml.Marshal(map[string]any{
		"name": name, "data-dir": file("data"), "initial-cluster": h.Initial,
		"listen-client-urls": clientURL, "advertise-client-urls": clientURL,
		"listen-peer-urls": peerURL, "initial-advertise-peer-urls": peerURL,
		"client-transport-security": map[string]any{"client-cert-auth": true, "cert-file": file("server.crt"),
			"key-file": file("server.key"), "trusted-ca-file": h.CAFile()},
		"peer-transport-security": map[string]any{"client-cert-auth": true, "cert-file": file("peer.crt"),
			"key-file": file("peer.key"), "trusted-ca-file": filepath.Join(h.Dir, "pki", "peer-ca.crt")},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, file("etcd.yaml"), string(config))
	write(t, file("guard.yaml"), "apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: ../../policy.yaml\n")
	m, err := readMember(dir)
	if err != nil {
		t.Fatal(err)
	}
	h.Members = append(h.Members, m)
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Run starts the members that are named, or all, as the program is called among the
// peers, and waits until they are healthy. Those that run already are left alone.
func (h *Hand) Run(t testing.TB, program string, members ...*Member) {
	t.Helper()
	if len(members) == 0 {
		members = h.Members
	}
	for _, m := range members {
		h.Start(t, program, m)
	}
	h.Healthy(t, members...)
}

// Start starts one member and waits for nothing.
func (h *Hand) Start(t testing.TB, program string, m *Member) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.running[m.Name]; p != nil && p.runs() {
		return
	}
	log, err := os.OpenFile(filepath.Join(m.dir, "member.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := []string{"--config-file", filepath.Join(m.dir, "etcd.yaml")}
	if program == peers.Guard {
		args = append([]string{"member", "--guard-config", filepath.Join(m.dir, "guard.yaml")}, args...)
	}
	p := &process{program: program, cmd: exec.Command(h.binary(t, program), args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	h.running[m.Name] = p
	write(t, filepath.Join(m.dir, "member.pid"), fmt.Sprintln(p.cmd.Process.Pid))
}

// binary builds a program once: a build in the middle of a drill would be load that
// nobody asked for.
func (h *Hand) binary(t testing.TB, program string) string {
	if h.binaries == nil {
		h.binaries = map[string]string{}
	}
	if h.binaries[program] == "" {
		h.binaries[program] = peers.Path(t, program)
	}
	return h.binaries[program]
}

// Stop ends members, or all, with SIGTERM and waits for their end.
func (h *Hand) Stop(t testing.TB, members ...*Member) {
	t.Helper()
	if len(members) == 0 {
		members = h.Members
	}
	for _, m := range members {
		h.mu.Lock()
		p := h.running[m.Name]
		h.mu.Unlock()
		if p == nil || !p.runs() {
			continue
		}
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(upTime):
			t.Fatalf("%s did not end within %v of SIGTERM\n%s", m.Name, upTime, h.tails())
		}
	}
}

// Runs reports whether the member's process is there.
func (h *Hand) Runs(m *Member) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.running[m.Name]
	return p != nil && p.runs()
}

// resume starts those that do not run as what they were last.
func (h *Hand) resume(t testing.TB) {
	for _, m := range h.Members {
		h.mu.Lock()
		p := h.running[m.Name]
		h.mu.Unlock()
		if p != nil {
			h.Start(t, p.program, m)
		}
	}
	h.Healthy(t, h.Members...)
}

// Healthy waits until /health of every member says so.
func (h *Hand) Healthy(t testing.TB, members ...*Member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), upTime)
	defer cancel()
	config := h.TLS(t, "admin")
	for _, m := range members {
		for {
			if _, body, err := m.get(ctx, config, "/health"); err == nil && strings.Contains(body, `"health":"true"`) {
				break
			}
			if !h.Runs(m) {
				t.Fatalf("%s ended instead of becoming healthy\n%s", m.Name, h.tails())
			}
			if ctx.Err() != nil {
				t.Fatalf("%s did not become healthy within %v\n%s", m.Name, upTime, h.tails())
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func (h *Hand) killAll(t testing.TB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.Failed() {
		t.Logf("the members' last words:\n%s", h.tails())
	}
	for _, p := range h.running {
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// Stock is a cluster by hand of stock etcd that runs: the control that shows whether a
// test fails for want of a guard or because of it.
func Stock(t testing.TB, n int) *Cluster {
	t.Helper()
	h := ByHand(t, n)
	h.Run(t, StockEtcd)
	return h.Cluster
}
