package certs

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/etcdguard/etcdguard/pki"
)

// mustEnter2 opens a connection to the HTTP side and makes one request on it.
func (p *port) mustEnter2(c *tls.Config) *tls.Conn {
	p.t.Helper()
	conn, err := tls.Dial("tcp", p.addr, c)
	check(p.t, err)
	p.t.Cleanup(func() { conn.Close() })
	if _, err := request(conn); err != nil {
		p.t.Fatal(err)
	}
	return conn
}

// request asks the HTTP side of a port and returns what it answers.
func request(c net.Conn) (string, error) {
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

// A gRPC client offers h2 alone; curl and kubelet offer both and want HTTP/1.1
// here; a probe that knows no ALPN offers nothing.
func TestALPNSendsEachClientToItsSide(t *testing.T) {
	f := newFiles(t)
	p := open(t, DoorConfig{Source: f.source(f.config())})
	alice := f.issue(pki.Client, "alice")
	p.mustEnter(f.client(alice, "h2"))
	for name, offer := range map[string][]string{
		"curl": {"h2", "http/1.1"}, "the other order": {"http/1.1", "h2"}, "HTTP/1.1 alone": {"http/1.1"}, "no ALPN": nil,
	} {
		conn, err := tls.Dial("tcp", p.addr, f.client(alice, offer...))
		check(t, err)
		answer, err := request(conn)
		if err != nil || answer != conn.LocalAddr().String() {
			t.Errorf("%s: %q, %v; want the client's address", name, answer, err)
		}
		conn.Close()
	}
	if _, err := p.enter(f.client(alice, "spdy/3")); err == nil {
		t.Error("a client of an unknown protocol was let in")
	}
	eventually(t, "closed connections to be forgotten", func() bool { return p.door.Open() == 1 })
}

// Identity is the connection's: what the guard reads is what was verified.
func TestAConnectionCarriesWhoMadeIt(t *testing.T) {
	f := newFiles(t)
	door := NewDoor(DoorConfig{Source: f.source(f.config())})
	here, there := net.Pipe()
	go tls.Client(there, f.client(f.issue(pki.Client, "alice"), "h2")).Handshake()
	c, auth, err := door.ServerHandshake(here)
	check(t, err)
	defer c.Close()
	defer there.Close()
	peer := c.RemoteAddr().(*Addr).Peer
	if cn := peer.Leaf().Subject.CommonName; cn != "alice" {
		t.Errorf("the connection is %s's", cn)
	}
	if peer.Memo() != nil {
		t.Error("a new connection has a memo")
	}
	peer.SetMemo("m")
	if peer.Memo() != "m" {
		t.Error("the memo is not kept")
	}
	// etcd's own users by certificate need these two.
	info, ok := auth.(credentials.TLSInfo)
	if !ok || info.State.PeerCertificates[0] != peer.Leaf() || info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("etcd gets %v", auth)
	}
	if (&Peer{}).Leaf() != nil {
		t.Error("nobody has a certificate")
	}
}

func TestPlaintextIsNobody(t *testing.T) {
	p := open(t, DoorConfig{}, Plaintext)
	web, err := net.Dial("tcp", p.addr)
	check(t, err)
	defer web.Close()
	if _, err := request(web); err != nil {
		t.Errorf("HTTP/1.1 over plaintext: %v", err)
	}
	grpc, err := net.Dial("tcp", p.addr)
	check(t, err)
	defer grpc.Close()
	_, err = io.WriteString(grpc, "PRI * HTTP/2.0\r\n\r\n")
	check(t, err)
	if _, err := io.ReadFull(grpc, make([]byte, len("PRI * HTTP/2.0\r\n\r\n"))); err != nil {
		t.Errorf("the preface was lost on the way to the server: %v", err)
	}
	if n := p.door.Sweep(nil); n != 0 {
		t.Errorf("%d plaintext connections were swept", n)
	}

	door := NewDoor(DoorConfig{})
	here, there := net.Pipe()
	go io.WriteString(there, "PRI * HTTP/2.0")
	c, auth, err := door.ServerHandshake(plainConn{here})
	check(t, err)
	defer c.Close()
	if auth != nil {
		t.Errorf("etcd gets %v; it would take any for TLS", auth)
	}
	if c.RemoteAddr().(*Addr).Peer.Leaf() != nil {
		t.Error("a plaintext connection has a certificate")
	}
	// Without TLS configured, only listeners that are marked may speak plaintext.
	here, there = net.Pipe()
	defer there.Close()
	if _, _, err := door.ServerHandshake(here); err == nil {
		t.Error("a door without TLS let in a connection that is not marked")
	}
}

