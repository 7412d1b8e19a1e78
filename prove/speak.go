package prove

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/etcdguard/etcdguard/pki"
)

type grpcConn = grpc.ClientConnInterface

// greeting is what a client says first: the HTTP/2 preface with an empty SETTINGS
// frame (RFC 9113, 3.4), which every HTTP/2 server answers with its own SETTINGS,
// or a plain request.
var greeting = map[string]string{
	"h2":       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	"http/1.1": plainRequest,
}

const plainRequest = "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

// speakTLS reports whether a port answers the holder of a certificate, nil being
// nobody. In TLS 1.3 the client's handshake succeeds before the server has looked
// at the client's certificate, so only an answer to a greeting tells. An error
// means that neither was seen: nobody listens, or the server is not ours.
func speakTLS(ctx context.Context, addr, caFile, protocol string, as *pki.Leaf) (answered bool, err error) {
	cfg, err := TLS(caFile, as)
	if err != nil {
		return false, err
	}
	cfg.NextProtos = []string{protocol}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, err
	}
	cfg.ServerName = host
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, untried("%w", err)
	}
	defer raw.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := raw.SetDeadline(deadline); err != nil {
			return false, err
		}
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return false, refusal(err)
	}
	if _, err := io.WriteString(conn, greeting[protocol]); err != nil {
		return false, refusal(err)
	}
	n, err := conn.Read(make([]byte, 64))
	if n > 0 {
		return true, nil
	}
	return false, refusal(err)
}

// refusal sorts what a server does to a client it does not want (a TLS alert, a
// closed or reset connection: nil) from what says nothing about it (a time-out, a
// certificate of the server that is not its own: the error).
func refusal(err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error",
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return untried("neither an answer nor a refusal in time")
	default:
		return untried("%w", err)
	}
}

// speakPlain sends a request in the clear and returns the first line of what comes
// back, "" if the connection was closed.
func speakPlain(ctx context.Context, addr string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", untried("%w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, plainRequest); err != nil {
		return "", refusal(err)
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if n > 0 {
		return string(buf[:n]), nil
	}
	return "", refusal(err)
}

// browserAs is an HTTP/1.1 client of the client port, as curl or a web page is.
func (n Node) browserAs(leaf *pki.Leaf) (*http.Client, error) {
	cfg, err := TLS(n.ClientCA, leaf)
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: cfg, Protocols: protocols},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func fetch(ctx context.Context, client *http.Client, method, url string) (code int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, untried("%w", err)
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// invoke calls a method by name with an empty message.
func invoke(method string) rpc {
	return func(ctx context.Context, conn grpcConn) error {
		return conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	}
}
