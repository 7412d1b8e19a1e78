package guard

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/keyring"
)

// oneRange is a client that asks for one range, and what it is sent.
type oneRange struct {
	grpc.ServerStream
	ctx   context.Context
	asked *pb.RangeRequest
	sent  []*pb.RangeResponse
}

func (c *oneRange) Context() context.Context { return c.ctx }

func (c *oneRange) RecvMsg(m any) error { proto.Merge(m.(proto.Message), c.asked); return nil }

func (c *oneRange) SendMsg(m any) error {
	c.sent = append(c.sent, m.(*pb.RangeStreamResponse).RangeResponse)
	return nil
}

// streamFrom answers a RangeStream from keys that are in order, in chunks of two.
func streamFrom(t *testing.T, kvs []*mvccpb.KeyValue) grpc.StreamHandler {
	return func(_ any, s grpc.ServerStream) error {
		r := &pb.RangeRequest{}
		if err := s.RecvMsg(r); err != nil {
			return err
		}
		if r.SortTarget != pb.RangeRequest_KEY {
			t.Errorf("etcd is to order by %v what it can't read", r.SortTarget)
		}
		var in []*mvccpb.KeyValue
		for _, kv := range kvs {
			if string(kv.Key) >= string(r.Key) {
				in = append(in, proto.CloneOf(kv))
			}
		}
		last := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 100}, Count: int64(len(in))}
		if r.CountOnly {
			return s.SendMsg(&pb.RangeStreamResponse{RangeResponse: last})
		}
		if r.Limit > 0 && int64(len(in)) > r.Limit {
			in, last.More = in[:r.Limit], true
		}
		for ; len(in) > 2; in = in[2:] {
			if err := s.SendMsg(&pb.RangeStreamResponse{RangeResponse: &pb.RangeResponse{Kvs: in[:2]}}); err != nil {
				return err
			}
		}
		last.Kvs = in
		return s.SendMsg(&pb.RangeStreamResponse{RangeResponse: last})
	}
}

// Etcd reads one key more than a chunk has, orders those, and goes on after the last.
func TestChunksAreOrderedByWhatWasSealed(t *testing.T) {
	f := newFixture(t)
	f.useRing(keyring.Static(testRing, keyring.Strict, firstKey))
	for name, tt := range map[string]struct {
		values string // of a, b, c, …
		limit  int64
		sent   string // the keys
		count  int64
	}{
		"a few":           {"312", 0, "bca", 3},
		"cut to a limit":  {"4312", 3, "cdb", 5}, // after b come c and d, once more
		"a second chunk":  {"0123456789:;", 0, "abcdefghijkl", 12},
		"a key left out":  {"123456789z:;", 0, "abcdefghikl", 11},
		"keys sent twice": {"y123456789z0", 0, "bcdefghija" + "lbcdefghijk", 21},
	} {
		var kvs []*mvccpb.KeyValue
		for i, v := range tt.values {
			kvs = append(kvs, stored(firstKey, string(rune('a'+i)), string(v), int64(10+i)))
		}
		c := &oneRange{ctx: as("admin"), asked: &pb.RangeRequest{Key: b("a"), RangeEnd: b("z"), SortTarget: pb.RangeRequest_VALUE, Limit: tt.limit}}
		err := f.Stream(nil, c, &grpc.StreamServerInfo{FullMethod: "/etcdserverpb.KV/RangeStream"}, streamFrom(t, kvs))
		got := ""
		for _, part := range c.sent {
			for _, kv := range part.Kvs {
				got += string(kv.Key)
			}
		}
		last := c.sent[len(c.sent)-1]
		if err != nil || got != tt.sent || last.Count != tt.count || last.Header.GetRevision() != 100 {
			t.Errorf("%s: got %s, %v and %v", name, got, last, err)
		}
	}
}
