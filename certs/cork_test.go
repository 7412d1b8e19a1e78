package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/pki"
)

// counted counts the writes of a connection, and fails them once it is told to.
type counted struct {
	net.Conn
	writes atomic.Int64
	broken atomic.Bool
	closed atomic.Bool
	waited atomic.Bool // a deadline was set while it was open
}

func (c *counted) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

func (c *counted) SetWriteDeadline(t time.Time) error {
	if !c.closed.Load() {
		c.waited.Store(true)
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	if c.broken.Load() {
		return 0, errors.New("broken")
	}
	return c.Conn.Write(b)
}

// entered is a connection that a door let in, and its client's end.
func entered(t *testing.T) (server net.Conn, under *counted, client *tls.Conn) {
	t.Helper()
	f := newFiles(t)
	door := NewDoor(DoorConfig{Source: f.source(f.config())})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	dialled := make(chan error, 1)
	go func() {
		var err error
		client, err = tls.Dial("tcp", l.Addr().String(), f.client(f.issue(pki.Client, "alice"), "h2"))
		dialled <- err
	}()
	raw, err := l.Accept()
	check(t, err)
	under = &counted{Conn: raw}
	server, _, err = door.ServerHandshake(under)
	check(t, err)
	check(t, <-dialled)
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, under, client
}

func TestALongWriteLeavesInOneCall(t *testing.T) {
	server, under, client := entered(t)
	var sent, got bytes.Buffer
	read := make(chan error, 1)
	sizes := []int{1, oneRecord, oneRecord + 1, WriteSize, WriteSize, WriteSize, 5*WriteSize + 3, 0, 7}
	total := 0
	for _, n := range sizes {
		total += n
	}
	go func() {
		_, err := io.CopyN(&got, client, int64(total))
		read <- err
	}()
	for i, n := range sizes {
		b := bytes.Repeat([]byte{byte(i)}, n)
		sent.Write(b)
		before := under.writes.Load()
		if wrote, err := server.Write(b); wrote != n || err != nil {
			t.Fatalf("%d of %d bytes written: %v", wrote, n, err)
		}
		// TLS makes smaller records of a connection's first 128 KiB.
		if calls := under.writes.Load() - before; n == WriteSize && sent.Len() > 3*WriteSize && calls != 1 {
			t.Errorf("%d bytes left in %d calls", n, calls)
		}
	}
	check(t, <-read)
	if !bytes.Equal(sent.Bytes(), got.Bytes()) {
		t.Error("what arrived is not what was sent")
	}
}

func TestAWriteThatFailsSaysSo(t *testing.T) {
	server, under, _ := entered(t)
	under.broken.Store(true)
	if _, err := server.Write(make([]byte, WriteSize)); err == nil {
		t.Error("a write that did not leave succeeded")
	}
}

// Revocation closes connections one after the other: one that does not read must not
// hold it up.
func TestAConnectionThatIsNotReadClosesAtOnce(t *testing.T) {
	server, under, _ := entered(t)
	written := make(chan error, 1)
	go func() {
		for {
			if _, err := server.Write(make([]byte, WriteSize)); err != nil {
				written <- err
				return
			}
		}
	}()
	c := server.(*conn).cork
	eventually(t, "the write to block", func() bool {
		if c.mu.TryLock() {
			c.mu.Unlock()
			return false
		}
		time.Sleep(50 * time.Millisecond)
		if c.mu.TryLock() {
			c.mu.Unlock()
			return false
		}
		return true
	})
	server.Close()
	if under.waited.Load() {
		t.Error("closing waited for the client to read")
	}
	if err := <-written; err == nil {
		t.Error("the write went on")
	}
}

// gRPC writes from one goroutine; alerts and key updates come from others.
func TestWritersShareACork(t *testing.T) {
	server, _, client := entered(t)
	const writers, each, size = 4, 20, oneRecord + 100
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for range each {
				if _, err := server.Write(bytes.Repeat([]byte{byte(w)}, size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[byte]int{}
	buffer := make([]byte, size)
	for range writers * each {
		_, err := io.ReadFull(client, buffer)
		check(t, err)
		if !bytes.Equal(buffer, bytes.Repeat(buffer[:1], size)) {
			t.Fatal("two writes are mixed")
		}
		seen[buffer[0]]++
	}
	all.Wait()
	for w := range writers {
		if seen[byte(w)] != each {
			t.Errorf("writer %d arrived %d times", w, seen[byte(w)])
		}
	}
}
