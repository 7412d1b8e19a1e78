package guard

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/audit"
)

// valueBytes are the bytes of values that a request brings, as the client sent them:
// before they are sealed.
func valueBytes(m proto.Message) int64 {
	switch m := m.(type) {
	case *pb.PutRequest:
		return int64(len(m.Value))
	case *pb.TxnRequest:
		n := int64(0)
		for _, branch := range [...][]*pb.RequestOp{m.Success, m.Failure} {
			for _, op := range branch {
				switch r := op.GetRequest().(type) {
				case *pb.RequestOp_RequestPut:
					n += valueBytes(r.RequestPut)
				case *pb.RequestOp_RequestTxn:
					n += valueBytes(r.RequestTxn)
				}
			}
		}
		return n
	}
	return 0
}

// touched adds what an answer holds: its revision, keys, and bytes of values.
func touched(a *audit.Answer, answer any) {
	if h, ok := answer.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		a.Revision = h.GetHeader().GetRevision()
	}
	switch m := answer.(type) {
	case *opened:
		a.Keys += m.keys
		a.Bytes += m.bytes
	case *pb.RangeResponse:
		touchedRange(a, m)
	case *pb.PutResponse:
		touchedPut(a, m)
	case *pb.DeleteRangeResponse:
		touchedDelete(a, m)
	case *pb.TxnResponse:
		touchedTxn(a, m)
	case *pb.LeaseTimeToLiveResponse:
		a.Keys += int64(len(m.Keys))
	}
}

func touchedRange(a *audit.Answer, m *pb.RangeResponse) {
	a.Keys += int64(len(m.Kvs))
	a.Bytes += bytesOf(m.Kvs)
}

func touchedPut(a *audit.Answer, m *pb.PutResponse) {
	a.Keys++
	if m.PrevKv != nil {
		a.Bytes += int64(len(m.PrevKv.Value))
	}
}

func touchedDelete(a *audit.Answer, m *pb.DeleteRangeResponse) {
	a.Keys += m.Deleted
	a.Bytes += bytesOf(m.PrevKvs)
}

func touchedTxn(a *audit.Answer, m *pb.TxnResponse) {
	for _, op := range m.Responses {
		switch r := op.GetResponse().(type) {
		case *pb.ResponseOp_ResponseRange:
			touchedRange(a, r.ResponseRange)
		case *pb.ResponseOp_ResponsePut:
			touchedPut(a, r.ResponsePut)
		case *pb.ResponseOp_ResponseDeleteRange:
			touchedDelete(a, r.ResponseDeleteRange)
		case *pb.ResponseOp_ResponseTxn:
			touchedTxn(a, r.ResponseTxn)
		}
	}
}

func bytesOf(kvs []*mvccpb.KeyValue) (n int64) {
	for _, kv := range kvs {
		n += int64(len(kv.Value))
	}
	return n
}
