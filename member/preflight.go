package member

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/policy"
)

// preflight looks for what must not be started, before anything is opened. It
// returns everything that it finds, and says what was let through as warnings.
func preflight(etcd *embed.Config, guard *GuardConfig, p *policy.Policy) (warnings []string, err error) {
	f := &findings{}
	f.doors(etcd, guard)
	f.clientTLS(etcd, guard)
	f.peers(etcd, guard, p)
	f.dataDir(etcd.Dir, guard)
	if etcd.WalDir != "" {
		f.dataDir(etcd.WalDir, guard) // the log holds values, too
	}
	f.space(etcd)
	f.sealing(guard)
	if f.errs == nil {
		f.err(checkWAL(etcd))
	}
	return f.warnings, errors.Join(f.errs...)
}

type findings struct {
	errs     []error
	warnings []string
}

func (f *findings) err(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

// unsafe refuses something unless the operator named it in the guard's
// configuration; then it warns.
func (f *findings) unsafe(option string, allowed bool, what, fix string) {
	if allowed {
		f.warnings = append(f.warnings, what+" (allowed by "+option+")")
		return
	}
	f.errs = append(f.errs, fmt.Errorf("%s; %s, or set %s: true in the guard configuration", what, fix, option))
}

// doors refuses options that would open a way to etcd past the guard, or to a
// caller without a name.
func (f *findings) doors(c *embed.Config, g *GuardConfig) {
	if c.FlagsExplicitlySet["enable-grpc-gateway"] && c.EnableGRPCGateway {
		f.unsafe("unsafe-json-gateway", g.UnsafeJSONGateway,
			"--enable-grpc-gateway: JSON over HTTP is one more way in, and it drops fields that it does not know instead of refusing them", "remove it")
	}
	if c.EnablePprof {
		f.unsafe("unsafe-pprof", g.UnsafePprof,
			"--enable-pprof: profiles show what is in memory, values included", "remove it")
	}
	if c.LogLevel == "debug" {
		f.unsafe("unsafe-pprof", g.UnsafePprof,
			"--log-level=debug: in etcd it opens /debug/pprof and /debug/requests on the client port", "use --log-level=info")
	}
	speaks := map[string]string{} // by host:port, the scheme of the first URL there
	for _, u := range append(append([]url.URL{}, c.ListenClientUrls...), c.ListenClientHttpUrls...) {
		if first, taken := speaks[u.Host]; taken && first != u.Scheme {
			f.err(fmt.Errorf("client URLs %s://%s and %s://%s share one port, which would have to guess from each connection whether it speaks TLS; "+
				"give each a port of its own", first, u.Host, u.Scheme, u.Host))
		}
		speaks[u.Host] = u.Scheme
		if u.Scheme == "http" || u.Scheme == "unix" {
			f.unsafe("unsafe-plaintext-clients", g.UnsafePlaintextClients,
				fmt.Sprintf("client URL %s: without TLS etcd knows nobody by name, whatever --client-cert-auth says", u.String()),
				"use https:// with --cert-file, --key-file, --trusted-ca-file and --client-cert-auth")
		}
	}
}

func (f *findings) clientTLS(c *embed.Config, g *GuardConfig) {
	if metricsTLS(c) && c.ClientTLSInfo.Empty() && !c.ClientAutoTLS {
		f.err(embed.ErrMissingClientTLSInfoForMetricsURL)
		return
	}
	if !servesTLS(c) {
		return
	}
	t := c.ClientTLSInfo
	if t.Empty() && !c.ClientAutoTLS {
		f.err(errors.New("an https client URL needs a certificate: give --cert-file and --key-file"))
		return
	}
	switch {
	case t.TrustedCAFile != "":
	case t.ClientCertAuth:
		// Not an unsafe option: strangers would not be anonymous, they would bear
		// whatever name the policy gives rights to.
		f.err(errors.New("--client-cert-auth without --trusted-ca-file takes certificates of every authority that this system trusts: " +
			"anybody can get one in any name; give --trusted-ca-file"))
	default:
		f.unsafe("unsafe-anonymous-clients", g.UnsafeAnonymousClients,
			"the client port demands no certificate: every caller is anonymous", "set --client-cert-auth and --trusted-ca-file")
	}
	if t.CertFile != "" {
		f.keyFile("--key-file", t.KeyFile)
		_, err := clientTrust(c).Load()
		f.err(err)
	}
}

// servesTLS reports whether any client listener speaks TLS.
func servesTLS(c *embed.Config) bool {
	for _, u := range append(append([]url.URL{}, c.ListenClientUrls...), c.ListenClientHttpUrls...) {
		if u.Scheme == "https" || u.Scheme == "unixs" {
			return true
		}
	}
	return false
}

// peers looks at the one door that the guard does not hold. Its lock is the
// authority of the peers, and that lock is worth nothing if clients have its key.
func (f *findings) peers(c *embed.Config, g *GuardConfig, p *policy.Policy) {
	t := c.PeerTLSInfo
	plain := false
	for _, u := range c.ListenPeerUrls {
		plain = plain || u.Scheme == "http" || u.Scheme == "unix"
	}
	if plain || t.TrustedCAFile == "" {
		f.unsafe("unsafe-peers", g.UnsafePeers,
			"the peer port demands no certificate of an authority of the peers: whoever reaches it can be a member",
			"use https:// peer URLs with --peer-cert-file, --peer-key-file, --peer-trusted-ca-file and --peer-client-cert-auth")
	}
	if t.CertFile != "" {
		f.keyFile("--peer-key-file", t.KeyFile)
		f.peerCertificate(t)
	}
	if t.TrustedCAFile == "" || c.ClientTLSInfo.TrustedCAFile == "" {
		return
	}
	shared, err := sharedAuthority(c.ClientTLSInfo.TrustedCAFile, t.TrustedCAFile)
	if err != nil {
		f.err(err)
		return
	}
	if shared == "" || len(t.AllowedCNs) > 0 || len(t.AllowedHostnames) > 0 {
		return
	}
	what := fmt.Sprintf("clients and peers share the authority %q: a client certificate opens the peer port, past the guard", shared)
	fix := "give peers an authority of their own (--peer-trusted-ca-file), or name them with --peer-cert-allowed-cn"
	if !p.Enforces() {
		f.warnings = append(f.warnings, what+"; "+fix+" before the policy enforces")
		return
	}
	f.unsafe("unsafe-shared-ca", g.UnsafeSharedCA, what, fix)
}

func (f *findings) peerCertificate(t transport.TLSInfo) {
	chain, err := certs.ReadCertificates(t.CertFile)
	if err != nil {
		f.err(fmt.Errorf("loading the peer certificate: %w (--peer-cert-file)", err))
		return
	}
	f.err(certs.CheckServerNames(chain[0], t.CertFile))
	if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
		f.err(fmt.Errorf("loading the peer certificate %s with its key %s: %w; "+
			"both must be readable PEM and belong together (--peer-cert-file, --peer-key-file)", t.CertFile, t.KeyFile, err))
	}
}

