package local

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// etcdYAML is what one member needs in etcd's own configuration file format.
type etcdYAML struct {
	Name                string `yaml:"name"`
	DataDir             string `yaml:"data-dir"`
	InitialCluster      string `yaml:"initial-cluster"`
	InitialClusterToken string `yaml:"initial-cluster-token"`
	InitialClusterState string `yaml:"initial-cluster-state"`

	ListenClientURLs    string `yaml:"listen-client-urls"`
	AdvertiseClientURLs string `yaml:"advertise-client-urls"`
	ListenPeerURLs      string `yaml:"listen-peer-urls"`
	AdvertisePeerURLs   string `yaml:"initial-advertise-peer-urls"`
	ListenMetricsURLs   string `yaml:"listen-metrics-urls"`

	TLSMinVersion string      `yaml:"tls-min-version"`
	ClientTLS     securityTLS `yaml:"client-transport-security"`
	PeerTLS       securityTLS `yaml:"peer-transport-security"`

	LogLevel   string   `yaml:"log-level"`
	LogOutputs []string `yaml:"log-outputs"`
}

type securityTLS struct {
	CertFile       string   `yaml:"cert-file"`
	KeyFile        string   `yaml:"key-file"`
	TrustedCAFile  string   `yaml:"trusted-ca-file"`
	ClientCertAuth bool     `yaml:"client-cert-auth"`
	AllowedCN      []string `yaml:"allowed-cn,omitempty,flow"`
}

const etcdYAMLHead = `# The etcd configuration of %s, in etcd's own format: every option of etcd has
# its place here. "etcdguard up" wrote it and leaves it alone from now on.
# With a configuration file etcd ignores all other flags and the environment.

`

func (l layout) etcdYAML(p placement, all []placement, token string) ([]byte, error) {
	var initial, names []string
	for _, m := range all {
		initial = append(initial, m.name+"=https://"+m.peer.String())
		names = append(names, m.name)
	}
	body, err := yaml.Marshal(etcdYAML{
		Name:                p.name,
		DataDir:             l.member(p.name, "data"),
		InitialCluster:      strings.Join(initial, ","),
		InitialClusterToken: token,
		InitialClusterState: "new",

		ListenClientURLs:    "https://" + p.client.String(),
		AdvertiseClientURLs: "https://" + p.client.String(),
		ListenPeerURLs:      "https://" + p.peer.String(),
		AdvertisePeerURLs:   "https://" + p.peer.String(),
		ListenMetricsURLs:   "http://" + p.metrics.String(),

		TLSMinVersion: "TLS1.3",
		ClientTLS: securityTLS{
			CertFile:       l.member(p.name, "server.crt"),
			KeyFile:        l.member(p.name, "server.key"),
			TrustedCAFile:  l.authority("client") + ".crt",
			ClientCertAuth: true,
		},
		PeerTLS: securityTLS{
			CertFile:       l.member(p.name, "peer.crt"),
			KeyFile:        l.member(p.name, "peer.key"),
			TrustedCAFile:  l.authority("peer") + ".crt",
			ClientCertAuth: true,
			AllowedCN:      names,
		},
		LogLevel:   "info",
		LogOutputs: []string{"stderr"},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration of %s: %w", p.name, err)
	}
	return append(fmt.Appendf(nil, etcdYAMLHead, p.name), body...), nil
}

// newToken keeps members of one cluster from talking to those of another that
// once had the same addresses.
func newToken() string {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return "etcdguard-" + hex.EncodeToString(b[:])
}

// members reads back where the members of the cluster are. The files are the
// truth: an operator may have edited them. It returns ErrNoCluster when the
// first member's file, which Up writes last, is not there.
func (l layout) members() ([]placement, error) {
	first, err := l.readEtcdYAML("m1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint("make one: etcdguard up"+l.dirFlag(), "opening %s: %w", l.dir, ErrNoCluster)
	}
	if err != nil {
		return nil, err
	}
	var out []placement
	for _, entry := range strings.Split(first.InitialCluster, ",") {
		name, _, _ := strings.Cut(entry, "=")
		if name == "" || strings.ContainsAny(name, "/\\") || name == ".." {
			return nil, fmt.Errorf("reading %s: initial-cluster does not list the members as m1=https://…", l.member("m1", "etcd.yaml"))
		}
		y, err := l.readEtcdYAML(name)
		if err != nil {
			return nil, err
		}
		p, err := y.placement()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", l.member(name, "etcd.yaml"), err)
		}
		if y.DataDir != l.member(name, "data") {
			return nil, withHint("move the directory back, or replace the old path in members/*/etcd.yaml",
				"reading %s: its data-dir is %s: was the cluster's directory moved?", l.member(name, "etcd.yaml"), y.DataDir)
		}
		out = append(out, p)
	}
	return out, nil
}

