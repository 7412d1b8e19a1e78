package load

import (
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A wrong number here would count nothing, or the wrong thing, without an error.
func TestFieldNumbersMatchDescriptors(t *testing.T) {
	for _, c := range []struct {
		message proto.Message
		field   protoreflect.Name
		number  protowire.Number
	}{
		{&pb.RangeResponse{}, "header", headerField},
		{&pb.PutResponse{}, "header", headerField},
		{&pb.TxnResponse{}, "header", headerField},
		{&pb.ResponseHeader{}, "revision", revisionField},
		{&pb.RangeResponse{}, "kvs", rangeKvsField},
		{&pb.RangeStreamResponse{}, "range_response", chunkRangeField},
		{&pb.TxnResponse{}, "succeeded", txnSucceededField},
		{&pb.WatchResponse{}, "created", watchCreatedField},
		{&pb.WatchResponse{}, "canceled", watchCancelField},
		{&pb.WatchResponse{}, "cancel_reason", watchReasonField},
		{&pb.WatchResponse{}, "events", watchEventsField},
		{&mvccpb.Event{}, "kv", eventKvField},
		{&mvccpb.KeyValue{}, "key", kvKeyField},
	} {
		descriptor := c.message.ProtoReflect().Descriptor()
		field := descriptor.Fields().ByName(c.field)
		if field == nil {
			t.Errorf("%s has no field %s", descriptor.FullName(), c.field)
			continue
		}
		if field.Number() != c.number {
			t.Errorf("%s.%s is field %d, the scanner looks for %d", descriptor.FullName(), c.field, field.Number(), c.number)
		}
	}
}

// pieces cuts a message the way the transport does, at points that mean nothing.
func pieces(msg []byte, size int) mem.BufferSlice {
	var out mem.BufferSlice
	for piece := range slices.Chunk(msg, size) {
		out = append(out, mem.SliceBuffer(piece))
	}
	return out
}

func TestSummaryCountsWhatTheMessageHolds(t *testing.T) {
	header := &pb.ResponseHeader{ClusterId: 1 << 63, MemberId: 7, Revision: 1 << 40, RaftTerm: 2}
	list := &pb.RangeResponse{Header: header, More: true, Count: 700}
	for i := range 300 {
		list.Kvs = append(list.Kvs, &mvccpb.KeyValue{Key: listKey(i), Value: value(i), ModRevision: int64(i), Lease: -1})
	}
	for _, c := range []struct {
		name    string
		message proto.Message
		want    summary
	}{
		{"empty", &pb.RangeResponse{}, summary{}},
		{"list", list, summary{revision: 1 << 40, kvs: 300}},
		{"put", &pb.PutResponse{Header: header}, summary{revision: 1 << 40}},
		{"txn that succeeded", &pb.TxnResponse{Header: header, Succeeded: true}, summary{revision: 1 << 40, succeeded: true}},
		{"txn that did not", &pb.TxnResponse{Header: header}, summary{revision: 1 << 40}},
	} {
		encoded := encode(c.message)
		c.want.size = len(encoded)
		for _, size := range []int{1, 7, 16 << 10} {
			got := summary{kvs: 99, succeeded: true} // left over from the answer before
			if err := got.read(pieces(encoded, size)); err != nil {
				t.Errorf("%s in pieces of %d: %v", c.name, size, err)
			} else if got != c.want {
				t.Errorf("%s in pieces of %d: got %+v, want %+v", c.name, size, got, c.want)
			}
		}
	}
}

func TestChunkIsTheSummaryInside(t *testing.T) {
	inner := &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: listKey(1), Value: value(1)}, {Key: listKey(2), Value: value(2)}}}
	var want summary
	if err := want.read(pieces(encode(inner), 100)); err != nil {
		t.Fatal(err)
	}
	whole := encode(&pb.RangeStreamResponse{RangeResponse: inner})
	for _, size := range []int{1, 1000, len(whole)} {
		var got chunk
		if err := got.read(pieces(whole, size)); err != nil {
			t.Errorf("in pieces of %d: %v", size, err)
		} else if got.summary != want {
			t.Errorf("in pieces of %d: got %+v, want %+v", size, got.summary, want)
		}
	}
	var got chunk
	if err := got.read(pieces(append(slices.Clone(whole), 0x10, 1), 100)); err == nil {
		t.Error("a chunk with a field behind the range was read")
	}
}

func TestSummaryRefusesWhatIsCutShort(t *testing.T) {
	whole := encode(&pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: listKey(1), Value: value(1)}}})
	for cut := 1; cut < len(whole); cut += 13 {
		var s summary
		if err := s.read(pieces(whole[:cut], 64)); err == nil {
			t.Errorf("the first %d of %d bytes were read as an answer", cut, len(whole))
		}
	}
}

func TestWatchBatchHandsOverEveryKey(t *testing.T) {
	message := &pb.WatchResponse{WatchId: 3, Created: true, Canceled: true, CancelReason: "because", Events: []*mvccpb.Event{
		{Kv: &mvccpb.KeyValue{Key: []byte("a"), Value: value(0)}, PrevKv: &mvccpb.KeyValue{Key: []byte("not this one")}},
		{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("b")}},
	}}
	var keys []string
	batch := watchBatch{onKey: func(key []byte) { keys = append(keys, string(key)) }}
	if err := batch.read(pieces(encode(message), 5)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(keys, []string{"a", "b"}) {
		t.Errorf("keys %q, want a and b", keys)
	}
	if !batch.created || !batch.canceled || batch.reason != "because" {
		t.Errorf("got %+v, want created and canceled with the reason", batch)
	}
	if err := batch.read(pieces(encode(&pb.WatchResponse{}), 5)); err != nil {
		t.Fatal(err)
	}
	if batch.created || batch.canceled || batch.reason != "" {
		t.Errorf("an empty batch kept what the last one said: %+v", batch)
	}
}
