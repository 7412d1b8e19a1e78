package etcdapi

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// ValueCompares are the compares on VALUE of t, at every depth and in both branches,
// in the order in which WalkTxn comes by them.
func ValueCompares(t *pb.TxnRequest) []*pb.Compare {
	if !comparesValues(t) {
		return nil // as a rule, and without garbage
	}
	var found valueCompares
	_ = WalkTxn(t, &found) // fails on nothing
	return found
}

func comparesValues(t *pb.TxnRequest) bool {
	for _, c := range t.Compare {
		if c.Target == pb.Compare_VALUE {
			return true
		}
	}
	for _, branch := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			if r, ok := op.GetRequest().(*pb.RequestOp_RequestTxn); ok && comparesValues(r.RequestTxn) {
				return true
			}
		}
	}
	return false
}

type valueCompares []*pb.Compare

func (v *valueCompares) VisitCompare(c *pb.Compare) error {
	if c.Target == pb.Compare_VALUE {
		*v = append(*v, c)
	}
	return nil
}

// DropStrayValues takes the values out of the compares of t that are on something else,
// at every depth. To etcd they mean nothing, and they would go into its log.
func DropStrayValues(t *pb.TxnRequest) { _ = WalkTxn(t, strays{}) } // fails on nothing

type strays struct{}

func (strays) VisitCompare(c *pb.Compare) error {
	if _, stray := c.TargetUnion.(*pb.Compare_Value); stray && c.Target != pb.Compare_VALUE {
		c.TargetUnion = nil
	}
	return nil
}

func (strays) VisitRange(*pb.RangeRequest) error             { return nil }
func (strays) VisitPut(*pb.PutRequest) error                 { return nil }
func (strays) VisitDeleteRange(*pb.DeleteRangeRequest) error { return nil }

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

// Holds evaluates any compare against the keys that are there, as etcd does: all but
// those on VALUE take what is not there for a key whose numbers are all 0.
func Holds(c *pb.Compare, kvs []*mvccpb.KeyValue) bool {
	if c.Target == pb.Compare_VALUE {
		return CompareValue(c, kvs)
	}
	if len(kvs) == 0 {
		kvs = []*mvccpb.KeyValue{{}}
	}
	for _, kv := range kvs {
		have, want := numbers(c, kv)
		if !holds(c.Result, cmp.Compare(have, want)) {
			return false
		}
	}
	return true
}

// numbers are the two sides of a compare. A field of the oneof that does not go with
// the target counts as 0, and so do both for targets that etcd does not know.
func numbers(c *pb.Compare, kv *mvccpb.KeyValue) (have, want int64) {
	switch c.Target {
	case pb.Compare_VERSION:
		return kv.Version, c.GetVersion()
	case pb.Compare_CREATE:
		return kv.CreateRevision, c.GetCreateRevision()
	case pb.Compare_MOD:
		return kv.ModRevision, c.GetModRevision()
	case pb.Compare_LEASE:
		return kv.Lease, c.GetLease()
	}
	return 0, 0
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

// Subjects reads what each of the compares is about, and at most limit keys for each; 0
// is no bound. Serializable reads are served from what the member has.
func Subjects(compares []*pb.Compare, limit int64, serializable bool) (reads []*pb.RequestOp) {
	for _, c := range compares {
		reads = append(reads, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{
			Key: c.Key, RangeEnd: c.RangeEnd, Limit: limit, Serializable: serializable,
		}}})
	}
	return reads
}

// Settled is t with the outcome of its compares on VALUE written into it: each is
// replaced by a compare that always has that outcome. It shares the rest with t, which
// stays as it is.
func Settled(t *pb.TxnRequest, outcomes []bool) *pb.TxnRequest {
	settled, _ := settledTxn(t, outcomes)
	return settled
}

