package codec

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/mem"
)

// Message is an encoded message, which Codec passes on as it is.
type Message struct {
	data mem.BufferSlice

	// Room for the usual message of a watch, one event that many watchers get, in the
	// same allocation.
	own     [maxWatch + maxEvent]byte
	out     [2]mem.Buffer
	buffers [2]mem.SliceBuffer
}

// Bytes is a copy of the message.
func (m *Message) Bytes() []byte { return m.data.Materialize() }

// KV is an encoded KeyValue. It may be part of any number of messages.
type KV struct{ encoded []byte }

// NewKV encodes kv with another value.
func NewKV(kv *mvccpb.KeyValue, value []byte) KV {
	b := make([]byte, 0, sizeKV(kv, len(value)))
	b = appendBeforeValue(b, kv, len(value))
	b = append(b, value...)
	return KV{appendAfterValue(b, kv)}
}

// Size is the length in bytes.
func (kv KV) Size() int { return len(kv.encoded) }

// Event is one event of a watch.
type Event struct {
	Type     mvccpb.Event_EventType
	KV, Prev KV
	HasPrev  bool
}

func (e *Event) size() int {
	n := sizeVarint(uint64(e.Type)) + sizeLength(e.KV.Size())
	if e.HasPrev {
		n += sizeLength(e.Prev.Size())
	}
	return n
}

// The most bytes of a WatchResponse beside its reason and its events, and of an event
// beside its KeyValues.
const (
	maxWatch = maxHeader + 2*(1+10) + 3*2
	maxEvent = 3*(1+5) + 1 + 10
)

// Watch is m with these events in the place of its own.
func Watch(m *pb.WatchResponse, events []Event) *Message {
	message := &Message{}
	g := message.gather(m, events)
	g.own = appendHeader(g.own, watchHeader, m.Header)
	g.own = appendVarint(g.own, watchID, uint64(m.WatchId))
	g.own = appendBool(g.own, watchCreated, m.Created)
	g.own = appendBool(g.own, watchCanceled, m.Canceled)
	g.own = appendVarint(g.own, watchCompact, uint64(m.CompactRevision))
	g.own = appendBytes(g.own, watchReason, m.CancelReason)
	g.own = appendBool(g.own, watchFragment, m.Fragment)
	for i := range events {
		g.appendEvent(&events[i])
	}
	message.data = g.message()
	return message
}

// gather has room for all of m with these events.
func (message *Message) gather(m *pb.WatchResponse, events []Event) gather {
	own, values := maxWatch+len(m.CancelReason), 0
	for i := range events {
		own += maxEvent
		for _, kv := range [...]KV{events[i].KV, events[i].Prev} {
			if kv.Size() >= referTo {
				values++
			} else {
				own += kv.Size()
			}
		}
	}
	g := gather{own: message.own[:0], out: message.out[:0], buffers: message.buffers[:0]}
	if own > cap(g.own) {
		g.own = make([]byte, 0, own)
	}
	// A message that ends with a value has no bytes of its own after it.
	if pieces := 2*values + 1; pieces-1 > cap(g.out) {
		g.out, g.buffers = make(mem.BufferSlice, 0, pieces), make([]mem.SliceBuffer, 0, pieces)
	}
	return g
}

func (g *gather) appendEvent(e *Event) {
	g.own = appendLength(g.own, watchEvents, e.size())
	g.own = appendVarint(g.own, eventType, uint64(e.Type))
	g.own = appendLength(g.own, eventKV, e.KV.Size())
	g.value(e.KV.encoded)
	if e.HasPrev {
		g.own = appendLength(g.own, eventPrev, e.Prev.Size())
		g.value(e.Prev.encoded)
	}
}
