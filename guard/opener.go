package guard

import (
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/codec"
	"github.com/etcdguard/etcdguard/keyring"
)

// opener opens the values of one answer into the bytes that gRPC sends: what was
// opened first and copied then would be handled, and allocated, twice.
type opener struct {
	guard  *Guard
	opened int
	bytes  int64
}

// opened is an answer with its values opened, and what the audit log says of it.
type opened struct {
	header      *pb.ResponseHeader
	keys, bytes int64
	message     *codec.Message
}

// GetHeader makes it look like any answer.
func (o *opened) GetHeader() *pb.ResponseHeader { return o.header }

// onTheWire is what gRPC gets to send.
func onTheWire(answer any) any {
	if o, ok := answer.(*opened); ok {
		return o.message
	}
	return answer
}

// Size implements codec.Opener.
func (o *opener) Size(kv *mvccpb.KeyValue) int { return o.guard.ring.Size(kv.Value) }

// Append implements codec.Opener.
func (o *opener) Append(dst []byte, kv *mvccpb.KeyValue) ([]byte, error) {
	value, err := o.guard.ring.Append(dst, kv.Key, kv.Value)
	if err != nil {
		return nil, o.guard.unreadable(kv, err)
	}
	if len(value)-len(dst) != len(kv.Value) { // it was sealed
		o.opened++
	}
	o.bytes += int64(len(value) - len(dst))
	return value, nil
}

// openRange is the answer to a Range with its values opened, ready to be sent.
func (g *Guard) openRange(a *pb.RangeResponse) (any, error) {
	return g.openInto(a, a, func(o codec.Opener) (*codec.Message, error) { return codec.Range(a, o) })
}

// openChunk is openRange for a chunk of a RangeStream.
func (g *Guard) openChunk(a *pb.RangeStreamResponse) (any, error) {
	return g.openInto(a, a.RangeResponse, func(o codec.Opener) (*codec.Message, error) { return codec.RangeStream(a, o) })
}

// openInto has encode open the values of a, which answer carries.
func (g *Guard) openInto(answer any, a *pb.RangeResponse, encode func(codec.Opener) (*codec.Message, error)) (any, error) {
	if g.ring.Phase() == keyring.Off {
		return answer, g.openAll(a.Kvs)
	}
	o := &opener{guard: g}
	m, err := encode(o)
	g.metrics.countOpened(o.opened)
	switch {
	case errors.Is(err, codec.ErrSize): // the phase changed meanwhile
		return answer, g.openAll(a.Kvs)
	case err != nil:
		return nil, err
	}
	return &opened{a.GetHeader(), int64(len(a.Kvs)), o.bytes, m}, nil
}
