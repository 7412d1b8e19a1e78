package certs

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/pki"
)

func TestWhoIsLetIn(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		in     []string // of alice, bob, nobody
	}{
		"certificates demanded": {func(*Config) {}, []string{"alice", "bob"}},
		// An authority without client-cert-auth demands certificates too, as in etcd.
		"an authority alone":  {func(c *Config) { c.RequireClientCert = false }, []string{"alice", "bob"}},
		"no authority":        {func(c *Config) { c.RequireClientCert, c.CAFile = false, "" }, []string{"alice", "bob", "nobody"}},
		"an allowed host":     {func(c *Config) { c.AllowedHostnames = []string{"x", "alice.example"} }, []string{"alice"}},
		"an allowed name":     {func(c *Config) { c.AllowedCNs = []string{"bob", "x"} }, []string{"bob"}},
		"a name of the other": {func(c *Config) { c.AllowedCNs, c.AllowedHostnames = []string{"bob"}, []string{"alice.example"} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			config := f.config()
			c.change(&config)
			p := open(t, DoorConfig{Source: f.source(config)})
			for who, client := range map[string]*tls.Config{
				"alice": f.client(f.issue(pki.Client, "alice"), "h2"), "bob": f.client(f.issue(pki.Client, "bob"), "h2"), "nobody": f.client(nil, "h2"),
			} {
				_, err := p.enter(client)
				if want := slices.Contains(c.in, who); (err == nil) != want {
					t.Errorf("%s: %v, want in: %v", who, err, want)
				}
			}
		})
	}
}

// Whatever the file says, a certificate for servers does not make a client.
func TestAServersCertificateIsNoClients(t *testing.T) {
	f := newFiles(t)
	p := open(t, DoorConfig{Source: f.source(f.config())})
	if _, err := p.enter(f.client(f.issue(pki.Server, "server"), "h2")); err == nil {
		t.Error("a certificate with serverAuth alone was let in")
	}
}

func TestTLSVersions(t *testing.T) {
	for name, c := range map[string]struct{ min, max, client, want uint16 }{
		"as by default, the highest": {client: tls.VersionTLS13, want: tls.VersionTLS13},
		"TLS 1.2 by default":         {client: tls.VersionTLS12, want: tls.VersionTLS12},
		"never below 1.2":            {min: tls.VersionTLS10, client: tls.VersionTLS11},
		"a minimum":                  {min: tls.VersionTLS13, client: tls.VersionTLS12},
		"a maximum":                  {max: tls.VersionTLS12, client: tls.VersionTLS13, want: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			config := f.config()
			config.MinVersion, config.MaxVersion = c.min, c.max
			p := open(t, DoorConfig{Source: f.source(config)})
			client := f.client(f.issue(pki.Client, "alice"), "h2")
			client.MinVersion, client.MaxVersion = tls.VersionTLS10, c.client
			conn, err := p.enter(client)
			switch {
			case c.want == 0 && err == nil:
				t.Errorf("version %x was let in", conn.ConnectionState().Version)
			case c.want != 0 && err != nil:
				t.Error(err)
			case c.want != 0 && conn.ConnectionState().Version != c.want:
				t.Errorf("version %x, want %x", conn.ConnectionState().Version, c.want)
			}
		})
	}
}

// etcd matches serial numbers alone and asks nobody who signed a list.
func TestARevocationListRevokesItsOwnAuthoritysCertificatesOnly(t *testing.T) {
	f := newFiles(t)
	other := f.newAuthority("other")
	f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate(), other.Certificate()))
	alice := f.issue(pki.Client, "alice")
	twin := twinOf(f, other, alice)
	f.revoke("crl.pem", other, time.Now().Add(time.Hour), alice) // the serial number of both
	c := f.config()
	c.CRLFile = f.file("crl.pem")
	p := open(t, DoorConfig{Source: f.source(c)})
	p.mustEnter(f.client(alice, "h2"))
	if _, err := p.enter(f.clientOf(twin)); err == nil {
		t.Error("the certificate that its authority revoked was let in")
	}
}

func TestRevocationListsOfSeveralAuthoritiesAndBothEncodings(t *testing.T) {
	f := newFiles(t)
	other := f.newAuthority("other")
	f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate(), other.Certificate()))
	alice, bob := f.issue(pki.Client, "alice"), f.issueBy(other, pki.Client, "bob")
	der := f.revoke("a.pem", f.authority, time.Now().Add(time.Hour), alice)
	f.revoke("b.pem", other, time.Now().Add(-time.Minute), bob)
	both := append(read(t, f.file("a.pem")), read(t, f.file("b.pem"))...)
	for name, c := range map[string]struct {
		data          []byte
		alice, bob    bool
		listIsOutdate bool
	}{
		"both lists in one file": {both, false, false, true},
		"one list in DER":        {der, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			f.write("crl", c.data)
			config := f.config()
			config.CRLFile = f.file("crl")
			source := f.source(config)
			p := open(t, DoorConfig{Source: source})
			for who, in := range map[*pki.Leaf]bool{alice: c.alice, bob: c.bob} {
				if _, err := p.enter(f.client(who, "h2")); (err == nil) != in {
					t.Errorf("%s: %v, want in: %v", who.Certificate.Subject.CommonName, err, in)
				}
			}
			// An outdated list still revokes what it revokes; that newer revocations may
			// be missing is for the operator to know.
			if source.Current().RevocationsExpired() != c.listIsOutdate {
				t.Errorf("RevocationsExpired is %v", !c.listIsOutdate)
			}
		})
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	check(t, err)
	return data
}

// twinOf is a certificate of another authority with the same serial number.
func twinOf(f *files, a *pki.Authority, of *pki.Leaf) tls.Certificate {
	f.t.Helper()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Set(of.Certificate.SerialNumber), Subject: pkix.Name{CommonName: "twin"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate(), of.Certificate.PublicKey, f.key(a))
	check(f.t, err)
	check(f.t, of.Save(f.file("twin.crt"), f.file("twin.key")))
	f.write("twin.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pair, err := tls.LoadX509KeyPair(f.file("twin.crt"), f.file("twin.key"))
	check(f.t, err)
	return pair
}

func (f *files) clientOf(pair tls.Certificate) *tls.Config {
	c := f.client(nil, "h2")
	c.Certificates = []tls.Certificate{pair}
	return c
}