// halfOpen opens connections that never finish a handshake.
func (p *port) halfOpen(n int, say []byte) []net.Conn {
	p.t.Helper()
	all := make([]net.Conn, n)
	for i := range all {
		c, err := net.Dial("tcp", p.addr)
		check(p.t, err)
		p.t.Cleanup(func() { c.Close() })
		c.Write(say)
		all[i] = c
	}
	return all
}

// aClientHello is how a TLS handshake of a client begins.
func aClientHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	go tls.Client(here, &tls.Config{ServerName: "localhost"}).Handshake()
	hello := make([]byte, 4096)
	n, err := there.Read(hello)
	check(t, err)
	if n < 100 {
		t.Fatalf("a client hello of %d bytes", n)
	}
	return hello[:n]
}

// CVE-2026-73500: handshakes that are left half open must not keep others out.
func TestHalfOpenHandshakesAreBounded(t *testing.T) {
	const bound, attack = 8, 300
	hello := aClientHello(t)
	for name, say := range map[string][]byte{"silent": nil, "half a client hello": hello[:len(hello)/2], "a hello and no more": hello} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			p := open(t, DoorConfig{Source: f.source(f.config()), MaxHandshakes: bound, HandshakeTimeout: time.Hour})
			alice := f.client(f.issue(pki.Client, "alice"), "h2")
			before := p.mustEnter(alice)
			attackers := p.halfOpen(attack, say)
			// While the attack comes in, a good client may itself be among the oldest; it
			// tries again, as every gRPC client does.
			eventually(t, "a good client to get in", func() bool { _, err := p.enter(alice); return err == nil })
			if err := echo(before); err != nil {
				t.Errorf("a connection from before the attack broke: %v", err)
			}
			eventually(t, "the oldest to be given up", func() bool { _, failed := p.outcomes(); return failed >= attack-bound })
			p.door.mu.Lock()
			pending := p.door.pending.Len()
			p.door.mu.Unlock()
			if pending > bound {
				t.Errorf("%d handshakes are under way, the bound is %d", pending, bound)
			}
			drained(t, attackers[0])
			p.mustEnter(alice)
		})
	}
}

// drained reads until the other end closes the connection.
func drained(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, errTimeout(err)) {
		t.Errorf("the connection is still open: %v", err)
	}
}

func errTimeout(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return errors.New("no timeout")
}

// The bound that members have, and about as many attackers as a test may be.
func TestTwoThousandHalfOpenHandshakesAtTheDefaultBound(t *testing.T) {
	const attack = 2000
	f := newFiles(t)
	p := open(t, DoorConfig{Source: f.source(f.config())})
	requireFiles(t, 2*attack+200)
	alice := f.client(f.issue(pki.Client, "alice"), "h2")
	p.halfOpen(attack, nil)
	eventually(t, "a good client to get in", func() bool { _, err := p.enter(alice); return err == nil })
	eventually(t, "all but the bound to be given up", func() bool { _, failed := p.outcomes(); return failed >= attack-1024 })
}

func TestAHandshakeTimesOut(t *testing.T) {
	f := newFiles(t)
	var failed atomic.Int64
	p := open(t, DoorConfig{
		Source: f.source(f.config()), HandshakeTimeout: 20 * time.Millisecond,
		Failed: func(net.Addr, *x509.Certificate, error) { failed.Add(1) },
	})
	hello := aClientHello(t)
	for _, say := range [][]byte{nil, hello[:len(hello)/2], hello} {
		drained(t, p.halfOpen(1, say)[0])
	}
	eventually(t, "all three failures to be told", func() bool { return failed.Load() == 3 })
	plain := open(t, DoorConfig{HandshakeTimeout: 20 * time.Millisecond}, Plaintext)
	drained(t, plain.halfOpen(1, nil)[0])
}

