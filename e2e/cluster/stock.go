package cluster

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/etcdguard/etcdguard/e2e/peers"
)

// Stock makes the same cluster out of stock etcd, with the same authorities, the
// same names in the certificates and the same files, but nobody in the way: the
// control that shows whether a test fails for want of a guard or because of it.
func Stock(t testing.TB, n int) *Cluster {
	t.Helper()
	s := &stock{
		Cluster: &Cluster{Dir: filepath.Join(t.TempDir(), "cluster")},
		binary:  peers.Path(t, "etcd"),
		running: map[string]*exec.Cmd{},
	}
	s.Cluster.resume = s.resume
	t.Cleanup(s.stop)
	base := freePorts(t)
	clients, peerCA := NewAuthority(t, "clients of stock etcd"), NewAuthority(t, "peers of stock etcd")
	pki := func(name string) string { return filepath.Join(s.Dir, "pki", name) }
	WritePair(t, clients.Certificate(), pki("client-ca.crt"), pki("client-ca.key"))
	WritePair(t, peerCA.Certificate(), pki("peer-ca.crt"), pki("peer-ca.key"))
	for name, cn := range map[string]string{
		"admin": "etcdguard-admin", "kube-apiserver": "kube-apiserver-etcd-client", "monitor": "etcdguard-monitor",
		"healthcheck": "kube-etcd-healthcheck-client", "backup": "etcdguard-backup",
	} {
		crt, key := s.Identity(name)
		WritePair(t, clients.Issue(t, pkix.Name{CommonName: cn}), crt, key)
	}
	var initial []string
	for i := range n {
		initial = append(initial, fmt.Sprintf("m%d=https://127.0.0.1:%d", i+1, base+2*i+1))
	}
	for i := range n {
		s.writeMember(t, i, base, strings.Join(initial, ","), clients, peerCA)
	}
	s.Resume(t)
	return s.Cluster
}

// stock is what stands in for `etcdguard up` and `down`.
type stock struct {
	*Cluster
	binary  string
	mu      sync.Mutex
	running map[string]*exec.Cmd
}

func (s *stock) writeMember(t testing.TB, i, base int, initial string, clients, peerCA Authority) {
	name := fmt.Sprintf("m%d", i+1)
	dir := filepath.Join(s.Dir, "members", name)
	file := func(name string) string { return filepath.Join(dir, name) }
	WritePair(t, clients.Issue(t, pkix.Name{CommonName: name}), file("server.crt"), file("server.key"))
	WritePair(t, peerCA.Issue(t, pkix.Name{CommonName: name}), file("peer.crt"), file("peer.key"))
	clientURL := fmt.Sprintf("https://127.0.0.1:%d", base+2*i)
	peerURL := fmt.Sprintf("https://127.0.0.1:%d", base+2*i+1)
	config, err := yaml.Marshal(map[string]any{
		"name": name, "data-dir": file("data"), "initial-cluster": initial,
		"listen-client-urls": clientURL, "advertise-client-urls": clientURL,
		"listen-peer-urls": peerURL, "initial-advertise-peer-urls": peerURL,
		"client-transport-security": map[string]any{"client-cert-auth": true, "cert-file": file("server.crt"),
			"key-file": file("server.key"), "trusted-ca-file": s.CAFile()},
		"peer-transport-security": map[string]any{"client-cert-auth": true, "cert-file": file("peer.crt"),
			"key-file": file("peer.key"), "trusted-ca-file": filepath.Join(s.Dir, "pki", "peer-ca.crt")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("etcd.yaml"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := readMember(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Members = append(s.Members, m)
}

// resume starts the members that do not run and waits for their health.
func (s *stock) resume(t testing.TB) {
	for _, m := range s.Members {
		s.start(t, m)
	}
	for _, m := range s.Members {
		s.waitHealthy(t, m)
	}
}

func (s *stock) start(t testing.TB, m *Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cmd := s.running[m.Name]; cmd != nil && !zombie(cmd.Process.Pid) {
		return
	}
	log, err := os.OpenFile(filepath.Join(m.dir, "member.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.binary, "--config-file", filepath.Join(m.dir, "etcd.yaml"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	s.running[m.Name] = cmd
	pid := fmt.Appendf(nil, "%d\n", cmd.Process.Pid)
	if err := os.WriteFile(filepath.Join(m.dir, "member.pid"), pid, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *stock) waitHealthy(t testing.TB, m *Member) {
	transport := &http.Transport{TLSClientConfig: s.TLS(t, "admin"), DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	ctx, cancel := context.WithTimeout(context.Background(), upTime)
	defer cancel()
	for ctx.Err() == nil {
		response, err := client.Get(m.ClientURL + "/health")
		if err == nil {
			var body bytes.Buffer
			body.ReadFrom(response.Body)
			response.Body.Close()
			if strings.Contains(body.String(), `"health":"true"`) {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("stock etcd %s did not become healthy\n%s", m.Name, s.tails())
}

func (s *stock) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cmd := range s.running {
		cmd.Process.Kill()
	}
}
