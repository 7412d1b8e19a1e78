package codec

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
)

func rangeResponse(m *pb.RangeResponse) mem.BufferSlice {
	if m == nil {
		return nil
	}
	g := gatherRange(m)
	g.appendRange(m)
	return g.message()
}

func rangeStreamResponse(m *pb.RangeStreamResponse) mem.BufferSlice {
	if m == nil || m.RangeResponse == nil {
		return nil
	}
	g := gatherRange(m.RangeResponse)
	g.own = appendLength(g.own, streamRange, sizeRange(m.RangeResponse))
	g.appendRange(m.RangeResponse)
	return g.message()
}

// gatherRange has room for all of m.
func gatherRange(m *pb.RangeResponse) *gather {
	own, values := maxHeader+32, 0
	for _, kv := range m.Kvs {
		n := len(kv.GetValue())
		own += len(kv.GetKey()) + 64
		if n >= referTo {
			values++
		} else {
			own += n
		}
	}
	return newGather(own, values)
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

func (g *gather) appendRange(m *pb.RangeResponse) {
	g.own = appendHeader(g.own, rangeHeader, m.Header)
	for _, kv := range m.Kvs {
		g.own = appendLength(g.own, rangeKVs, sizeKV(kv, len(kv.GetValue())))
		if kv == nil {
			continue
		}
		g.own = appendBeforeValue(g.own, kv, len(kv.Value))
		g.value(kv.Value)
		g.own = appendAfterValue(g.own, kv)
	}
	g.own = appendBool(g.own, rangeMore, m.More)
	g.own = appendVarint(g.own, rangeCount, uint64(m.Count))
}
