package certs

import (
	"bufio"
	"bytes"
	"container/list"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// DoorConfig is what a Door needs.
type DoorConfig struct {
	// Source is the TLS in force; nil lets only plaintext listeners in.
	Source *Source
	// HandshakeTimeout bounds one handshake; 0 is 10 s.
	HandshakeTimeout time.Duration
	// MaxHandshakes bounds the handshakes under way; 0 is 1,024. At the bound the
	// oldest is given up: an honest one takes milliseconds, so the oldest are those
	// that an attacker holds half open (CVE-2026-73500).
	MaxHandshakes int
	// Failed is told of every handshake that failed, with the certificate that the
	// client showed, if it came that far. It may be nil.
	Failed func(addr net.Addr, shown *x509.Certificate, err error)
}

// WriteSize is how many bytes a server should give to one Write of a connection that
// a Door let in, where it has that many: they leave in one system call.
const WriteSize = 64 << 10

// Door lets connections in: gRPC's TransportCredentials for all listeners of one
// server. Connections that speak HTTP/1.1 it hands to the listener that HTTP
// returns.
type Door struct {
	config DoorConfig
	http   *handedOver

	mu      sync.Mutex
	open    map[*conn]struct{}
	pending *list.List // of net.Conn, oldest first
}

// NewDoor makes a Door that nothing has come through yet.
func NewDoor(c DoorConfig) *Door {
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = 10 * time.Second
	}
	if c.MaxHandshakes == 0 {
		c.MaxHandshakes = 1024
	}
	if c.Failed == nil {
		c.Failed = func(net.Addr, *x509.Certificate, error) {}
	}
	return &Door{
		config:  c,
		http:    &handedOver{conns: make(chan net.Conn), done: make(chan struct{})},
		open:    map[*conn]struct{}{},
		pending: list.New(),
	}
}

// Plaintext marks the connections of l as ones that come without TLS, for
// listeners that the operator opened with an unsafe option.
func Plaintext(l net.Listener) net.Listener { return plainListener{l} }

type plainListener struct{ net.Listener }

func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return plainConn{c}, nil
}

type plainConn struct{ net.Conn }

// ServerHandshake implements credentials.TransportCredentials.
func (d *Door) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if c, ok := raw.(*relayed); ok {
		return c, c.authInfo(), nil
	}
	given := d.begin(raw)
	defer d.end(given)
	if plain, ok := raw.(plainConn); ok {
		return d.admitPlain(plain)
	}
	return d.admitTLS(raw)
}

