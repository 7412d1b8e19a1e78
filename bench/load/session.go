package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// The size of the load; issue-wide constants, so that two runs compare.
const (
	ValueSize = 1024 // bytes of a value
	Conns     = 8    // TCP connections
	Clients   = 64   // closed-loop clients, spread over the connections
	ListKeys  = 10_000
	Watchers  = 1_000
)

// Target is the server under load.
type Target struct {
	Addr string      // host:port of its client listener
	TLS  *tls.Config // client certificate and roots
}

// session is a set of connections to one target.
type session struct{ conns []*grpc.ClientConn }

func open(t Target) (*session, error) {
	s := &session{}
	for range Conns {
		// passthrough: the address is an address; no resolver, no proxy.
		conn, err := grpc.NewClient("passthrough:///"+t.Addr,
			grpc.WithTransportCredentials(credentials.NewTLS(t.TLS)),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)),
			grpc.WithNoProxy())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connecting to the server: %w", err), s.close())
		}
		s.conns = append(s.conns, conn)
	}
	return s, nil
}

func (s *session) close() error {
	var errs []error
	for _, c := range s.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// conn is the connection of client i.
func (s *session) conn(i int) *grpc.ClientConn { return s.conns[i%len(s.conns)] }

// call sends one encoded unary request and scans its answer.
func call(ctx context.Context, conn *grpc.ClientConn, method string, req request, into *summary) error {
	if err := conn.Invoke(ctx, method, req, into, grpc.ForceCodecV2(rawCodec{})); err != nil {
		return fmt.Errorf("calling %s: %w", method, err)
	}
	return nil
}

func encode(m proto.Message) request {
	b, err := proto.Marshal(m)
	if err != nil {
		// Only a string field that is not UTF-8 can fail, and we send none.
		panic(fmt.Sprintf("encoding a %T: %v", m, err))
	}
	return b
}

// values are incompressible and the same for every contender and every run.
var values = func() [64][]byte {
	var out [64][]byte
	source := rand.NewChaCha8([32]byte([]byte("etcdguard benchmark value source")))
	for i := range out {
		out[i] = make([]byte, ValueSize)
		_, _ = source.Read(out[i]) // documented never to fail
	}
	return out
}()

func value(i int) []byte { return values[i%len(values)] }

func listKey(i int) []byte { return fmt.Appendf(nil, "/bench/list/%08d", i) }
func putKey(i int) []byte  { return fmt.Appendf(nil, "/bench/put/%08d", i) }
func atRestKey(i int) []byte {
	return fmt.Appendf(nil, "%s%08d", AtRestPrefix, i)
}
func txnKey(client, i int) []byte {
	return fmt.Appendf(nil, "/bench/txn/%04d/%04d", client, i)
}

// listRange names the keys [first, first+n) of the list.
func listRange(first, n int) request {
	return encode(&pb.RangeRequest{Key: listKey(first), RangeEnd: listKey(first + n)})
}

// putRequests are the writes of the put workload, one per key.
func putRequests() []request {
	out := make([]request, ListKeys)
	for i := range out {
		out[i] = encode(&pb.PutRequest{Key: putKey(i), Value: value(i)})
	}
	return out
}
