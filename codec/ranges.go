package codec

import (
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/mem"
)

// The most bytes of a RangeResponse beside its KeyValues, envelope included, and of a
// KeyValue beside its key and value.
const (
	maxRange = 1 + 10 + maxHeader + 2 + 1 + 10
	maxKV    = 3*(1+5) + 4*(1+10)
)

// Opener is how values are shown that are not stored as they are.
type Opener interface {
	// Size is the length of what Append appends, in bytes.
	Size(kv *mvccpb.KeyValue) int
	// Append appends the value of kv to dst, or says why it can't be shown.
	Append(dst []byte, kv *mvccpb.KeyValue) ([]byte, error)
}

// ErrSize: an Opener appended more or less than it said.
var ErrSize = errors.New("a value is not as long as it was said to be")

// Range is m with the values that o opens, each opened where it leaves from. The
// error is o's, or ErrSize.
func Range(m *pb.RangeResponse, o Opener) (*Message, error) {
	p := &pages{opener: o}
	return p.messageOr(p.appendRange(nil, m))
}

// RangeStream is m with the values that o opens.
func RangeStream(m *pb.RangeStreamResponse, o Opener) (*Message, error) {
	p := &pages{opener: o}
	return p.messageOr(p.appendStream(m))
}

func rangeResponse(m *pb.RangeResponse) mem.BufferSlice {
	if m == nil {
		return nil
	}
	p := &pages{}
	_ = p.appendRange(nil, m) // only an Opener fails
	return p.out
}

func rangeStreamResponse(m *pb.RangeStreamResponse) mem.BufferSlice {
	if m == nil {
		return nil
	}
	p := &pages{}
	_ = p.appendStream(m)
	return p.out
}

func (p *pages) appendStream(m *pb.RangeStreamResponse) error {
	if m.RangeResponse == nil {
		return nil
	}
	return p.appendRange(appendLength(nil, streamRange, p.sizeRange(m.RangeResponse)), m.RangeResponse)
}

func (p *pages) sizeRange(m *pb.RangeResponse) int {
	size := sizeVarint(uint64(m.Count))
	if m.Header != nil {
		size += sizeLength(sizeHeader(m.Header))
	}
	if m.More {
		size += 2
	}
	for _, kv := range m.Kvs {
		size += sizeLength(sizeKV(kv, p.sizeValue(kv)))
	}
	return size
}

func (p *pages) sizeValue(kv *mvccpb.KeyValue) int {
	if p.opener != nil && kv != nil {
		return p.opener.Size(kv)
	}
	return len(kv.GetValue())
}

// appendRange appends m after its envelope.
func (p *pages) appendRange(envelope []byte, m *pb.RangeResponse) error {
	p.from = unusedPages
	if isShort(m) {
		p.from = unusedLeaves
	}
	b := append(p.room(maxRange), envelope...)
	p.wrote(appendHeader(b, rangeHeader, m.Header))
	for _, kv := range m.Kvs {
		if err := p.appendKV(kv); err != nil {
			return err
		}
	}
	b = p.room(maxRange)
	b = appendBool(b, rangeMore, m.More)
	b = appendVarint(b, rangeCount, uint64(m.Count))
	p.wrote(b)
	p.finish()
	return nil
}

func (p *pages) appendKV(kv *mvccpb.KeyValue) error {
	size := p.sizeValue(kv)
	b := p.room(maxKV + len(kv.GetKey()))
	b = appendLength(b, rangeKVs, sizeKV(kv, size))
	if kv == nil {
		p.wrote(b)
		return nil
	}
	p.wrote(appendBeforeValue(b, kv, size))
	if err := p.appendValue(kv, size); err != nil {
		return err
	}
	p.wrote(appendAfterValue(p.room(maxKV), kv))
	return nil
}

func (p *pages) appendValue(kv *mvccpb.KeyValue, size int) error {
	if p.opener == nil {
		p.value(kv.Value)
		return nil
	}
	b := p.room(size)
	opened, err := p.opener.Append(b, kv)
	if err != nil {
		return err
	}
	if len(opened) != len(b)+size {
		return ErrSize
	}
	p.wrote(opened)
	return nil
}

// isShort reports whether all of m fits into a leaf. No value is longer than what is
// stored of it.
func isShort(m *pb.RangeResponse) bool {
	const few = 16
	if len(m.Kvs) > few {
		return false
	}
	size := 2 * maxRange
	for _, kv := range m.Kvs {
		size += 2*maxKV + len(kv.GetKey()) + len(kv.GetValue())
	}
	return size <= leafSize
}
