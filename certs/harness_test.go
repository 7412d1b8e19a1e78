package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/etcdguard/etcdguard/pki"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files is a directory with what a Config points to.
type files struct {
	t         testing.TB
	dir       string
	authority *pki.Authority
	clock     *clock
}

// clock is a Config's Now: real time, moved.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time        { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) move(by time.Duration) { c.ahead.Add(int64(by)) }

func newFiles(t testing.TB) *files {
	t.Helper()
	f := &files{t: t, dir: t.TempDir(), clock: &clock{}}
	f.authority = f.newAuthority("one")
	f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate()))
	check(t, f.issue(pki.Server, "server").Save(f.file("server.crt"), f.file("server.key")))
	return f
}

func (f *files) newAuthority(name string) *pki.Authority {
	f.t.Helper()
	a, err := pki.NewAuthority(pki.Clients, name, time.Now())
	check(f.t, err)
	return a
}

func (f *files) file(name string) string { return filepath.Join(f.dir, name) }

func (f *files) write(name string, data []byte) {
	f.t.Helper()
	check(f.t, pki.WriteFile(f.file(name), data, 0o600))
}

func (f *files) issue(use pki.Use, cn string) *pki.Leaf { return f.issueBy(f.authority, use, cn) }

func (f *files) issueBy(a *pki.Authority, use pki.Use, cn string) *pki.Leaf {
	f.t.Helper()
	p := pki.Profile{Use: use, Subject: pkix.Name{CommonName: cn}, DNS: []string{cn + ".example"}}
	if use == pki.Server {
		p.DNS, p.IP = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	leaf, err := a.Issue(p, time.Now())
	check(f.t, err)
	return leaf
}

// config is one that demands client certificates of the authority.
func (f *files) config() Config {
	return Config{
		CertFile: f.file("server.crt"), KeyFile: f.file("server.key"), CAFile: f.file("ca.crt"),
		RequireClientCert: true, Now: f.clock.now,
	}
}

// key is the key of an authority, which pki gives out to files only.
func (f *files) key(a *pki.Authority) crypto.Signer {
	f.t.Helper()
	check(f.t, a.Save(f.file("authority.crt"), f.file("authority.key")))
	pair, err := tls.LoadX509KeyPair(f.file("authority.crt"), f.file("authority.key"))
	check(f.t, err)
	return pair.PrivateKey.(crypto.Signer)
}

// revoke writes a revocation list of a, and returns it as DER.
func (f *files) revoke(name string, a *pki.Authority, next time.Time, leaves ...*pki.Leaf) []byte {
	f.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: next}
	for _, l := range leaves {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: l.Certificate.SerialNumber, RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.Certificate(), f.key(a))
	check(f.t, err)
	f.write(name, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	return der
}

func (f *files) source(c Config) *Source {
	f.t.Helper()
	s, err := NewSource(c)
	check(f.t, err)
	return s
}

// port is a Door at work: connections over h2 are echoed, others are served by
// an HTTP server that tells who its caller is.
type port struct {
	t    testing.TB
	addr string
	door *Door

	mu     sync.Mutex
	admits []error // the outcomes of ServerHandshake, nil or an error
}

func open(t testing.TB, c DoorConfig, wrap ...func(net.Listener) net.Listener) *port {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p := &port{t: t, addr: l.Addr().String(), door: NewDoor(c)}
	for _, w := range wrap {
		l = w(l)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) })}
	go web.Serve(p.door.HTTP())
	var conns sync.WaitGroup
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.serve(raw) })
		}
	}()
	t.Cleanup(func() {
		l.Close()
		p.door.HTTP().Close()
		web.Close()
		p.door.mu.Lock()
		for c := range p.door.open {
			c.Conn.Close()
		}
		for e := p.door.pending.Front(); e != nil; e = e.Next() {
			e.Value.(net.Conn).Close()
		}
		p.door.mu.Unlock()
		conns.Wait()
	})
	return p
}

func (p *port) serve(raw net.Conn) {
	c, _, err := p.door.ServerHandshake(raw)
	p.mu.Lock()
	p.admits = append(p.admits, err)
	p.mu.Unlock()
	if errors.Is(err, credentials.ErrConnDispatched) {
		return
	}
	if err != nil {
		raw.Close()
		return
	}
	defer c.Close()
	io.Copy(c, c)
}

// outcomes are how many handshakes ended, and how many of these with an error.
func (p *port) outcomes() (all, failed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, err := range p.admits {
		if err != nil && !errors.Is(err, credentials.ErrConnDispatched) {
			failed++
		}
	}
	return len(p.admits), failed
}

// client is the TLS of a caller that offers protocols; a nil leaf is nobody.
func (f *files) client(leaf *pki.Leaf, protocols ...string) *tls.Config {
	c := &tls.Config{RootCAs: f.authority.CertPool(), ServerName: "localhost", NextProtos: protocols, Time: f.clock.now}
	if leaf != nil {
		c.Certificates = []tls.Certificate{leaf.TLS()}
	}
	return c
}

// enter opens a connection and makes sure that the other end serves it.
func (p *port) enter(c *tls.Config) (*tls.Conn, error) {
	p.t.Helper()
	conn, err := tls.Dial("tcp", p.addr, c)
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { conn.Close() })
	return conn, echo(conn)
}

// mustEnter is enter for those who have a right to.
func (p *port) mustEnter(c *tls.Config) *tls.Conn {
	p.t.Helper()
	conn, err := p.enter(c)
	if err != nil {
		p.t.Fatalf("a good client does not get in: %v", err)
	}
	return conn
}

// echo fails when the other end has closed the connection.
func echo(c net.Conn) error {
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never came: %s", what)
}
