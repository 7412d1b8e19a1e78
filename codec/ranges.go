package codec

import (
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

func rangeResponse(m *pb.RangeResponse) mem.BufferSlice {
	if m == nil {
		return nil
	}
	p := &pages{}
	p.appendRange(nil, m)
	return p.out
}

func rangeStreamResponse(m *pb.RangeStreamResponse) mem.BufferSlice {
	if m == nil || m.RangeResponse == nil {
		return nil
	}
	p := &pages{}
	p.appendRange(appendLength(nil, streamRange, sizeRange(m.RangeResponse)), m.RangeResponse)
	return p.out
}

func sizeRange(m *pb.RangeResponse) int {
	size := sizeVarint(uint64(m.Count))
	if m.Header != nil {
		size += sizeLength(sizeHeader(m.Header))
	}
	if m.More {
		size += 2
	}
	for _, kv := range m.Kvs {
		size += sizeLength(sizeKV(kv, len(kv.GetValue())))
	}
	return size
}

// appendRange appends m after its envelope.
func (p *pages) appendRange(envelope []byte, m *pb.RangeResponse) {
	if short := sizeShort(m); short > 0 {
		page := make([]byte, 0, short)
		p.page = &page
	}
	b := append(p.room(maxRange), envelope...)
	p.wrote(appendHeader(b, rangeHeader, m.Header))
	for _, kv := range m.Kvs {
		p.appendKV(kv)
	}
	b = p.room(maxRange)
	b = appendBool(b, rangeMore, m.More)
	b = appendVarint(b, rangeCount, uint64(m.Count))
	p.wrote(b)
	p.finish()
}

func (p *pages) appendKV(kv *mvccpb.KeyValue) {
	b := p.room(maxKV + len(kv.GetKey()))
	b = appendLength(b, rangeKVs, sizeKV(kv, len(kv.GetValue())))
	if kv == nil {
		p.wrote(b)
		return
	}
	p.wrote(appendBeforeValue(b, kv, len(kv.Value)))
	p.value(kv.Value)
	p.wrote(appendAfterValue(p.room(maxKV), kv))
}

// sizeShort is the room that m takes, if a page would be too much for it, and 0 if not.
func sizeShort(m *pb.RangeResponse) int {
	const short, few = pageSize / 8, 16
	if len(m.Kvs) > few {
		return 0
	}
	size := 2 * maxRange
	for _, kv := range m.Kvs {
		size += 2*maxKV + len(kv.GetKey()) + len(kv.GetValue())
	}
	if size > short {
		return 0
	}
	return size
}