func (l layout) readEtcdYAML(name string) (etcdYAML, error) {
	var y etcdYAML
	file := l.member(name, "etcd.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		return y, fmt.Errorf("reading the configuration of %s: %w", name, err)
	}
	if err := yaml.Unmarshal(data, &y); err != nil {
		return y, fmt.Errorf("reading %s: %w", file, err)
	}
	return y, nil
}

func (y etcdYAML) placement() (placement, error) {
	p := placement{name: y.Name}
	for _, f := range []struct {
		field, urls string
		to          *netip.AddrPort
	}{
		{"listen-client-urls", y.ListenClientURLs, &p.client},
		{"listen-peer-urls", y.ListenPeerURLs, &p.peer},
		{"listen-metrics-urls", y.ListenMetricsURLs, &p.metrics},
	} {
		u, err := url.Parse(f.urls)
		if err == nil {
			*f.to, err = netip.ParseAddrPort(u.Host)
		}
		if err != nil {
			return p, fmt.Errorf("%s must be one URL with an IP address and a port for a cluster that up started: %w", f.field, err)
		}
	}
	return p, nil
}

const guardYAML = `# What the guard of this member does. "etcdguard up" wrote it and leaves it alone
# from now on; the member reads it at start and when it changes.
apiVersion: etcdguard.dev/v1
kind: Guard
# Who may do what, one file for all members. Relative to this file.
policy: ../../policy.yaml

# Who did what: recorded before etcd is asked, on stable storage before the answer. See it
# with "etcdguard audit tail". On a cluster that matters, put dir on a disk of its own.
audit:
  dir: audit # relative to this file
  on-failure: deny # or serve: requests pass unrecorded, and are counted
  max-bytes: 1GiB # the oldest go when it is reached
  segment-bytes: 16MiB
  min-free-bytes: 64MiB
`

// sealingYAML follows guardYAML where the cluster seals. Every member has the same key
// file: here they share a machine, so that a copy for each would protect nothing.
const sealingYAML = `
# Values are stored sealed. Each of these key providers wraps the data keys, and any one
# of them opens them; several members use the same one. Without the key file this member
# does not serve: keep a copy elsewhere, or an export (etcdguard ring export).
sealing:
  providers:
    - name: local
      local:
        key-file: ../../keys/ring.key # relative to this file
`

// caller is one ready-made identity: a client certificate and the role that the
// first policy gives it. Name is its file, its caller in the policy and its role.
type caller struct{ name, cn, role, why string }

var callers = []caller{
	{"admin", "etcdguard-admin", "admin", "the operator: everything, on record"},
	{"kube-apiserver", "kube-apiserver-etcd-client", "kube-apiserver", "what a kube-apiserver sends, and nothing more; the name is kubeadm's"},
	{"healthcheck", "kube-etcd-healthcheck-client", "kubeadm-healthcheck", "kubeadm's liveness probe; the name is kubeadm's"},
	{"backup", "etcdguard-backup", "backup", "takes snapshots, reads no key by name"},
	{"monitor", "etcdguard-monitor", "monitor", "status and metrics, no key"},
}

func policyYAML() []byte {
	var b strings.Builder
	b.WriteString(`# Who may do what on this cluster. What no rule allows is denied.
# "etcdguard up" wrote this file and leaves it alone from now on. Members read it
# again when it changes, and keep the old one if the new one has a mistake.
#
#   etcdguard policy check policy.yaml
#   etcdguard policy explain --policy policy.yaml --as clients/backup.crt --do Maintenance.Snapshot
apiVersion: etcdguard.dev/v1
kind: Policy
mode: enforce

# A caller is whoever holds a client certificate that matches.
callers:
`)
	for _, c := range callers {
		fmt.Fprintf(&b, "  # %s\n  - name: %s\n    match: {cn: [%s]}\n", c.why, c.name, c.cn)
	}
	b.WriteString("\nrules:\n")
	for _, c := range callers {
		fmt.Fprintf(&b, "  - name: %s\n    callers: [%s]\n    role: %s\n", c.name, c.name, c.role)
	}
	return []byte(b.String())
}

// ShellQuote makes a word that a POSIX shell reads back unchanged, whatever a
// directory is called.
func ShellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:,@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
