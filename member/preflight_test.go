package member

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/policy"
)

// refusals are what a member must not start with. fix is what its error tells the
// operator to do; unsafe is the option that lets it through with a warning, "" for
// what nothing lets through.
var refusals = map[string]struct {
	prepare func(*world)
	flags   []string
	fix     string
	unsafe  string
}{
	"the JSON gateway": {
		flags: []string{"enable-grpc-gateway=true"}, fix: "remove it", unsafe: "unsafe-json-gateway",
	},
	"pprof": {
		flags: []string{"enable-pprof=true"}, fix: "remove it", unsafe: "unsafe-pprof",
	},
	"the log level that opens pprof": {
		flags: []string{"log-level=debug"}, fix: "--log-level=info", unsafe: "unsafe-pprof",
	},
	"an http client URL": {
		flags: []string{"listen-client-urls=http://127.0.0.1:1"}, fix: "--client-cert-auth", unsafe: "unsafe-plaintext-clients",
	},
	"an http client URL beside an https one": {
		flags: []string{"listen-client-urls=https://127.0.0.1:1,http://127.0.0.1:2"}, fix: "--client-cert-auth", unsafe: "unsafe-plaintext-clients",
	},
	"an http and an https client URL on one port": {
		prepare: func(w *world) { w.guardConfig("unsafe-plaintext-clients: true\n") },
		flags:   []string{"listen-client-urls=https://127.0.0.1:1,http://127.0.0.1:1"}, fix: "give each a port of its own",
	},
	"an http URL for HTTP alone": {
		flags: []string{"listen-client-http-urls=http://127.0.0.1:1"}, fix: "--client-cert-auth", unsafe: "unsafe-plaintext-clients",
	},
	"a unix client URL": {
		flags: []string{"listen-client-urls=unix://localhost:1"}, fix: "--client-cert-auth", unsafe: "unsafe-plaintext-clients",
	},
	"clients without certificates": {
		flags: []string{"client-cert-auth=-", "trusted-ca-file=-"}, fix: "--trusted-ca-file", unsafe: "unsafe-anonymous-clients",
	},
	"clients of any authority of the system": {
		flags: []string{"trusted-ca-file=-"}, fix: "--trusted-ca-file",
	},
	"a certificate that etcd makes for itself": {
		flags: []string{"cert-file=-", "key-file=-", "client-cert-auth=-", "trusted-ca-file=-", "auto-tls=true"},
		fix:   "--trusted-ca-file", unsafe: "unsafe-anonymous-clients",
	},
	"no certificate at all": {
		flags: []string{"cert-file=-", "key-file=-"}, fix: "--cert-file",
	},
	"one authority for clients and peers": {
		flags: []string{"peer-trusted-ca-file={dir}/ca.crt"}, fix: "--peer-trusted-ca-file", unsafe: "unsafe-shared-ca",
	},
	"one authority among several of the peers": {
		prepare: func(w *world) {
			w.write("both.crt", pki.EncodeCertificates(w.peers.Certificate(), w.clients.Certificate()))
		},
		flags: []string{"peer-trusted-ca-file={dir}/both.crt"}, fix: "--peer-trusted-ca-file", unsafe: "unsafe-shared-ca",
	},
	"one authority under two certificates": {
		prepare: func(w *world) { w.write("again.crt", reissued(w, w.clients)) },
		flags:   []string{"peer-trusted-ca-file={dir}/again.crt"}, fix: "--peer-trusted-ca-file", unsafe: "unsafe-shared-ca",
	},
	"peers without TLS": {
		flags: []string{"listen-peer-urls=http://127.0.0.1:1"}, fix: "--peer-client-cert-auth", unsafe: "unsafe-peers",
	},
	"peers without certificates": {
		flags: []string{"peer-client-cert-auth=-", "peer-trusted-ca-file=-"}, fix: "--peer-client-cert-auth", unsafe: "unsafe-peers",
	},
	"peers of any authority of the system": {
		flags: []string{"peer-trusted-ca-file=-"}, fix: "--peer-trusted-ca-file", unsafe: "unsafe-peers",
	},
	"a peer certificate that etcd makes for itself": {
		flags: []string{"peer-cert-file=-", "peer-key-file=-", "peer-client-cert-auth=-", "peer-trusted-ca-file=-", "peer-auto-tls=true"},
		fix:   "--peer-cert-file", unsafe: "unsafe-peers",
	},
	"a server certificate without SAN": {
		prepare: func(w *world) { withoutSAN(w, w.clients, "server") }, fix: "issue it again with the DNS names",
	},
	"a peer certificate without SAN": {
		prepare: func(w *world) { withoutSAN(w, w.peers, "peer") }, fix: "issue it again with the DNS names",
	},
	"a server key of another certificate": {
		flags: []string{"key-file={dir}/peer.key"}, fix: "belong together (--cert-file, --key-file)",
	},
	"a peer key of another certificate": {
		flags: []string{"peer-key-file={dir}/server.key"}, fix: "belong together (--peer-cert-file, --peer-key-file)",
	},
	"a server key that is not there": {
		flags: []string{"key-file={dir}/no.key"}, fix: "(--key-file)",
	},
	"a peer key that is not there": {
		flags: []string{"peer-key-file={dir}/no.key"}, fix: "(--peer-key-file)",
	},
	"a server certificate that is none": {
		prepare: func(w *world) { w.write("server.crt", []byte("not PEM")) }, fix: "--cert-file",
	},
	"an authority file that holds none": {
		prepare: func(w *world) { w.write("ca.crt", []byte("not PEM")) }, fix: "--trusted-ca-file",
	},
	"a peer authority file that holds none": {
		prepare: func(w *world) { w.write("peer-ca.crt", []byte("not PEM")) }, fix: "--peer-trusted-ca-file",
	},
	"a revocation list that nobody signed": {
		prepare: func(w *world) { w.write("crl.pem", newWorld(w.t).crl()) },
		flags:   []string{"client-crl-file={dir}/crl.pem"}, fix: "--client-crl-file",
	},
	"a server key that everybody can read": {
		prepare: func(w *world) { check(w.t, os.Chmod(w.file("server.key"), 0o644)) }, fix: "chmod 0600",
	},
	"a peer key that everybody can read": {
		prepare: func(w *world) { check(w.t, os.Chmod(w.file("peer.key"), 0o604)) }, fix: "chmod 0600",
	},
	"a data directory that others can read": {
		prepare: func(w *world) {
			check(w.t, os.Mkdir(w.file("data"), 0o700))
			check(w.t, os.Chmod(w.file("data"), 0o750))
		},
		fix: "chmod 0700", unsafe: "unsafe-open-data-dir",
	},
	"the data directory of a v2 proxy": {
		prepare: func(w *world) { check(w.t, os.MkdirAll(w.file("data/proxy"), 0o700)) }, fix: "--data-dir",
	},
	"a policy that is not there": {
		prepare: func(w *world) { check(w.t, os.Remove(w.file("policy.yaml"))) }, fix: "name a file that exists",
	},
	"a policy with a mistake": {
		prepare: func(w *world) {
			w.write("policy.yaml", []byte(thePolicy+"  - {name: other, callers: [nobody], role: admin}\n"))
		}, fix: "policy.yaml:11",
	},
}

