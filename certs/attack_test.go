package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/pki"
)

// A revocation list that is passed over lets in whom it revokes. Half a file is what
// a reader sees while another writes it in place.
func TestARevocationListThatCannotBeReadWholeIsRefused(t *testing.T) {
	f := newFiles(t)
	second := f.newAuthority("two")
	f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate(), second.Certificate()))
	one, two := f.issue(pki.Client, "one"), f.issueBy(second, pki.Client, "two")
	next := time.Now().Add(time.Hour)
	firstDER := f.revoke("crl", f.authority, next, one)
	firstPEM, err := os.ReadFile(f.file("crl"))
	check(t, err)
	secondDER := f.revoke("crl", second, next, two)
	secondPEM, err := os.ReadFile(f.file("crl"))
	check(t, err)
	c := f.config()
	c.CRLFile = f.file("crl")

	whole := append(bytes.Clone(firstPEM), secondPEM...)
	f.write("crl", whole)
	g, err := c.Load()
	check(t, err)
	for name, leaf := range map[string]*pki.Leaf{"one": one, "two": two} {
		if g.stillAdmits([]*x509.Certificate{leaf.Certificate}) == nil {
			t.Fatalf("the control does not hold: %s is let in", name)
		}
	}

	damaged := bytes.Clone(whole)
	damaged[len(firstPEM)+len("-----BEGIN X509 CRL-----\n")+10] = '!'
	for name, data := range map[string][]byte{
		"cut in the second list":        whole[:len(firstPEM)+len(secondPEM)/2],
		"cut before the last line ends": whole[:len(whole)-len("-----END X509 CRL-----\n")],
		"a damaged second list":         damaged,
		"two lists in DER":              append(bytes.Clone(firstDER), secondDER...),
		"DER and something":             append(bytes.Clone(firstDER), 0),
		"PEM and DER":                   append(bytes.Clone(firstPEM), secondDER...),
		"a certificate besides":         append(bytes.Clone(firstPEM), pki.EncodeCertificates(one.Certificate)...),
		"nothing":                       {},
	} {
		f.write("crl", data)
		if _, err := c.Load(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Text between the blocks is what openssl writes.
	f.write("crl", append([]byte("Certificate Revocation List (CRL):\n    Version 2\n"), whole...))
	if _, err := c.Load(); err != nil {
		t.Errorf("text before the list: %v", err)
	}
}

// A list is for one key, not for a name: an authority of the same name, trusted
// beside it, neither signs for it nor is revoked by it.
func TestAnAuthorityOfTheSameNameRevokesNothing(t *testing.T) {
	f := newFiles(t)
	twin := f.newAuthority("one")
	f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate(), twin.Certificate()))
	leaf := f.issue(pki.Client, "one")
	der := f.revoke("crl", twin, time.Now().Add(time.Hour), leaf)
	c := f.config()
	c.CRLFile = f.file("crl")
	g, err := c.Load()
	check(t, err)
	if err := g.stillAdmits([]*x509.Certificate{leaf.Certificate}); err != nil {
		t.Errorf("revoked by another of the same name: %v", err)
	}
	f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate()))
	f.write("crl", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	if _, err := c.Load(); err == nil {
		t.Error("a list that no trusted key signed is accepted for its name")
	}
}

// Whoever sends the beginning of HTTP/2 and then nothing must not keep the
// connection: what the door knows of time has to last until gRPC's own does.
func TestAPlaintextConnectionThatStallsInThePrefaceIsBounded(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	watched := &deadlines{Conn: server}
	d := NewDoor(DoorConfig{})
	done := make(chan error, 1)
	go func() {
		_, _, err := d.ServerHandshake(plainConn{watched})
		done <- err
	}()
	if _, err := client.Write(http2Preface); err != nil {
		t.Fatal(err)
	}
	check(t, <-done)
	if watched.last.IsZero() {
		t.Error("the deadline was taken off before gRPC has read the preface; its own was taken off with it")
	}
}

// deadlines remembers the last deadline for reading.
type deadlines struct {
	net.Conn
	last time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.last = t; return d.Conn.SetReadDeadline(t) }
func (d *deadlines) SetDeadline(t time.Time) error     { d.last = t; return d.Conn.SetDeadline(t) }

// A session that was made under one generation is of no use to the port for probes
// once its authority is gone: its configuration is made anew for each connection,
// and its ticket keys are not.
func TestASessionOfTheWebSideDiesWithItsAuthority(t *testing.T) {
	f := newFiles(t)
	source := f.source(f.config())
	leaf := f.issue(pki.Client, "one")
	outer := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return source.Current().WebConfig(), nil
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				s := tls.Server(raw, outer)
				if s.Handshake() == nil {
					_, _ = s.Write([]byte("x"))
				}
			}()
		}
	}()
	cache := tls.NewLRUClientSessionCache(4)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		dial := func() (resumed bool, err error) {
			c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost",
				ClientSessionCache: cache, MaxVersion: version, Certificates: []tls.Certificate{leaf.TLS()}})
			if err != nil {
				return false, err
			}
			defer c.Close()
			check(t, c.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = c.Read(make([]byte, 1))
			return c.ConnectionState().DidResume, err
		}
		if _, err := dial(); err != nil {
			t.Fatal(err)
		}
		if resumed, err := dial(); err != nil || !resumed {
			t.Fatalf("the control does not hold: resumed %t, %v", resumed, err)
		}
		f.write("ca.crt", pki.EncodeCertificates(f.newAuthority("new").Certificate()))
		check(t, source.Reload())
		if _, err := dial(); err == nil {
			t.Errorf("version %x: let in under an authority that is gone", version)
		}
		f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate()))
		check(t, source.Reload())
	}
}