// sharedAuthority returns the name of an authority of clients that peers trust, "" for
// none. Keys are compared: a certificate that was issued anew for the same key is
// the same authority. One that an authority of the peers has signed is trusted there
// too: a client only has to send it along.
func sharedAuthority(clients, peers string) (string, error) {
	ofClients, err := certs.ReadCertificates(clients)
	if err != nil {
		return "", fmt.Errorf("loading the client authorities: %w (--trusted-ca-file)", err)
	}
	ofPeers, err := certs.ReadCertificates(peers)
	if err != nil {
		return "", fmt.Errorf("loading the peer authorities: %w (--peer-trusted-ca-file)", err)
	}
	trusted := x509.NewCertPool()
	for _, b := range ofPeers {
		trusted.AddCert(b)
	}
	for _, a := range ofClients {
		if _, err := a.Verify(x509.VerifyOptions{Roots: trusted, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
			return a.Subject.String(), nil
		}
		for _, b := range ofPeers {
			if string(a.RawSubjectPublicKeyInfo) == string(b.RawSubjectPublicKeyInfo) {
				return a.Subject.String(), nil
			}
		}
	}
	return "", nil
}

// keyFile refuses a private key that everybody on the machine can read. A group
// may: that is how services share keys.
func (f *findings) keyFile(option, file string) {
	info, err := os.Stat(file)
	if err != nil {
		f.err(fmt.Errorf("reading the key: %w (%s)", err, option))
		return
	}
	if info.Mode().Perm()&0o007 != 0 {
		f.err(fmt.Errorf("the key %s is open to everybody (mode %04o); chmod 0600 it (%s)", file, info.Mode().Perm(), option))
	}
}

// sealing refuses a file of a key provider that others can read: whoever copied it
// opens every backup. One that is missing is only warned of, since another provider
// may open the ring, and a member that waits for its keys votes.
func (f *findings) sealing(g *GuardConfig) {
	if g.Sealing == nil {
		return
	}
	for _, p := range g.Sealing.Providers {
		for _, file := range []string{p.Local.KeyFile, p.Local.PassphraseFile} {
			if file == "" {
				continue
			}
			info, err := os.Stat(file)
			switch {
			case err != nil:
				f.warnings = append(f.warnings, fmt.Sprintf("provider %q: %v; without it this member opens no ring by that provider", p.Name, err))
			case info.Mode().Perm()&0o077 != 0:
				f.err(fmt.Errorf("provider %q: %s is open to others (mode %04o); chmod 0600 it, and if others may have read it, replace the key", p.Name, file, info.Mode().Perm()))
			}
		}
	}
}

// space refuses to begin a member's data where its first log segment does not fit:
// etcd would panic over that with half of its files made. Where there is data
// already a full disk is only warned of, since a start may be part of the cure.
func (f *findings) space(c *embed.Config) {
	dir := walDir(c)
	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	left, err := spaceLeft(dir)
	if err != nil || left >= wal.SegmentSizeBytes {
		return // who can't say how much is left says nothing
	}
	what := fmt.Sprintf("the file system of %s has %d MiB left and etcd takes %d for each segment of its log", dir, left>>20, wal.SegmentSizeBytes>>20)
	if fresh {
		f.err(fmt.Errorf("%s; make room there, or choose another --data-dir or --wal-dir", what))
		return
	}
	f.warnings = append(f.warnings, what+"; make room there before it stops")
}

// spaceLeft is how much an unprivileged process may still write at path, or at the
// nearest directory above it that is there.
func spaceLeft(path string) (int64, error) {
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(path, &s)
		if err == nil && s.Blocks == 0 {
			return 0, errors.New("the file system does not say how large it is") // FUSE, say
		}
		if err == nil {
			return int64(s.Bavail) * int64(s.Bsize), nil
		}
		if above := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && above != path {
			path = above
			continue
		}
		return 0, err
	}
}

// dataDir refuses a data directory that others can look into: the database is
// readable there (CIS 1.1.11).
func (f *findings) dataDir(dir string, g *GuardConfig) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return // etcd makes it, with mode 0700
	}
	if err != nil {
		f.err(fmt.Errorf("looking at the data directory: %w (--data-dir)", err))
		return
	}
	if info.Mode().Perm()&0o077 != 0 {
		f.unsafe("unsafe-open-data-dir", g.UnsafeOpenDataDir,
			fmt.Sprintf("the data directory %s is open to others (mode %04o)", dir, info.Mode().Perm()), "chmod 0700 it")
	}
	if _, err := os.Stat(filepath.Join(dir, "proxy")); err == nil {
		f.err(fmt.Errorf("the data directory %s holds an etcd v2 proxy; use another --data-dir", dir))
	}
}