func TestWhatAMemberDoesNotStartWith(t *testing.T) {
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.prepare != nil {
				c.prepare(w)
			}
			flags := make([]string, len(c.flags))
			for i, f := range c.flags {
				flags[i] = strings.ReplaceAll(f, "{dir}", w.dir)
			}
			m, err := w.tryStart(flags...)
			if err == nil {
				m.Stop("it should not have started")
				t.Fatal("the member started")
			}
			if !strings.Contains(err.Error(), c.fix) {
				t.Errorf("the error does not say %q: %v", c.fix, err)
			}
			if _, err := os.Stat(filepath.Join(w.dir, "data", "member")); err == nil {
				t.Error("etcd was started all the same")
			}
			if c.unsafe == "" {
				return
			}
			if !strings.Contains(err.Error(), c.unsafe+": true") {
				t.Errorf("the error does not name %s: %v", c.unsafe, err)
			}
			// Every other unsafe option changes nothing.
			w.guardConfig(unsafeOptions(c.unsafe))
			if warnings := w.preflight(flags); warnings != nil {
				t.Errorf("let through without %s: %q", c.unsafe, warnings)
			}
			w.guardConfig(c.unsafe + ": true\n")
			warnings := w.preflight(flags)
			if !strings.Contains(strings.Join(warnings, "\n"), "(allowed by "+c.unsafe+")") {
				t.Errorf("with %s the warnings are %q", c.unsafe, warnings)
			}
		})
	}
}

// preflight returns the warnings, nil if it refuses.
func (w *world) preflight(flags []string) []string {
	w.t.Helper()
	c, err := w.config(flags...)
	check(w.t, err)
	rules, err := policy.Load(c.Guard.Policy)
	check(w.t, err)
	warnings, err := preflight(c.Etcd, c.Guard, rules)
	if err != nil {
		return nil
	}
	return append(warnings, "")
}

// unsafeOptions sets all but one.
func unsafeOptions(but string) string {
	var lines string
	for _, name := range guardFields() {
		if strings.HasPrefix(name, "unsafe-") && name != but {
			lines += name + ": true\n"
		}
	}
	return lines
}

// A kubeadm cluster has one authority for both. While its operator learns with an
// observing policy, that is a warning; under one that denies it is a refusal.
func TestASharedAuthorityIsAWarningWhileThePolicyObserves(t *testing.T) {
	w := newWorld(t)
	flags := []string{"peer-trusted-ca-file=" + w.file("ca.crt")}
	if warnings := w.preflight(flags); warnings != nil {
		t.Fatalf("an enforcing policy lets a shared authority through: %q", warnings)
	}
	w.write("policy.yaml", []byte(strings.Replace(thePolicy, "kind: Policy", "kind: Policy\nmode: observe", 1)))
	if warnings := strings.Join(w.preflight(flags), "\n"); !strings.Contains(warnings, "share the authority") || !strings.Contains(warnings, "--peer-trusted-ca-file") {
		t.Errorf("an observing policy does not warn of it: %q", warnings)
	}
	w.write("policy.yaml", []byte(thePolicy))
	for _, names := range []string{"peer-cert-allowed-cn=m1", "peer-cert-allowed-hostname=localhost"} {
		if warnings := w.preflight(append(flags, names)); warnings == nil {
			t.Errorf("refused although --%s keeps clients out", names)
		}
	}
}

