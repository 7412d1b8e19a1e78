package etcdapi

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// UnknownField looks for a field that this build of etcdguard does not know, in m
// and in every message inside it, and returns where it is ("Txn.success[1]") or "".
// A newer etcd could give such a field a meaning that the guard did not judge: a
// nested operation, a wider range.
func UnknownField(m proto.Message) string {
	// The requests of every second are walked by hand: protoreflect's Range costs
	// microseconds and garbage. TestUnknownFieldLeaves proves from the descriptors
	// that the flat ones hold no message of their own.
	switch m := m.(type) {
	case *pb.RangeRequest, *pb.PutRequest, *pb.DeleteRangeRequest:
		if len(m.ProtoReflect().GetUnknown()) == 0 {
			return ""
		}
	case *pb.TxnRequest:
		if !txnHasUnknown(m) {
			return ""
		}
	}
	r := m.ProtoReflect()
	if where, found := unknownIn(r); found {
		return string(r.Descriptor().Name()) + where
	}
	return ""
}

func txnHasUnknown(t *pb.TxnRequest) bool {
	if hasUnknown(t) {
		return true
	}
	for _, c := range t.Compare {
		if hasUnknown(c) {
			return true
		}
	}
	return opsHaveUnknown(t.Success) || opsHaveUnknown(t.Failure)
}

func opsHaveUnknown(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		if hasUnknown(op) {
			return true
		}
		switch r := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			if hasUnknown(r.RequestRange) {
				return true
			}
		case *pb.RequestOp_RequestPut:
			if hasUnknown(r.RequestPut) {
				return true
			}
		case *pb.RequestOp_RequestDeleteRange:
			if hasUnknown(r.RequestDeleteRange) {
				return true
			}
		case *pb.RequestOp_RequestTxn:
			if r.RequestTxn != nil && txnHasUnknown(r.RequestTxn) {
				return true
			}
		case nil:
			// An empty operation: etcd refuses the whole Txn.
		default:
			return true // an arm of the oneof that this build has no case for
		}
	}
	return false
}

func hasUnknown(m proto.Message) bool { return len(m.ProtoReflect().GetUnknown()) > 0 }

// unknownIn is the whole truth, for any message; it is slow. where is the way to
// the field from m, made only once it is found: a Txn can be thousands deep.
func unknownIn(m protoreflect.Message) (where string, found bool) {
	if len(m.GetUnknown()) > 0 {
		return "", true
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				return true
			}
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				where, found = unknownIn(v.Message())
				return !found
			})
		case fd.Message() == nil:
			return true
		case fd.IsList():
			for i := 0; i < v.List().Len() && !found; i++ {
				where, found = unknownIn(v.List().Get(i).Message())
			}
		default:
			where, found = unknownIn(v.Message())
		}
		if found {
			where = step(string(fd.Name()), where)
		}
		return !found
	})
	return where, found
}

// step puts one step before the way that follows it. What is too long to be read
// keeps its end.
func step(name, rest string) string {
	const long = 200
	switch {
	case len(rest) <= long:
		return "." + name + rest
	case rest[0] == '.':
		return "…" + rest
	default:
		return rest
	}
}
