package etcdapi

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Limits are bounds that etcd has on requests.
type Limits struct {
	TxnOps       int // max-txn-ops: compares, or operations of one branch; a nested Txn has what its parents left over
	RequestBytes int // max-request-bytes: of the entry in the raft log
}

// ExceedsTxnOps reports whether etcd would refuse t for its number of operations
// under the limit (server/etcdserver/api/v3rpc/key.go, checkTxnRequest).
func ExceedsTxnOps(t *pb.TxnRequest, limit int) bool { return tooManyOps(t, limit) != nil }

// tooManyOps is the first Txn of t that etcd would refuse for its size.
func tooManyOps(t *pb.TxnRequest, limit int) *pb.TxnRequest {
	ops := max(len(t.Compare), len(t.Success), len(t.Failure))
	if ops > limit {
		return t
	}
	for _, branch := range [][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			if nested := op.GetRequestTxn(); nested != nil {
				if first := tooManyOps(nested, limit-ops); first != nil {
					return first
				}
			}
		}
	}
	return nil
}

// OverTxnOps changes t, which has too many operations under the limit, so that a
// server with the limit actual, which is higher, refuses it too: where etcd itself
// would have, so that of several mistakes it still names the same one.
func OverTxnOps(t *pb.TxnRequest, limit, actual int) {
	first := tooManyOps(t, limit)
	filler := &pb.Compare{Key: FirstClientKey}
	for len(first.Compare) <= actual {
		first.Compare = append(first.Compare, filler)
	}
}

// EntryBytes is the size of the raft log's entry for a request, with the header that
// the server would give it; 0 for requests that do not go there, that are small, or
// that the server replaces by others (AuthUserAdd, AuthUserChangePassword).
func EntryBytes(request proto.Message, header *pb.RequestHeader) int {
	entry := &pb.InternalRaftRequest{Header: header}
	switch r := request.(type) {
	case *pb.PutRequest:
		entry.Put = r
	case *pb.DeleteRangeRequest:
		entry.DeleteRange = r
	case *pb.TxnRequest:
		if ReadsOnly(r) {
			return 0
		}
		entry.Txn = r
	case *pb.AuthUserGetRequest:
		entry.AuthUserGet = r
	case *pb.AuthUserDeleteRequest:
		entry.AuthUserDelete = r
	case *pb.AuthUserGrantRoleRequest:
		entry.AuthUserGrantRole = r
	case *pb.AuthUserRevokeRoleRequest:
		entry.AuthUserRevokeRole = r
	case *pb.AuthRoleAddRequest:
		entry.AuthRoleAdd = r
	case *pb.AuthRoleGetRequest:
		entry.AuthRoleGet = r
	case *pb.AuthRoleDeleteRequest:
		entry.AuthRoleDelete = r
	case *pb.AuthRoleGrantPermissionRequest:
		entry.AuthRoleGrantPermission = r
	case *pb.AuthRoleRevokePermissionRequest:
		entry.AuthRoleRevokePermission = r
	default:
		return 0
	}
	return proto.Size(entry)
}

// OverRequestBytes changes a request so that a server with the limit refuses it for
// its size, and before that for whatever else it would refuse it for. Its values are
// gone then, so that nothing is lost should a server take it after all.
func OverRequestBytes(request proto.Message, limit int) {
	large := make([]byte, limit+1)
	switch r := request.(type) {
	case *pb.PutRequest:
		if r.IgnoreValue {
			r.Key = large
		} else {
			r.Value = large
		}
	case *pb.DeleteRangeRequest:
		r.Key = large
	case *pb.TxnRequest:
		e := &enlarger{large: large}
		if _ = WalkTxn(r, e); e.large != nil { // nothing in it has a value
			r.Compare = append(r.Compare, &pb.Compare{Key: large})
		}
	default:
		// As a field that nobody knows: what is in the others may be looked at first.
		const field = 1 << 20
		pad := protowire.AppendTag(nil, field, protowire.BytesType)
		request.ProtoReflect().SetUnknown(protowire.AppendBytes(pad, large))
	}
}

// enlarger takes the values out of a Txn, and puts a large one in the place of the
// first.
type enlarger struct{ large []byte }

func (e *enlarger) VisitCompare(c *pb.Compare) error {
	if v, ok := c.TargetUnion.(*pb.Compare_Value); ok {
		v.Value, e.large = e.large, nil
	}
	return nil
}

func (e *enlarger) VisitPut(r *pb.PutRequest) error {
	if !r.IgnoreValue { // a value beside ignore_value is a mistake that etcd names
		r.Value, e.large = e.large, nil
	}
	return nil
}

func (*enlarger) VisitRange(*pb.RangeRequest) error             { return nil }
func (*enlarger) VisitDeleteRange(*pb.DeleteRangeRequest) error { return nil }
