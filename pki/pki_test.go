package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T, realm Realm) *Authority {
	t.Helper()
	a, err := NewAuthority(realm, "test", now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, p Profile) *Leaf {
	t.Helper()
	l, err := a.Issue(p, now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func profile(use Use) Profile {
	p := Profile{Use: use, Subject: pkix.Name{CommonName: "m1"}}
	if use != Client {
		p.DNS, p.IP = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	return p
}

func TestLeafCanDoOneJobOnly(t *testing.T) {
	clients, peers := authority(t, Clients), authority(t, Peers)
	tests := []struct {
		signer         *Authority
		use            Use
		server, client bool
	}{
		{clients, Server, true, false},
		{clients, Client, false, true},
		{peers, Peer, true, true},
	}
	for _, tt := range tests {
		leaf := issue(t, tt.signer, profile(tt.use)).Certificate
		for usage, want := range map[x509.ExtKeyUsage]bool{
			x509.ExtKeyUsageServerAuth: tt.server,
			x509.ExtKeyUsageClientAuth: tt.client,
		} {
			_, err := leaf.Verify(x509.VerifyOptions{
				Roots: tt.signer.CertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
			})
			if (err == nil) != want {
				t.Errorf("%s certificate, usage %d: verified %v, want %v (%v)", tt.use, usage, err == nil, want, err)
			}
		}
		other := clients
		if tt.signer == clients {
			other = peers
		}
		if _, err := leaf.Verify(x509.VerifyOptions{
			Roots: other.CertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		}); err == nil {
			t.Errorf("the %s authority accepts a %s certificate of the other", other.Realm(), tt.use)
		}
	}
	if SameAuthority(clients.Certificate(), peers.Certificate()) {
		t.Error("two authorities share one key")
	}
	if !SameAuthority(clients.Certificate(), clients.Certificate()) {
		t.Error("an authority differs from itself")
	}
}

func TestAuthorityRefusesTheOtherRealmsLeaves(t *testing.T) {
	clients, peers := authority(t, Clients), authority(t, Peers)
	if _, err := clients.Issue(profile(Peer), now); err == nil {
		t.Error("the client authority signed a peer")
	}
	for _, use := range []Use{Server, Client} {
		if _, err := peers.Issue(profile(use), now); err == nil {
			t.Errorf("the peer authority signed a %s", use)
		}
	}
}

func TestProfileProblems(t *testing.T) {
	tests := []struct {
		name string
		p    Profile
		want string
	}{
		{"server without SAN", Profile{Use: Server, Subject: pkix.Name{CommonName: "m1"}}, "needs a DNS name"},
		{"no name", Profile{Use: Client}, "no common name"},
		{"unknown use", Profile{Use: "root", Subject: pkix.Name{CommonName: "x"}}, "unknown use"},
	}
	for _, tt := range tests {
		if _, err := authority(t, Clients).Issue(tt.p, now); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	_, err := authority(t, Peers).Issue(Profile{Use: Peer, Subject: pkix.Name{CommonName: "m1"}}, now)
	if err == nil {
		t.Error("a peer without SAN was issued")
	}
}

func TestLifetimes(t *testing.T) {
	a := authority(t, Clients)
	leaf := issue(t, a, profile(Client)).Certificate
	if !leaf.NotBefore.Before(now) || !a.Certificate().NotBefore.Before(now) {
		t.Error("not backdated: a host whose clock is behind refuses it")
	}
	if got := leaf.NotAfter.Sub(now); got != leafLifetime {
		t.Errorf("leaf lives %v", got)
	}
	late := a.Certificate().NotAfter.Add(-time.Hour)
	leafLate, err := a.Issue(profile(Client), late)
	if err != nil {
		t.Fatal(err)
	}
	if leafLate.Certificate.NotAfter.After(a.Certificate().NotAfter) {
		t.Error("a leaf outlives its authority")
	}
	if _, err := a.Issue(profile(Client), a.Certificate().NotAfter.Add(time.Hour)); err == nil {
		t.Error("an authority that ended still signs")
	}
}

func TestSerialsDiffer(t *testing.T) {
	a := authority(t, Clients)
	seen := map[string]bool{}
	for range 50 {
		serial := issue(t, a, profile(Client)).Certificate.SerialNumber
		if serial.Sign() <= 0 || seen[serial.String()] {
			t.Fatalf("serial %v: repeated or not positive", serial)
		}
		seen[serial.String()] = true
	}
}

func TestVouches(t *testing.T) {
	a, other := authority(t, Clients), authority(t, Clients)
	id := &url.URL{Scheme: "spiffe", Host: "cluster", Path: "/backup"}
	p := Profile{Use: Server, Subject: pkix.Name{CommonName: "m1", Organization: []string{"o"}},
		DNS: []string{"a", "b"}, IP: []net.IP{net.IPv4(127, 0, 0, 1)}, URI: []*url.URL{id}}
	leaf := issue(t, a, p).Certificate
	if err := a.Vouches(leaf, p, now); err != nil {
		t.Fatalf("control: %v", err)
	}
	changed := func(f func(*Profile)) Profile { q := p; f(&q); return q }
	tests := []struct {
		name string
		a    *Authority
		p    Profile
		at   time.Time
	}{
		{"another authority", other, p, now},
		{"expired", a, p, now.Add(2 * leafLifetime)},
		{"not yet", a, p, now.Add(-2 * backdate)},
		{"another use", a, changed(func(q *Profile) { q.Use = Client }), now},
		{"another name", a, changed(func(q *Profile) { q.Subject.CommonName = "m2" }), now},
		{"another organisation", a, changed(func(q *Profile) { q.Subject.Organization = []string{"x"} }), now},
		{"one more host", a, changed(func(q *Profile) { q.DNS = []string{"a", "c"} }), now},
		{"another address", a, changed(func(q *Profile) { q.IP = []net.IP{net.IPv4(127, 0, 0, 2)} }), now},
		{"another URI", a, changed(func(q *Profile) { q.URI = []*url.URL{{Scheme: "spiffe", Host: "x"}} }), now},
	}
	for _, tt := range tests {
		if err := tt.a.Vouches(leaf, tt.p, tt.at); err == nil {
			t.Errorf("%s: vouched for", tt.name)
		}
	}
}

func TestPairOnDisk(t *testing.T) {
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	a := authority(t, Clients)
	leaf := issue(t, a, profile(Client))
	if err := leaf.Save(crt, key); err != nil {
		t.Fatal(err)
	}
	if mode := fileMode(t, key); mode != KeyMode {
		t.Errorf("key has mode %v", mode)
	}
	if mode := fileMode(t, crt); mode != CertMode {
		t.Errorf("certificate has mode %v", mode)
	}
	got, err := LoadLeaf(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Certificate.Equal(leaf.Certificate) {
		t.Error("another certificate came back")
	}
	if _, err := tls.LoadX509KeyPair(crt, key); err != nil {
		t.Errorf("the standard library does not take the pair: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("temporary files stay behind: %v %v", left, err)
	}

	t.Run("crash between key and certificate", func(t *testing.T) {
		if err := issue(t, a, profile(Client)).Save(filepath.Join(dir, "b.crt"), key); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadLeaf(crt, key); !errors.Is(err, ErrMismatch) {
			t.Errorf("a key that is not the certificate's: %v", err)
		}
	})
	t.Run("key others may read", func(t *testing.T) {
		if err := leaf.Save(crt, key); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(key, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadLeaf(crt, key); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("a loose key: %v", err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		if _, err := LoadLeaf(filepath.Join(dir, "x.crt"), key); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("garbage is not quoted", func(t *testing.T) {
		if err := WriteFile(key, []byte("SECRET-BYTES"), KeyMode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadLeaf(crt, key); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("the error shows the key file or does not exist: %v", err)
		}
	})
}

func TestAuthorityOnDisk(t *testing.T) {
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	if err := authority(t, Clients).Save(crt, key); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadAuthority(Peers, crt, key); err == nil || !strings.Contains(err.Error(), "swapped") {
		t.Errorf("a client authority loaded as the peers': %v", err)
	}
	a, err := LoadAuthority(Clients, crt, key)
	if err != nil || !a.CanSign() {
		t.Fatalf("%v, can sign %v", err, a.CanSign())
	}
	leaf := issue(t, a, profile(Client))
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	offline, err := LoadAuthority(Clients, crt, key)
	if err != nil {
		t.Fatal(err)
	}
	if offline.CanSign() {
		t.Error("signs without a key")
	}
	if err := offline.Vouches(leaf.Certificate, profile(Client), now); err != nil {
		t.Error(err)
	}
	if _, err := offline.Issue(profile(Client), now); err == nil || !strings.Contains(err.Error(), "not here") {
		t.Error(err)
	}
	if err := leaf.Save(crt, key); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadAuthority(Clients, crt, key); !errors.Is(err, errNotAuthority) {
		t.Errorf("a leaf loaded as an authority: %v", err)
	}
}

func TestWriteFileKeepsTheOldOneOnFailure(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := WriteFile(name, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "no-such-folder", "f"), nil, 0o600); err == nil {
		t.Error("wrote into a folder that does not exist")
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "d"), []byte("x"), 0o600); err == nil {
		t.Error("replaced a folder by a file")
	}
	if err := WriteFile(name, []byte("new"), 0o640); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || string(got) != "new" || fileMode(t, name) != 0o640 {
		t.Errorf("%q %v %v", got, fileMode(t, name), err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files stay behind: %v %v", left, err)
	}
}

func fileMode(t *testing.T, name string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