func TestASafeConfigurationHasNoWarnings(t *testing.T) {
	w := newWorld(t)
	check(t, os.Chmod(w.file("server.key"), 0o640)) // a group may share keys
	if warnings := w.preflight(nil); len(warnings) != 1 || warnings[0] != "" {
		t.Errorf("warnings of a safe configuration: %q", warnings)
	}
}

// All that is wrong is reported at once, and warnings reach the log.
func TestPreflightReportsEverythingTogether(t *testing.T) {
	w := newWorld(t)
	_, err := w.tryStart("enable-pprof=true", "enable-grpc-gateway=true", "key-file="+w.file("peer.key"))
	if err == nil {
		t.Fatal("the member started")
	}
	for _, part := range []string{"--enable-pprof", "--enable-grpc-gateway", "--key-file"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error leaves out %s: %v", part, err)
		}
	}
}

func TestUnsafePprofIsServedToThoseWhoMayDebug(t *testing.T) {
	w := newWorld(t)
	w.guardConfig("unsafe-pprof: true\n")
	w.start("enable-pprof=true")
	url := "https://" + w.clientAddr
	if status, body, _ := get(t, w.curl("admin"), url+"/debug/pprof/"); status != http.StatusOK || !strings.Contains(body, "goroutine") {
		t.Errorf("an admin's /debug/pprof/: %d", status)
	}
	for _, path := range []string{"/debug/pprof/cmdline", "/debug/vars", "/debug/requests"} {
		if status, _, _ := get(t, w.curl("admin"), url+path); status != http.StatusNotFound {
			t.Errorf("an admin's %s: %d, want 404", path, status)
		}
	}
	if status, _, _ := get(t, w.curl("monitor"), url+"/debug/pprof/heap"); status != http.StatusForbidden {
		t.Errorf("a monitor's /debug/pprof/heap: %d, want 403", status)
	}
	if !strings.Contains(w.log(), "allowed by unsafe-pprof") {
		t.Error("the warning is not in the log")
	}
}

// A port in use must stop the member before etcd makes data that a second attempt
// would then find.
func TestAPortInUseStopsTheMemberBeforeItTouchesItsData(t *testing.T) {
	for flag, addr := range map[string]func(*world) string{
		"client":  func(w *world) string { return w.clientAddr },
		"peer":    func(w *world) string { return w.peerAddr },
		"metrics": func(w *world) string { a := freeAddress(t); w.flags["listen-metrics-urls"] = "http://" + a; return a },
	} {
		t.Run(flag, func(t *testing.T) {
			w := newWorld(t)
			taken, err := net.Listen("tcp", addr(w))
			check(t, err)
			defer taken.Close()
			m, err := w.tryStart()
			if err == nil {
				m.Stop("it should not have started")
				t.Fatal("the member started")
			}
			if !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "in use") {
				t.Errorf("the error does not say what is in use: %v", err)
			}
			if _, err := os.Stat(w.file("data")); err == nil {
				t.Error("etcd has touched its data")
			}
			taken.Close()
			w.start() // nothing was left behind that stands in the way
		})
	}
}

// crl is a revocation list of the client authority.
func (w *world) crl(revoked ...*x509.Certificate) []byte {
	w.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, w.clients.Certificate(), keyOf(w, w.clients))
	check(w.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// keyOf is the key of an authority, which pki gives out to files only.
func keyOf(w *world, a *pki.Authority) crypto.Signer {
	w.t.Helper()
	cert, key := w.file("authority.crt"), w.file("authority.key")
	check(w.t, a.Save(cert, key))
	pair, err := tls.LoadX509KeyPair(cert, key)
	check(w.t, err)
	return pair.PrivateKey.(crypto.Signer)
}

// reissued is another certificate of the same authority: another subject, another
// serial number, the same key.
func reissued(w *world, a *pki.Authority) []byte {
	w.t.Helper()
	template := *a.Certificate()
	template.Subject = pkix.Name{CommonName: "another name"}
	template.SerialNumber = big.NewInt(4711)
	key := keyOf(w, a)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	check(w.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// withoutSAN replaces a certificate with one that names its host in the common
// name alone, as ones made by hand do.
func withoutSAN(w *world, a *pki.Authority, name string) {
	w.t.Helper()
	pair, err := tls.LoadX509KeyPair(w.file(name+".crt"), w.file(name+".key"))
	check(w.t, err)
	template := *pair.Leaf
	template.DNSNames, template.IPAddresses, template.ExtraExtensions = nil, nil, nil
	template.Subject = pkix.Name{CommonName: host}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.Certificate(), pair.Leaf.PublicKey, keyOf(w, a))
	check(w.t, err)
	w.write(name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