// Who was turned away is told, or nobody learns who tries.
func TestAFailedHandshakeTellsWhoWasShown(t *testing.T) {
	f := newFiles(t)
	mallory, stranger := f.issue(pki.Client, "mallory"), f.issueBy(f.newAuthority("one"), pki.Client, "stranger")
	f.revoke("crl.pem", f.authority, time.Now().Add(time.Hour), mallory)
	c := f.config()
	c.CRLFile = f.file("crl.pem")
	told := make(chan string, 10)
	p := open(t, DoorConfig{Source: f.source(c), Failed: func(_ net.Addr, shown *x509.Certificate, err error) {
		if shown == nil {
			told <- "nobody"
			return
		}
		told <- shown.Subject.CommonName
	}})
	for want, leaf := range map[string]*pki.Leaf{"mallory": mallory, "stranger": stranger, "nobody": nil} {
		if _, err := p.enter(f.client(leaf, "h2")); err == nil {
			t.Fatalf("%s was let in", want)
		}
		select {
		case got := <-told:
			if got != want {
				t.Errorf("told of %s, want %s", got, want)
			}
		case <-time.After(time.Minute):
			t.Errorf("not told of %s", want)
		}
	}
}

// A Door that was shut hands no connection over: its HTTP server is gone.
func TestHTTPConnectionsEndWithTheDoor(t *testing.T) {
	f := newFiles(t)
	p := open(t, DoorConfig{Source: f.source(f.config())})
	p.door.HTTP().Close()
	conn, err := tls.Dial("tcp", p.addr, f.client(f.issue(pki.Client, "alice"), "http/1.1"))
	if err == nil {
		defer conn.Close()
		if answer, err := request(conn); err == nil {
			t.Errorf("a closed door answered %q", answer)
		}
	}
	if _, err := p.door.HTTP().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed door: %v", err)
	}
}

func TestADoorOnlyLetsIn(t *testing.T) {
	d := NewDoor(DoorConfig{})
	if _, _, err := d.ClientHandshake(t.Context(), "x", nil); err == nil || !strings.Contains(err.Error(), "does not dial") {
		t.Errorf("a door dialled: %v", err)
	}
	if d.Clone() != credentials.TransportCredentials(d) {
		t.Error("a clone would count other connections")
	}
}

// What the JSON gateway does inside the process is done by the caller over HTTP.
func TestARelayedConnectionIsItsCallers(t *testing.T) {
	f := newFiles(t)
	d := NewDoor(DoorConfig{Source: f.source(f.config())})
	r := NewRelay()
	alice := &Peer{Certificates: []*x509.Certificate{f.issue(pki.Client, "alice").Certificate}, Address: &net.TCPAddr{Port: 1}}
	for name, peer := range map[string]*Peer{"alice": alice, "nobody": {Address: &net.TCPAddr{Port: 2}}} {
		go func() {
			if c, err := r.Dial(t.Context(), peer); err == nil {
				defer c.Close()
				c.Read(make([]byte, 1))
			}
		}()
		raw, err := r.Accept()
		check(t, err)
		c, auth, err := d.ServerHandshake(raw)
		check(t, err)
		if c.RemoteAddr().(*Addr).Peer != peer {
			t.Errorf("%s: the connection is another's", name)
		}
		info, secure := auth.(credentials.TLSInfo)
		if secure != (peer == alice) || secure && info.State.VerifiedChains[0][0] != alice.Leaf() {
			t.Errorf("%s: etcd gets %v", name, auth)
		}
		c.Close()
	}
	if d.Open() != 0 {
		t.Error("relayed connections are counted beside the ones that they belong to")
	}
	r.Close()
	if _, err := r.Dial(t.Context(), alice); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialling a closed relay: %v", err)
	}
	if _, err := r.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting from a closed relay: %v", err)
	}
}
