package certs

import (
	"net"
	"sync"
	"sync/atomic"
)

// oneRecord is the most plaintext of one TLS record (RFC 8446, 5.1).
const oneRecord = 16 << 10

// cork lies under a tls.Conn, which makes one write, and so one system call and one
// passage through the network stack, of each record. For as long as the cork is in,
// they are gathered.
type cork struct {
	net.Conn

	mu     sync.Mutex // alerts and key updates are written beside Write
	in     bool
	buffer *[]byte // nil while there is nothing in it

	writing atomic.Int32
	closing atomic.Bool
}

// corkBuffers are shared by all connections: one that is idle holds none.
var corkBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, WriteSize+WriteSize/oneRecord*64)
	return &b
}}

// Write writes, or keeps b until the cork is out.
func (c *cork) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.in {
		return c.Conn.Write(b)
	}
	if c.buffer == nil {
		c.buffer = corkBuffers.Get().(*[]byte)
	}
	if len(*c.buffer)+len(b) > cap(*c.buffer) {
		if err := c.emptyLocked(); err != nil {
			return 0, err
		}
		if len(b) > cap(*c.buffer) {
			return c.Conn.Write(b)
		}
	}
	*c.buffer = append(*c.buffer, b...)
	return len(b), nil
}

func (c *cork) emptyLocked() error {
	_, err := c.Conn.Write(*c.buffer)
	*c.buffer = (*c.buffer)[:0]
	return err
}

func (c *cork) put() {
	c.mu.Lock()
	c.in = true
	c.mu.Unlock()
}

// pull writes what was gathered.
func (c *cork) pull() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = false
	if c.buffer != nil {
		err = c.emptyLocked()
		corkBuffers.Put(c.buffer)
		c.buffer = nil
	}
	return err
}

// write has t, whose connection this is, write b.
func (c *cork) write(t net.Conn, b []byte) (int, error) {
	if len(b) <= oneRecord {
		return t.Write(b)
	}
	c.writing.Add(1)
	defer c.writing.Add(-1)
	c.put()
	n, err := t.Write(b)
	if c.closing.Load() {
		c.Conn.Close()
	}
	if failed := c.pull(); err == nil {
		err = failed
	}
	return n, err
}

// hurry is for before t is closed. A tls.Conn that is being written breaks the
// connection off; one that is not says goodbye, and waits for seconds if it can't,
// which whoever does not read could make it do. What is written from the cork, it does
// not know of.
func (c *cork) hurry() {
	c.closing.Store(true)
	if c.writing.Load() > 0 {
		c.Conn.Close()
	}
}
