package etcdapi

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// ValueCompares are the compares on VALUE of t, at every depth and in both branches,
// in the order in which WalkTxn comes by them.
func ValueCompares(t *pb.TxnRequest) []*pb.Compare {
	var found valueCompares
	_ = WalkTxn(t, &found) // fails on nothing
	return found
}

type valueCompares []*pb.Compare

func (v *valueCompares) VisitCompare(c *pb.Compare) error {
	if c.Target == pb.Compare_VALUE {
		*v = append(*v, c)
	}
	return nil
}

func (*valueCompares) VisitRange(*pb.RangeRequest) error             { return nil }
func (*valueCompares) VisitPut(*pb.PutRequest) error                 { return nil }
func (*valueCompares) VisitDeleteRange(*pb.DeleteRangeRequest) error { return nil }

// CompareValue evaluates a compare on VALUE against the keys that are there, as etcd
// does (server/etcdserver/txn, applyCompare): it is true if it is for every key, and
// false for every operator, "not equal" included, where there is none.
func CompareValue(c *pb.Compare, kvs []*mvccpb.KeyValue) bool {
	var want []byte
	if v, ok := c.TargetUnion.(*pb.Compare_Value); ok {
		want = v.Value
	}
	for _, kv := range kvs {
		if !holds(c.Result, bytes.Compare(kv.Value, want)) {
			return false
		}
	}
	return len(kvs) > 0
}

func holds(r pb.Compare_CompareResult, order int) bool {
	switch r {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	return true // so etcd has it for operators that it does not know
}

// Subjects is a Txn that reads what each of the compares is about, all at one
// revision, and at most limit keys for each; 0 is no bound.
func Subjects(compares []*pb.Compare, limit int64) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for _, c := range compares {
		t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: c.Key, RangeEnd: c.RangeEnd, Limit: limit},
		}})
	}
	return t
}

// Settled is t with the outcome of its compares on VALUE written into it: each is
// replaced by a compare that always has that outcome. It shares nothing with t.
func Settled(t *pb.TxnRequest, outcomes []bool) *pb.TxnRequest {
	settled := proto.Clone(t).(*pb.TxnRequest)
	for i, c := range ValueCompares(settled) {
		settle(c, outcomes[i])
	}
	return settled
}

// settle makes c true or false for every state of its keys: no version is below 0,
// and that of a key which is not there counts as 0.
func settle(c *pb.Compare, outcome bool) {
	c.Target = pb.Compare_VERSION
	if outcome {
		c.Result, c.TargetUnion = pb.Compare_GREATER, &pb.Compare_Version{Version: -1}
	} else {
		c.Result, c.TargetUnion = pb.Compare_LESS, &pb.Compare_Version{Version: 0}
	}
}

// Unless is a Txn that does what t does, as long as the subjects of the compares are
// as they were read at revision: found[i] is what compares[i] is about. The answer to
// t is the first response.
func Unless(t *pb.TxnRequest, compares []*pb.Compare, found [][]*mvccpb.KeyValue, revision int64) *pb.TxnRequest {
	outer := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}}}
	same := func(key []byte, mod int64) {
		outer.Compare = append(outer.Compare, &pb.Compare{
			Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: mod},
		})
	}
	for i, c := range compares {
		if len(c.RangeEnd) == 0 && len(found[i]) == 0 {
			same(c.Key, 0) // it is not there, and must not come
			continue
		}
		for _, kv := range found[i] {
			same(kv.Key, kv.ModRevision) // neither changed nor deleted
		}
		if len(c.RangeEnd) > 0 { // and none has come
			outer.Compare = append(outer.Compare, &pb.Compare{
				Key: c.Key, RangeEnd: c.RangeEnd, Target: pb.Compare_MOD, Result: pb.Compare_LESS,
				TargetUnion: &pb.Compare_ModRevision{ModRevision: revision + 1},
			})
		}
	}
	return outer
}
