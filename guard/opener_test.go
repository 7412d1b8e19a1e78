package guard

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/codec"
	"github.com/etcdguard/etcdguard/keyring"
)

// captured keeps what is sent.
type captured struct {
	grpc.ServerStream
	sent []any
}

func (c *captured) SendMsg(m any) error { c.sent = append(c.sent, m); return nil }

func TestChunksAreOpenedOnTheirWayOut(t *testing.T) {
	f, out := sealing(t, keyring.Strict), &captured{}
	s := &rangeStream{stream: &stream{ServerStream: out, guard: f.Guard}}
	long := strings.Repeat("value", 10000)
	one, two := stored(firstKey, "/a", long, 20), stored(nextKey, "/b", "", 21)
	chunk := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 30}, Kvs: []*mvccpb.KeyValue{one, two}, Count: 2, More: true}
	want := &pb.RangeStreamResponse{RangeResponse: proto.CloneOf(chunk)}
	want.RangeResponse.Kvs = []*mvccpb.KeyValue{shown(one, long), shown(two, "")}
	want.RangeResponse.Kvs[1].Value = nil
	if err := s.SendMsg(&pb.RangeStreamResponse{RangeResponse: chunk}); err != nil {
		t.Fatal(err)
	}
	got := &pb.RangeStreamResponse{}
	if err := proto.Unmarshal(out.sent[0].(*codec.Message).Bytes(), got); err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}

	for name, bad := range hostile() {
		err := s.SendMsg(&pb.RangeStreamResponse{RangeResponse: &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{one, bad}}})
		wantCode(t, err, codes.DataLoss, `the value of key "/k" (mod revision 12)`)
		if len(out.sent) != 1 {
			t.Fatalf("%s: something was sent", name)
		}
	}

	s.keysOnly = true
	if err := s.SendMsg(&pb.RangeStreamResponse{RangeResponse: &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: b("/k")}}}}); err != nil {
		t.Errorf("names alone: %v", err)
	}
}
