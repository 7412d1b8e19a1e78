package codec

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of etcd's kv.proto and rpc.proto, of every field that the messages
// have: TestEveryFieldIsWritten holds them against the descriptors.
const (
	kvKey            = 1
	kvCreateRevision = 2
	kvModRevision    = 3
	kvVersion        = 4
	kvValue          = 5
	kvLease          = 6

	eventType = 1
	eventKV   = 2
	eventPrev = 3

	headerCluster  = 1
	headerMember   = 2
	headerRevision = 3
	headerTerm     = 4

	watchHeader   = 1
	watchID       = 2
	watchCreated  = 3
	watchCanceled = 4
	watchCompact  = 5
	watchReason   = 6
	watchFragment = 7
	watchEvents   = 11

	rangeHeader = 1
	rangeKVs    = 2
	rangeMore   = 3
	rangeCount  = 4

	streamRange = 1
)

// All field numbers here are below 16, so a tag is one byte.

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(append(b, byte(field<<3)|byte(protowire.VarintType)), v)
}

func sizeVarint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

// appendLength starts a field of n bytes, which are to follow. It is written even if
// there are none, as it must be for messages.
func appendLength(b []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(append(b, byte(field<<3)|byte(protowire.BytesType)), uint64(n))
}

func sizeLength(n int) int { return 1 + protowire.SizeVarint(uint64(n)) + n }

func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return sizeLength(n)
}

func appendBytes[B []byte | string](b []byte, field protowire.Number, v B) []byte {
	if len(v) == 0 {
		return b
	}
	return append(appendLength(b, field, len(v)), v...)
}

func appendBool(b []byte, field protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return appendVarint(b, field, 1)
}

// A KeyValue has its value in the middle: what comes before it and after it is
// written by two functions.

func sizeKV(kv *mvccpb.KeyValue, value int) int {
	if kv == nil {
		return 0
	}
	return sizeBytes(len(kv.Key)) + sizeVarint(uint64(kv.CreateRevision)) + sizeVarint(uint64(kv.ModRevision)) +
		sizeVarint(uint64(kv.Version)) + sizeBytes(value) + sizeVarint(uint64(kv.Lease))
}

func appendBeforeValue(b []byte, kv *mvccpb.KeyValue, value int) []byte {
	b = appendBytes(b, kvKey, kv.Key)
	b = appendVarint(b, kvCreateRevision, uint64(kv.CreateRevision))
	b = appendVarint(b, kvModRevision, uint64(kv.ModRevision))
	b = appendVarint(b, kvVersion, uint64(kv.Version))
	if value > 0 {
		b = appendLength(b, kvValue, value)
	}
	return b
}

func appendAfterValue(b []byte, kv *mvccpb.KeyValue) []byte {
	return appendVarint(b, kvLease, uint64(kv.Lease))
}

func appendHeader(b []byte, field protowire.Number, h *pb.ResponseHeader) []byte {
	if h == nil {
		return b
	}
	b = appendLength(b, field, sizeHeader(h))
	b = appendVarint(b, headerCluster, h.ClusterId)
	b = appendVarint(b, headerMember, h.MemberId)
	b = appendVarint(b, headerRevision, uint64(h.Revision))
	return appendVarint(b, headerTerm, h.RaftTerm)
}

func sizeHeader(h *pb.ResponseHeader) int {
	return sizeVarint(h.ClusterId) + sizeVarint(h.MemberId) + sizeVarint(uint64(h.Revision)) + sizeVarint(h.RaftTerm)
}

// maxHeader is the most bytes that appendHeader writes.
const maxHeader = 2 + 4*(1+10)
