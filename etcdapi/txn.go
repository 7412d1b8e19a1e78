package etcdapi

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TxnVisitor is shown everything that a Txn may do. An error ends the walk.
type TxnVisitor interface {
	VisitCompare(*pb.Compare) error
	VisitRange(*pb.RangeRequest) error
	VisitPut(*pb.PutRequest) error
	VisitDeleteRange(*pb.DeleteRangeRequest) error
}

// WalkTxn shows v every compare and every operation of t: both branches, whatever
// the compares will say, and every nested Txn (CVE-2026-33343 was an authorisation
// that looked at the top level alone). An operation without content is passed
// over: etcd refuses the whole Txn for it.
func WalkTxn(t *pb.TxnRequest, v TxnVisitor) error {
	for _, c := range t.Compare {
		if err := v.VisitCompare(c); err != nil {
			return err
		}
	}
	if err := walkOps(t.Success, v); err != nil {
		return err
	}
	return walkOps(t.Failure, v)
}

func walkOps(ops []*pb.RequestOp, v TxnVisitor) error {
	for _, op := range ops {
		var err error
		switch r := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			err = v.VisitRange(r.RequestRange)
		case *pb.RequestOp_RequestPut:
			err = v.VisitPut(r.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			err = v.VisitDeleteRange(r.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			err = WalkTxn(r.RequestTxn, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// OverlapsOpenEnded reports whether a branch of t, at any depth, both deletes
// without an upper bound and puts a key that the delete reaches. etcd refuses a
// delete that overlaps a put, but its check does not understand range_end "\x00"
// (etcd issues 22376 and 22445, unfixed in 3.7.3), and what it lets through
// destroys data. Two branches of one Txn exclude each other and may overlap.
func OverlapsOpenEnded(t *pb.TxnRequest) bool {
	_, clash1 := reachOf(t.Success)
	_, clash2 := reachOf(t.Failure)
	return clash1 || clash2
}

// reach is the lowest key from which something deletes without bound, and the
// highest key that something puts; nil is none.
type reach struct{ deleteFrom, putUpTo []byte }

func (a reach) clashes(b reach) bool {
	return a.deleteFrom != nil && b.putUpTo != nil && bytes.Compare(b.putUpTo, a.deleteFrom) >= 0
}

func (a reach) with(b reach) reach {
	if a.deleteFrom == nil || b.deleteFrom != nil && bytes.Compare(b.deleteFrom, a.deleteFrom) < 0 {
		a.deleteFrom = b.deleteFrom
	}
	if a.putUpTo == nil || b.putUpTo != nil && bytes.Compare(b.putUpTo, a.putUpTo) > 0 {
		a.putUpTo = b.putUpTo
	}
	return a
}

// reachOf folds the operations of one branch: each is held against all before it,
// so that every pair is compared once.
func reachOf(ops []*pb.RequestOp) (all reach, clash bool) {
	for _, op := range ops {
		var one reach
		switch r := op.GetRequest().(type) {
		case *pb.RequestOp_RequestPut:
			if r.RequestPut != nil {
				one.putUpTo = r.RequestPut.Key
			}
		case *pb.RequestOp_RequestDeleteRange:
			if d := r.RequestDeleteRange; d != nil && NewRange(d.Key, d.RangeEnd).Kind == Tail {
				one.deleteFrom = d.Key
			}
		case *pb.RequestOp_RequestTxn:
			success, clash1 := reachOf(r.RequestTxn.GetSuccess())
			failure, clash2 := reachOf(r.RequestTxn.GetFailure())
			if clash1 || clash2 {
				return all, true
			}
			one = success.with(failure)
		}
		if all.clashes(one) || one.clashes(all) {
			return all, true
		}
		all = all.with(one)
	}
	return all, false
}