// settledTxn takes as many outcomes as t has compares on VALUE, and returns the rest.
func settledTxn(t *pb.TxnRequest, outcomes []bool) (*pb.TxnRequest, []bool) {
	settled := &pb.TxnRequest{Compare: make([]*pb.Compare, len(t.Compare))}
	for i, c := range t.Compare {
		if c.Target == pb.Compare_VALUE {
			c, outcomes = Constant(c, outcomes[0]), outcomes[1:]
		}
		settled.Compare[i] = c
	}
	settled.Success, outcomes = settledOps(t.Success, outcomes)
	settled.Failure, outcomes = settledOps(t.Failure, outcomes)
	return settled, outcomes
}

func settledOps(ops []*pb.RequestOp, outcomes []bool) ([]*pb.RequestOp, []bool) {
	settled := make([]*pb.RequestOp, len(ops))
	for i, op := range ops {
		settled[i] = op
		if nested, ok := op.GetRequest().(*pb.RequestOp_RequestTxn); ok {
			var t *pb.TxnRequest
			t, outcomes = settledTxn(nested.RequestTxn, outcomes)
			settled[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
		}
	}
	return settled, outcomes
}

// Constant is a compare on the keys of c that has one outcome for every state of them:
// no version is below 0, and that of a key which is not there counts as 0.
func Constant(c *pb.Compare, outcome bool) *pb.Compare {
	constant := &pb.Compare{Key: c.Key, RangeEnd: c.RangeEnd, Target: pb.Compare_VERSION,
		Result: pb.Compare_LESS, TargetUnion: &pb.Compare_Version{Version: 0}}
	if outcome {
		constant.Result, constant.TargetUnion = pb.Compare_GREATER, &pb.Compare_Version{Version: -1}
	}
	return constant
}

// Unchanged are compares that hold as long as the subjects of the compares are as they
// were read at revision: found[i] is what compares[i] is about.
func Unchanged(compares []*pb.Compare, found [][]*mvccpb.KeyValue, revision int64) (guards []*pb.Compare) {
	mod := func(key, end []byte, r pb.Compare_CompareResult, revision int64) {
		guards = append(guards, &pb.Compare{Key: key, RangeEnd: end, Target: pb.Compare_MOD, Result: r,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: revision}})
	}
	for i, c := range compares {
		for _, kv := range found[i] {
			mod(kv.Key, nil, pb.Compare_EQUAL, kv.ModRevision) // neither changed nor deleted
		}
		switch {
		case len(c.RangeEnd) > 0:
			mod(c.Key, c.RangeEnd, pb.Compare_LESS, revision+1) // and none has come
		case len(found[i]) == 0:
			mod(c.Key, nil, pb.Compare_EQUAL, 0) // it was not there
		}
	}
	return guards
}

// ReadsOnly reports whether t is a Txn that etcd serves without the raft log: all of
// its operations are ranges (server/etcdserver/txn, IsTxnReadonly).
func ReadsOnly(t *pb.TxnRequest) bool {
	return everyRange(t, func(*pb.RangeRequest) bool { return true })
}

// Serializable reports whether etcd serves t from what the member has, without asking
// the others (server/etcdserver/txn, IsTxnSerializable).
func Serializable(t *pb.TxnRequest) bool { return everyRange(t, (*pb.RangeRequest).GetSerializable) }

func everyRange(t *pb.TxnRequest, is func(*pb.RangeRequest) bool) bool {
	for _, branch := range [...][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			if r := op.GetRequestRange(); r == nil || !is(r) {
				return false
			}
		}
	}
	return true
}

// Counts are the ranges among ops made harmless: they read nothing that can fail, but
// what is wrong with them, or with who asks, still is.
func Counts(ops []*pb.RequestOp) (counts []*pb.RequestOp) {
	for _, op := range ops {
		r := op.GetRequestRange()
		if r == nil {
			counts = append(counts, op)
			continue
		}
		counts = append(counts, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{
			Key: r.Key, RangeEnd: r.RangeEnd, SortOrder: r.SortOrder, SortTarget: r.SortTarget,
			CountOnly: true, Serializable: r.Serializable,
		}}})
	}
	return counts
}
