package certs

import (
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"
)

// Peer is who is at the other end of one client connection. The guard finds it
// through the connection's remote address, which is the only thing of a
// connection that gRPC hands on for every request besides etcd's own TLSInfo.
type Peer struct {
	// Certificates are the client's, leaf first, as it sent them; they were
	// verified at the handshake. None: the caller is anonymous.
	Certificates []*x509.Certificate
	// Address is where the connection comes from.
	Address net.Addr

	memo atomic.Value
}

// Leaf is the certificate that names the caller; nil: nobody.
func (p *Peer) Leaf() *x509.Certificate {
	if len(p.Certificates) == 0 {
		return nil
	}
	return p.Certificates[0]
}

// Memo is what its user last stored with SetMemo, nil before: a place to keep
// what follows from the identity, for as long as the connection lasts.
func (p *Peer) Memo() any { return p.memo.Load() }

// SetMemo stores v, always of one type.
func (p *Peer) SetMemo(v any) { p.memo.Store(v) }

// Addr is the remote address of a connection that a Door let in.
type Addr struct {
	net.Addr
	Peer *Peer
}

// conn is a connection that a Door let in. It leaves the Door's register when it
// is closed, by whomever.
type conn struct {
	net.Conn
	cork   *cork // under Conn; nil without TLS
	addr   *Addr
	door   *Door
	closed sync.Once
}

func (c *conn) RemoteAddr() net.Addr { return c.addr }

func (c *conn) Write(b []byte) (int, error) {
	if c.cork == nil {
		return c.Conn.Write(b)
	}
	return c.cork.write(c.Conn, b)
}

func (c *conn) Close() error {
	c.closed.Do(func() { c.door.forget(c) })
	if c.cork != nil {
		c.cork.hurry()
	}
	return c.Conn.Close()
}