func (d *Door) admitTLS(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if d.config.Source == nil {
		return nil, nil, errors.New("this port has no TLS")
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.config.HandshakeTimeout)
	defer cancel()
	under := &cork{Conn: raw}
	t := tls.Server(under, d.config.Source.Current().tls)
	if err := t.HandshakeContext(ctx); err != nil {
		var shown *x509.Certificate
		var invalid *tls.CertificateVerificationError
		if errors.As(err, &invalid) && len(invalid.UnverifiedCertificates) > 0 {
			shown = invalid.UnverifiedCertificates[0]
		} else if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
			shown = certs[0]
		}
		d.config.Failed(raw.RemoteAddr(), shown, err)
		if errors.Is(err, io.EOF) {
			return nil, nil, io.EOF // a port probe; gRPC keeps quiet about it
		}
		return nil, nil, err
	}
	state := t.ConnectionState()
	c := d.admit(t, raw.RemoteAddr(), state.PeerCertificates)
	c.cork = under
	if state.NegotiatedProtocol != "h2" {
		return nil, nil, d.http.take(c)
	}
	return c, credentials.TLSInfo{
		State:          state,
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// http2Preface is how every HTTP/2 connection starts (RFC 9113, 3.4).
var http2Preface = []byte("PRI * HTTP/2.0")

// admitPlain tells the two protocols apart by their first bytes, since there is
// no ALPN. The AuthInfo must be nil: etcd takes any other for TLS.
func (d *Door) admitPlain(raw plainConn) (net.Conn, credentials.AuthInfo, error) {
	if err := raw.SetReadDeadline(time.Now().Add(d.config.HandshakeTimeout)); err != nil {
		return nil, nil, err
	}
	buffered := bufio.NewReader(raw.Conn)
	start, err := buffered.Peek(len(http2Preface))
	if err != nil && len(start) == 0 {
		return nil, nil, io.EOF
	}
	// The deadline stays: it stands in for gRPC's own, which it replaced, until gRPC
	// has read the preface and takes it off; take does so for HTTP/1.1.
	c := d.admit(peekedConn{raw.Conn, buffered}, raw.RemoteAddr(), nil)
	if !bytes.Equal(start, http2Preface) {
		return nil, nil, d.http.take(c)
	}
	return c, nil, nil
}

type peekedConn struct {
	net.Conn
	buffered *bufio.Reader
}

func (c peekedConn) Read(b []byte) (int, error) { return c.buffered.Read(b) }

// begin registers a handshake, and gives up the oldest where there are too many.
func (d *Door) begin(raw net.Conn) *list.Element {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending.Len() >= d.config.MaxHandshakes {
		oldest := d.pending.Front()
		d.pending.Remove(oldest).(net.Conn).Close()
	}
	return d.pending.PushBack(raw)
}

func (d *Door) end(e *list.Element) {
	d.mu.Lock()
	d.pending.Remove(e)
	d.mu.Unlock()
}

func (d *Door) admit(inner net.Conn, from net.Addr, certificates []*x509.Certificate) *conn {
	c := &conn{Conn: inner, door: d, addr: &Addr{Addr: from, Peer: &Peer{Certificates: certificates, Address: from}}}
	d.mu.Lock()
	d.open[c] = struct{}{}
	d.mu.Unlock()
	return c
}

func (d *Door) forget(c *conn) {
	d.mu.Lock()
	delete(d.open, c)
	d.mu.Unlock()
}

// Open is how many connections are let in and not closed.
func (d *Door) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

// Sweep closes the connections that the Generation in force would not let in any
// more: the certificate ran out, its authority or itself is no longer trusted.
// Streams live for weeks, so it has to be called after every reload and on a
// timer. It returns how many it closed.
func (d *Door) Sweep(because func(*Peer, error)) int {
	if d.config.Source == nil {
		return 0
	}
	g := d.config.Source.Current()
	d.mu.Lock()
	conns := make([]*conn, 0, len(d.open))
	for c := range d.open {
		conns = append(conns, c)
	}
	d.mu.Unlock()
	closed := 0
	for _, c := range conns {
		if _, plain := c.Conn.(peekedConn); plain {
			continue
		}
		if err := g.stillAdmits(c.addr.Peer.Certificates); err != nil {
			if because != nil {
				because(c.addr.Peer, err)
			}
			c.Close()
			closed++
		}
	}
	return closed
}

// HTTP is the listener of the connections that speak HTTP/1.1. It ends when the
// Door's listener is closed.
func (d *Door) HTTP() net.Listener { return d.http }

// ClientHandshake implements credentials.TransportCredentials; a Door only lets in.
func (d *Door) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("a server's door does not dial")
}

// Info implements credentials.TransportCredentials.
func (d *Door) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials; a Door is shared, not copied.
func (d *Door) Clone() credentials.TransportCredentials { return d }

// OverrideServerName implements credentials.TransportCredentials.
func (d *Door) OverrideServerName(string) error { return nil }

// handedOver is a net.Listener of connections that were accepted elsewhere.
type handedOver struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// take passes c on and tells gRPC that it is no longer its business.
func (h *handedOver) take(c net.Conn) error {
	// gRPC put its own deadline on the raw connection.
	if err := c.SetDeadline(time.Time{}); err != nil {
		c.Close()
		return io.EOF
	}
	select {
	case h.conns <- c:
		return credentials.ErrConnDispatched
	case <-h.done:
		c.Close()
		return io.EOF
	}
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handedOver) Close() error { h.once.Do(func() { close(h.done) }); return nil }

func (h *handedOver) Addr() net.Addr { return &net.TCPAddr{} }
