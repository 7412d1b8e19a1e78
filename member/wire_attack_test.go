package member

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/binary"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// TestNoSpellingOfARequestGetsPastTheGuard sends a stranger's put as no client
// library would: whatever the wire makes of it, the store must not move.
func TestNoSpellingOfARequestGetsPastTheGuard(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	message, err := proto.Marshal(&pb.PutRequest{Key: []byte("/w/x"), Value: []byte("1")})
	check(t, err)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err = z.Write(message)
	check(t, err)
	check(t, z.Close())

	const put = "/etcdserverpb.KV/Put"
	plain := [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", put}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}}
	with := func(changes ...[2]string) (out [][2]string) {
		for _, h := range plain {
			for _, c := range changes {
				if c[0] == h[0] {
					h[1] = c[1]
				}
			}
			out = append(out, h)
		}
		for _, c := range changes {
			known := false
			for _, h := range plain {
				known = known || h[0] == c[0]
			}
			if !known {
				out = append(out, c)
			}
		}
		return out
	}
	before := m.etcd.Server.KV().Rev()
	if status := w.raw(t, "admin", with(), frame(0, message)); status != "0" {
		t.Fatalf("the control does not hold: an admin's put ended with %q", status)
	}
	if m.etcd.Server.KV().Rev() != before+1 {
		t.Fatal("the control does not hold: an admin's put moved nothing")
	}
	before++

	attempts := map[string]struct {
		headers [][2]string
		body    []byte
	}{
		"as it should be":                 {with(), frame(0, message)},
		"as the JSON gateway":             {with([2]string{"grpcgateway-accept", "*/*"}, [2]string{"grpcgateway-authorization", "root"}), frame(0, message)},
		"with a token":                    {with([2]string{"token", "root.1"}, [2]string{"authorization", "root"}), frame(0, message)},
		"zipped":                          {with([2]string{"grpc-encoding", "gzip"}), frame(1, zipped.Bytes())},
		"zipped by a stranger's means":    {with([2]string{"grpc-encoding", "zstd"}), frame(1, message)},
		"by GET":                          {with([2]string{":method", "GET"}), frame(0, message)},
		"as JSON":                         {with([2]string{"content-type", "application/grpc+json"}), frame(0, []byte(`{"key":"L3cveA=="}`))},
		"as gRPC-web":                     {with([2]string{"content-type", "application/grpc-web"}), frame(0, message)},
		"as no gRPC":                      {with([2]string{"content-type", "application/octet-stream"}), frame(0, message)},
		"twice in one":                    {with(), append(frame(0, message), frame(0, message)...)},
		"with two paths, the other first": {append([][2]string{{":path", "/grpc.health.v1.Health/Check"}}, with()...), frame(0, message)},
		"with two paths, the other last":  {append(with()[:4:4], append([][2]string{{":path", "/grpc.health.v1.Health/Check"}}, with()[4:]...)...), frame(0, message)},
	}
	for _, path := range []string{"etcdserverpb.KV/Put", "//etcdserverpb.KV/Put", "/etcdserverpb.KV/Put/", "/etcdserverpb.KV/Put?", "/etcdserverpb.KV//Put",
		"/ETCDSERVERPB.KV/Put", "/etcdserverpb.KV/put", "/etcdserverpb.KV/Put%20", "/./etcdserverpb.KV/Put", "/etcdserverpb.KV", "/", "*", "https://x/etcdserverpb.KV/Put"} {
		attempts["to "+path] = struct {
			headers [][2]string
			body    []byte
		}{with([2]string{":path", path}), frame(0, message)}
	}
	for what, a := range attempts {
		if status := w.raw(t, "stranger", a.headers, a.body); status == "0" {
			t.Errorf("%s: answered as done", what)
		}
		if rev := m.etcd.Server.KV().Rev(); rev != before {
			t.Errorf("%s: the store moved", what)
			before = rev
		}
	}
}

// frame is a message as gRPC has it on the wire.
func frame(compressed byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(len(message))), message...)
}

// raw sends one request over HTTP/2 without the help of any library of gRPC, and
// returns its grpc-status, or what else became of it.
func (w *world) raw(t *testing.T, cn string, headers [][2]string, body []byte) string {
	t.Helper()
	conn, err := tls.Dial("tcp", w.clientAddr, w.tls(cn, "h2"))
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = conn.Write([]byte(http2.ClientPreface))
	check(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	check(t, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, h := range headers {
		check(t, encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
	}
	check(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}))
	check(t, framer.WriteData(1, true, body))
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return err.Error()
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				if h.Name == "grpc-status" {
					return h.Value
				}
			}
			if f.StreamEnded() {
				return "no status"
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return f.Header().String()
		}
	}
}
