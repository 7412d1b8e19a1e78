package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
)

// hello is what an HTTP/2 client says first: the preface and an empty SETTINGS
// frame (RFC 9113, section 3.4).
var hello = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")

// runHandshakes opens connections and closes them. In TLS 1.3 the client is done
// before the server has looked at the client's certificate, so a handshake
// counts only when the server's first frame is here: it is sent after the check.
func runHandshakes(ctx context.Context, t Target, pace Pace, edge func()) (Sample, error) {
	config := t.TLS.Clone()
	config.NextProtos = []string{"h2"}
	config.ClientSessionCache = nil // every handshake is a full one
	dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: config}
	steps := eachClient(func(int, *rand.Rand) step {
		return func(ctx context.Context) error { return handshake(ctx, dialer, t.Addr) }
	})
	return drive(ctx, steps, 1, pace, edge)
}

func handshake(ctx context.Context, dialer *tls.Dialer, addr string) (err error) {
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("opening a TLS connection: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // a server that never answers
	defer stop()
	if state := conn.(*tls.Conn).ConnectionState(); state.DidResume || state.Version != tls.VersionTLS13 {
		return errors.New("opening a TLS connection: not a full TLS 1.3 handshake")
	}
	if _, err := conn.Write(hello); err != nil {
		return fmt.Errorf("greeting the server: %w", err)
	}
	var frame [9]byte
	if _, err := io.ReadFull(conn, frame[:]); err != nil {
		return fmt.Errorf("waiting for the server's first frame: %w", err)
	}
	if frame[3] != 0x4 {
		return fmt.Errorf("the server's first frame is of type %d, not SETTINGS", frame[3])
	}
	return nil
}
