package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
)

// Relay is a listener inside the process for what speaks to the server on behalf
// of a caller that the Door let in over another protocol. Its connections carry
// that caller's identity and can be made in no other way, so that nothing that
// comes over a network can claim to be one.
type Relay struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// NewRelay makes a Relay; the server behind the Door has to serve it.
func NewRelay() *Relay {
	return &Relay{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Dial connects to the server as p.
func (r *Relay) Dial(ctx context.Context, p *Peer) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case r.conns <- &relayed{Conn: there, addr: &Addr{Addr: p.Address, Peer: p}}:
		return here, nil
	case <-r.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements net.Listener.
func (r *Relay) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (r *Relay) Close() error { r.once.Do(func() { close(r.done) }); return nil }

// Addr implements net.Listener.
func (r *Relay) Addr() net.Addr { return &net.UnixAddr{Name: "relay", Net: "unix"} }

// relayed is the server's end of a connection through a Relay. The Door does not
// count it: it ends with the connection that it belongs to, which is counted.
type relayed struct {
	net.Conn
	addr *Addr
}

func (c *relayed) RemoteAddr() net.Addr { return c.addr }

// authInfo is what the server would have been given had the caller come directly.
func (c *relayed) authInfo() credentials.AuthInfo {
	shown := c.addr.Peer.Certificates
	if len(shown) == 0 {
		return nil // plaintext, or nobody: etcd takes any other AuthInfo for TLS
	}
	return credentials.TLSInfo{
		State: tls.ConnectionState{
			HandshakeComplete: true,
			PeerCertificates:  shown,
			VerifiedChains:    [][]*x509.Certificate{shown},
		},
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}
}
