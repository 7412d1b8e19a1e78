package member

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// pinger is a bare HTTP/2 client: no library between the test and the frames.
type pinger struct {
	t      *testing.T
	frames *http2.Framer
	acks   chan struct{}
	goaway chan string
}

func newPinger(t *testing.T, w *world) *pinger {
	t.Helper()
	conn, err := tls.Dial("tcp", w.clientAddr, w.tls("admin", "h2"))
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, http2.ClientPreface)
	check(t, err)
	p := &pinger{t: t, frames: http2.NewFramer(conn, conn), acks: make(chan struct{}, 1000), goaway: make(chan string, 1)}
	check(t, p.frames.WriteSettings())
	go p.read()
	return p
}

func (p *pinger) read() {
	defer close(p.goaway)
	for {
		f, err := p.frames.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.PingFrame:
			if f.IsAck() {
				p.acks <- struct{}{}
			}
		case *http2.GoAwayFrame:
			p.goaway <- f.ErrCode.String() + " " + string(f.DebugData())
			return
		}
	}
}

func (p *pinger) ping() error { return p.frames.WritePing(false, [8]byte{1}) }

// etcd's clients ping every --grpc-keepalive-min-time sharp, and do so without a
// stream open. That must not look like abuse.
func TestAClientThatPingsAtTheMinimumIsNotSentAway(t *testing.T) {
	w := newWorld(t)
	w.start("grpc-keepalive-min-time=1s")
	p := newPinger(t, w)
	interval := time.NewTicker(time.Second)
	defer interval.Stop()
	for range 5 { // the fourth too early is one too many
		check(t, p.ping())
		select {
		case <-p.acks:
		case reason := <-p.goaway:
			t.Fatalf("sent away: %q", reason)
		}
		<-interval.C
	}
}

func TestAClientThatFloodsPingsIsSentAway(t *testing.T) {
	w := newWorld(t)
	w.start("grpc-keepalive-min-time=1s")
	p := newPinger(t, w)
	for range 100 {
		if err := p.ping(); err != nil {
			break // it is closed already; the reason is waiting
		}
	}
	select {
	case reason := <-p.goaway:
		if !strings.Contains(reason, "ENHANCE_YOUR_CALM") || !strings.Contains(reason, "too_many_pings") {
			t.Errorf("sent away with %q", reason)
		}
	case <-withTimeout(t).Done():
		t.Error("not sent away")
	}
	// It may come back, and others never noticed.
	again := newPinger(t, w)
	check(t, again.ping())
	select {
	case <-again.acks:
	case <-withTimeout(t).Done():
		t.Error("not served again")
	}
}

// The server's own pings find a client that is gone.
func TestADeadClientIsFound(t *testing.T) {
	w := newWorld(t)
	m := w.start("grpc-keepalive-interval=1s", "grpc-keepalive-timeout=1s")
	conn, err := tls.Dial("tcp", w.clientAddr, w.tls("admin", "h2"))
	check(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00") // and empty settings
	check(t, err)
	eventually(t, "the connection to be open", func() bool { return m.door.certs.Open() > 0 })
	// It answers no ping.
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Log(err)
	}
	eventually(t, "the connection to be given up", func() bool { return m.door.certs.Open() == 0 })
}

func TestConnectionsAreCounted(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	before := m.metric(t, "etcdguard_connections_open")
	p := newPinger(t, w)
	check(t, p.ping())
	<-p.acks
	if n := m.metric(t, "etcdguard_connections_open"); n != before+1 {
		t.Errorf("%v connections are open, want %v", n, before+1)
	}
}
