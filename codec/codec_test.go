package codec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What a later etcd adds to these messages would not reach clients. This notices it.
func TestEveryFieldIsWritten(t *testing.T) {
	for _, c := range []struct {
		message proto.Message
		fields  map[protoreflect.FieldNumber]protoreflect.Name
	}{
		{&mvccpb.KeyValue{}, map[protoreflect.FieldNumber]protoreflect.Name{kvKey: "key", kvCreateRevision: "create_revision",
			kvModRevision: "mod_revision", kvVersion: "version", kvValue: "value", kvLease: "lease"}},
		{&mvccpb.Event{}, map[protoreflect.FieldNumber]protoreflect.Name{eventType: "type", eventKV: "kv", eventPrev: "prev_kv"}},
		{&pb.ResponseHeader{}, map[protoreflect.FieldNumber]protoreflect.Name{headerCluster: "cluster_id", headerMember: "member_id",
			headerRevision: "revision", headerTerm: "raft_term"}},
		{&pb.WatchResponse{}, map[protoreflect.FieldNumber]protoreflect.Name{watchHeader: "header", watchID: "watch_id",
			watchCreated: "created", watchCanceled: "canceled", watchCompact: "compact_revision", watchReason: "cancel_reason",
			watchFragment: "fragment", watchEvents: "events"}},
		{&pb.RangeResponse{}, map[protoreflect.FieldNumber]protoreflect.Name{rangeHeader: "header", rangeKVs: "kvs", rangeMore: "more", rangeCount: "count"}},
		{&pb.RangeStreamResponse{}, map[protoreflect.FieldNumber]protoreflect.Name{streamRange: "range_response"}},
	} {
		fields := c.message.ProtoReflect().Descriptor().Fields()
		if fields.Len() != len(c.fields) {
			t.Errorf("%T has %d fields, and %d are written", c.message, fields.Len(), len(c.fields))
		}
		for number, name := range c.fields {
			if f := fields.ByNumber(number); f == nil || f.Name() != name {
				t.Errorf("field %d of %T is %v, want %s", number, c.message, f, name)
			}
		}
	}
}

// random makes messages as etcd makes them, and some that it would not.
type random struct{ *rand.Rand }

func (r random) bytes() []byte {
	sizes := []int{0, 1, 5, 127, 128, referTo - 1, referTo, referTo + 1, 5000, referPages - 1, referPages, pageSize - 100, pageSize, 3 * pageSize}
	n, from := sizes[r.IntN(len(sizes))], r.IntN(1000)
	return noise[from : from+n]
}

// noise is what random values are cut from.
var noise = func() []byte {
	r, b := rand.New(rand.NewPCG(5, 6)), make([]byte, 1000+3*pageSize)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

func (r random) number() int64 {
	if r.IntN(3) == 0 {
		return 0
	}
	return int64(r.Uint64() >> r.IntN(64))
}

func (r random) kv() *mvccpb.KeyValue {
	if r.IntN(20) == 0 {
		return nil
	}
	return &mvccpb.KeyValue{Key: r.bytes(), CreateRevision: r.number(), ModRevision: r.number(),
		Version: r.number(), Value: r.bytes(), Lease: r.number()}
}

func (r random) header() *pb.ResponseHeader {
	if r.IntN(5) == 0 {
		return nil
	}
	return &pb.ResponseHeader{ClusterId: uint64(r.number()), MemberId: uint64(r.number()), Revision: r.number(), RaftTerm: uint64(r.number())}
}

func (r random) ranges() *pb.RangeResponse {
	m := &pb.RangeResponse{Header: r.header(), More: r.IntN(2) == 0, Count: r.number()}
	for range r.IntN(20) {
		m.Kvs = append(m.Kvs, r.kv())
	}
	return m
}

func (r random) watch() *pb.WatchResponse {
	m := &pb.WatchResponse{Header: r.header(), WatchId: r.number(), Created: r.IntN(2) == 0, Canceled: r.IntN(2) == 0,
		CompactRevision: r.number(), Fragment: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		m.CancelReason = "because"
	}
	for range r.IntN(4) {
		e := &mvccpb.Event{Type: mvccpb.Event_EventType(r.IntN(2)), Kv: &mvccpb.KeyValue{Key: r.bytes(), Value: r.bytes(), Lease: r.number()}}
		if r.IntN(2) == 0 {
			e.PrevKv = &mvccpb.KeyValue{Key: r.bytes(), Value: r.bytes(), Version: r.number()}
		}
		m.Events = append(m.Events, e)
	}
	return m
}

// encodedEvents encodes the events as the guard does.
func encodedEvents(m *pb.WatchResponse) (events []Event) {
	for _, e := range m.Events {
		event := Event{Type: e.Type, KV: NewKV(e.Kv, e.Kv.Value)}
		if e.PrevKv != nil {
			event.Prev, event.HasPrev = NewKV(e.PrevKv, e.PrevKv.Value), true
		}
		events = append(events, event)
	}
	return events
}

// The oracle is protobuf, byte by byte.
func TestTheBytesAreThoseOfProtobuf(t *testing.T) {
	r := random{rand.New(rand.NewPCG(1, 2))}
	for range 300 {
		watch := r.watch()
		for _, c := range []struct {
			sent    any
			message proto.Message
		}{
			{nil, r.ranges()},
			{nil, &pb.RangeStreamResponse{RangeResponse: r.ranges()}},
			{nil, &pb.RangeStreamResponse{}},
			{nil, &pb.TxnResponse{Succeeded: true, Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponseRange{ResponseRange: r.ranges()}}}}},
			{Watch(watch, encodedEvents(watch)), watch},
		} {
			if c.sent == nil {
				c.sent = c.message
			}
			sent := 0
			data, err := Codec{Sent: func(n int) { sent += n }}.Marshal(c.sent)
			if err != nil {
				t.Fatal(err)
			}
			want, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.message)
			if err != nil {
				t.Fatal(err)
			}
			got := data.Materialize()
			if !bytes.Equal(got, want) {
				t.Fatalf("%v:\nis %x\nnot %x", c.message, got, want)
			}
			if sent != len(want) {
				t.Fatalf("%T: told of %d bytes, not %d", c.message, sent, len(want))
			}
		}
	}
}

