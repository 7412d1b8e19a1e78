package difftest_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/internal/difftest"
	"github.com/etcdguard/etcdguard/internal/difftest/stock"
)

// tampering is a stock etcd seen through a connection that spoils some answers. A
// harness that finds no difference must be shown to find one where there is one.
type tampering struct {
	seed  uint64                            // whose theme meets the spoiled answer soon
	reply func(any)                         // on each message received
	fail  func(error) error                 // on each error of a unary call
	drop  func(*pb.WatchResponse) bool      // watch responses that are lost
	swap  func(a, b *pb.WatchResponse) bool // pairs that arrive in the other order
}

func TestADifferenceIsSeen(t *testing.T) {
	var once sync.Once
	cases := map[string]tampering{
		"a header is lost": {seed: 6, reply: func(m any) {
			if r, ok := m.(*pb.PutResponse); ok {
				r.Header = nil
			}
		}},
		"a header's revision is another": {seed: 6, reply: func(m any) {
			if r, ok := m.(*pb.RangeResponse); ok {
				r.Header.Revision++
			}
		}},
		"a raft term is missing": {seed: 6, reply: func(m any) {
			if r, ok := m.(*pb.DeleteRangeResponse); ok {
				r.Header.RaftTerm = 0
			}
		}},
		"a key is missing from a range": {seed: 6, reply: func(m any) {
			if r, ok := m.(*pb.RangeResponse); ok && len(r.Kvs) > 1 {
				r.Kvs = r.Kvs[1:]
			}
		}},
		"a range says that there is no more": {seed: 6, reply: func(m any) {
			if r, ok := m.(*pb.RangeResponse); ok {
				r.More = false
			}
		}},
		"a count is one off in a stream": {seed: 6, reply: func(m any) {
			if r, ok := m.(*pb.RangeStreamResponse); ok && r.RangeResponse.Count > 0 {
				r.RangeResponse.Count--
			}
		}},
		"a previous value is withheld": {seed: 6, reply: func(m any) {
			if r, ok := m.(*pb.PutResponse); ok {
				r.PrevKv = nil
			}
		}},
		"a nested answer is flattened": {seed: 1, reply: func(m any) {
			if r, ok := m.(*pb.TxnResponse); ok {
				for i, op := range r.Responses {
					if n := op.GetResponseTxn(); n != nil && len(n.Responses) > 0 {
						r.Responses[i] = n.Responses[0]
					}
				}
			}
		}},
		"an error has another text": {seed: 6, fail: func(err error) error {
			s := status.Convert(err)
			return status.Error(s.Code(), s.Message()+".")
		}},
		"an error has another code": {seed: 6, fail: func(err error) error {
			return status.Error(codes.PermissionDenied, status.Convert(err).Message())
		}},
		"an event is lost": {seed: 2, reply: func(m any) {
			if r, ok := m.(*pb.WatchResponse); ok && len(r.Events) > 1 {
				r.Events = r.Events[1:]
			}
		}},
		"a response with events is lost, once": {seed: 2, drop: func(r *pb.WatchResponse) (drop bool) {
			if len(r.Events) > 0 && r.WatchId != 777 {
				once.Do(func() { drop = true })
			}
			return drop
		}},
		"an event has no previous value": {seed: 2, reply: func(m any) {
			if r, ok := m.(*pb.WatchResponse); ok {
				for _, e := range r.Events {
					e.PrevKv = nil
				}
			}
		}},
		"a watcher is created under another ID": {seed: 2, reply: func(m any) {
			if r, ok := m.(*pb.WatchResponse); ok && r.Created && !r.Canceled && r.WatchId < 100 {
				r.WatchId += 100
			}
		}},
		"a reason for a refusal is withheld": {seed: 2, reply: func(m any) {
			if r, ok := m.(*pb.WatchResponse); ok {
				r.CancelReason = ""
			}
		}},
		"progress overtakes events": {seed: 2, swap: func(a, b *pb.WatchResponse) bool {
			return len(a.Events) > 0 && len(b.Events) == 0 && !b.Created && !b.Canceled
		}},
		"a hash is another": {seed: 5, reply: func(m any) {
			if r, ok := m.(*pb.HashKVResponse); ok {
				r.Hash++
			}
		}},
		"a time to live is another": {seed: 3, reply: func(m any) {
			if r, ok := m.(*pb.LeaseKeepAliveResponse); ok && r.TTL > 0 {
				r.TTL--
			}
		}},
		"a snapshot is cut short": {seed: 5, reply: func(m any) {
			if r, ok := m.(*pb.SnapshotResponse); ok && len(r.Blob) > 32 {
				r.Blob = r.Blob[:len(r.Blob)-1]
			}
		}},
	}
	// All at once: etcd changes its version data four seconds after it starts, and
	// a run waits for that.
	servers := map[string][2]string{}
	for name := range cases {
		servers[name] = [2]string{stock.Start(t, stock.Config{}), stock.Start(t, stock.Config{})}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := servers[name][0], servers[name][1]
			report := reportOf(t, func(tb testing.TB) {
				difftest.Run(tb,
					difftest.Target{Name: "stock", Address: a},
					difftest.Target{Name: "tampered", Conn: c.dial(t, b)},
					difftest.Options{Steps: 1000, Seed: c.seed, MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps})
			})
			if !strings.Contains(report, "DIFFERENCE in epoch seed") || !strings.Contains(report, "replay: go test") {
				t.Errorf("not seen; the run said: %q", report)
			}
		})
	}
}

// reportOf runs f as a test of its own and returns what it failed with.
func reportOf(t *testing.T, f func(testing.TB)) string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r.report.String()
}

type recorder struct {
	testing.TB
	report strings.Builder
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.report.WriteString(status.Errorf(codes.Unknown, format, args...).Error())
}

func (r *recorder) Logf(string, ...any) {}

func (c tampering) dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := next(ctx, method, req, reply, cc, opts...)
			if err != nil && c.fail != nil {
				return c.fail(err)
			}
			if err == nil && c.reply != nil {
				c.reply(reply)
			}
			return err
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := next(ctx, desc, cc, method, opts...)
			return &tamperedStream{ClientStream: s, c: c}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// tamperedStream spoils, loses or exchanges what it receives.
type tamperedStream struct {
	grpc.ClientStream
	c    tampering
	late *pb.WatchResponse // received, but to be given after the next
}

func (s *tamperedStream) RecvMsg(m any) error {
	w, watching := m.(*pb.WatchResponse)
	for {
		if watching && s.late != nil {
			w.Reset()
			proto.Merge(w, s.late)
			s.late = nil
			return nil
		}
		if err := s.ClientStream.RecvMsg(m); err != nil {
			return err
		}
		if s.c.reply != nil {
			s.c.reply(m)
		}
		if !watching || s.c.drop == nil || !s.c.drop(w) {
			break
		}
		w.Reset()
	}
	if watching && s.c.swap != nil && len(w.Events) > 0 {
		first := &pb.WatchResponse{}
		proto.Merge(first, w)
		w.Reset()
		if err := s.ClientStream.RecvMsg(w); err != nil {
			return err
		}
		if s.c.swap(first, w) {
			s.late = first
		} else {
			s.late = &pb.WatchResponse{}
			proto.Merge(s.late, w)
			w.Reset()
			proto.Merge(w, first)
		}
	}
	return nil
}
