package cluster

import (
	"crypto/x509/pkix"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/etcdguard/etcdguard/e2e/peers"
)

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
  - {name: kube-apiserver, callers: [kube-apiserver], role: kube-apiserver, compactionAge: 15s}
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
	write(t, file("guard.yaml"), guardYAML)
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

// ConfigureSealing gives every member a key file, the same for all, and names it in
// their configurations. A cluster that starts with it and without data is sealed.
// It returns the file, for another cluster with the same ring.
func (h *Hand) ConfigureSealing(t testing.TB, keyFile string) string {
	t.Helper()
	if keyFile == "" {
		keyFile = filepath.Join(h.Dir, "ring-kek.key")
		if out, err := exec.Command(h.binary(t, peers.Guard), "ring", "new-key-file", keyFile).CombinedOutput(); err != nil {
			t.Fatalf("making a key file: %v\n%s", err, out)
		}
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range h.Members {
		write(t, m.File("ring-kek.key"), string(key))
		write(t, m.File("guard.yaml"), guardYAML+sealingYAML)
	}
	return keyFile
}

const (
	guardYAML   = "apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: ../../policy.yaml\n"
	sealingYAML = "sealing:\n  providers:\n    - {name: local, local: {key-file: ring-kek.key}}\n"
)