func TestMessagesAreDecoded(t *testing.T) {
	want := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	encoded, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	received, got := 0, &pb.PutRequest{}
	c := Codec{Received: func(n int) { received = n }}
	err = c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(encoded[:2]), mem.SliceBuffer(encoded[2:])}, got)
	if err != nil || !proto.Equal(got, want) || received != len(encoded) {
		t.Errorf("got %v, %v and %d bytes", got, err, received)
	}
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer("\xff")}, got); err == nil {
		t.Error("what is no message was decoded")
	}
	if _, err := c.Marshal("text"); err == nil {
		t.Error("what is no message was encoded")
	}
}

// What is in a message must not change when another takes the same KeyValue.
func TestAnEventIsSharedByMessages(t *testing.T) {
	kv := &mvccpb.KeyValue{Key: []byte("k"), Value: bytes.Repeat([]byte{1}, referTo)}
	event := []Event{{KV: NewKV(kv, kv.Value)}}
	one := Watch(&pb.WatchResponse{WatchId: 1}, event)
	two := Watch(&pb.WatchResponse{WatchId: 2}, event)
	if &one.data[1].ReadOnlyData()[0] != &two.data[1].ReadOnlyData()[0] {
		t.Error("the event is copied for every watcher")
	}
	for id, m := range map[int64]*Message{1: one, 2: two} {
		var got pb.WatchResponse
		if err := proto.Unmarshal(m.Bytes(), &got); err != nil || got.WatchId != id || !proto.Equal(got.Events[0].Kv, kv) {
			t.Errorf("watcher %d gets %v, %v", id, &got, err)
		}
	}
}

func manyKVs() *pb.RangeResponse {
	m := &pb.RangeResponse{Header: &pb.ResponseHeader{ClusterId: 1 << 60, MemberId: 1 << 60, Revision: 1e6, RaftTerm: 2}, Count: 1000}
	for range 1000 {
		m.Kvs = append(m.Kvs, &mvccpb.KeyValue{Key: []byte("/bench/key/000000"), CreateRevision: 1e5, ModRevision: 1e6, Version: 10, Value: make([]byte, 1024)})
	}
	return m
}

func BenchmarkRange(b *testing.B) {
	for _, n := range []int{1, 1000} {
		m := manyKVs()
		m.Kvs = m.Kvs[:n]
		b.Run(fmt.Sprintf("%d/codec", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rangeResponse(m).Free()
			}
		})
		b.Run(fmt.Sprintf("%d/protobuf", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				data, _ := protobuf.Marshal(m)
				data.Free()
			}
		})
	}
}

func BenchmarkWatch(b *testing.B) {
	m := &pb.WatchResponse{Header: manyKVs().Header, WatchId: 7, Events: []*mvccpb.Event{{Kv: manyKVs().Kvs[0]}}}
	events := encodedEvents(m)
	b.Run("codec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Watch(m, events)
		}
	})
	b.Run("protobuf", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = proto.Marshal(m)
		}
	})
}
