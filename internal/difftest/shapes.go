package difftest

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// shapes names what fields alone do not show: where values travel, as SEMANTICS lists
// it. An etcd that stores other bytes than it was given has to get each of them right.
func shapes(rpc string, m proto.Message, a answer) []string {
	if len(a.msgs) == 0 {
		return nil
	}
	var found []string
	switch q := m.(type) {
	case *pb.RangeRequest:
		if rpc == "KV.Range" {
			found = rangeShapes(rpc, q, a.msgs[0].(*pb.RangeResponse))
		} else if len(a.msgs) > 1 {
			found = append(found, rpc+" in chunks")
		}
		if q.SortTarget == pb.RangeRequest_VALUE {
			found = append(found, rpc+" sorted by value")
		}
	case *pb.PutRequest:
		if v := a.msgs[0].(*pb.PutResponse).PrevKv.GetValue(); len(v) > 0 {
			found = append(found, "previous value of a put")
		}
		if q.IgnoreValue {
			found = append(found, "a value that a put leaves alone")
		}
	case *pb.DeleteRangeRequest:
		if kvs := a.msgs[0].(*pb.DeleteRangeResponse).PrevKvs; len(kvs) > 0 && len(kvs[0].Value) > 0 {
			found = append(found, "previous values of a delete")
		}
	case *pb.TxnRequest:
		found = txnShapes(q, a.msgs[0].(*pb.TxnResponse), 1)
	}
	return found
}

func rangeShapes(where string, q *pb.RangeRequest, a *pb.RangeResponse) (found []string) {
	add := func(what string) { found = append(found, where+" "+what) }
	if len(a.GetKvs()) > 0 && q.Revision > 0 && !q.KeysOnly {
		add("of a value at an old revision")
	}
	if q.SortTarget != pb.RangeRequest_VALUE || len(a.GetKvs()) < 2 {
		return found
	}
	add(fmt.Sprintf("sorted by value, %v", q.SortOrder))
	if q.KeysOnly {
		add("sorted by value, keys only")
	}
	if a.More {
		add(fmt.Sprintf("sorted by value, %v, cut to a limit", q.SortOrder))
	}
	if q.Revision > 0 {
		add("sorted by value at an old revision")
	}
	return found
}

// txnShapes looks at a Txn and at the branch of it that was taken.
func txnShapes(q *pb.TxnRequest, a *pb.TxnResponse, depth int) (found []string) {
	byValue := 0
	for _, c := range q.GetCompare() {
		if c.Target != pb.Compare_VALUE {
			continue
		}
		byValue++
		spread := "a key"
		if len(c.RangeEnd) > 0 {
			spread = "a range"
		}
		found = append(found, fmt.Sprintf("compare of the value of %s, %v, depth %d", spread, c.Result, depth))
		if len(q.Compare) == 1 {
			found = append(found, fmt.Sprintf("compare of the value of %s, %v: %v", spread, c.Result, a.GetSucceeded()))
		}
	}
	if byValue > 0 {
		found = append(found, fmt.Sprintf("Txn by value, depth %d: %v", depth, a.GetSucceeded()))
	}
	ops := q.GetFailure()
	if a.GetSucceeded() {
		ops = q.GetSuccess()
	}
	for i, op := range a.GetResponses() {
		found = append(found, opShapes(ops[i], op, depth)...)
	}
	return found
}

func opShapes(q *pb.RequestOp, a *pb.ResponseOp, depth int) []string {
	where := fmt.Sprintf("Txn, depth %d:", depth)
	switch a := a.GetResponse().(type) {
	case *pb.ResponseOp_ResponseRange:
		return rangeShapes(where, q.GetRequestRange(), a.ResponseRange)
	case *pb.ResponseOp_ResponsePut:
		if len(a.ResponsePut.GetPrevKv().GetValue()) > 0 {
			return []string{where + " previous value of a put"}
		}
	case *pb.ResponseOp_ResponseDeleteRange:
		if len(a.ResponseDeleteRange.GetPrevKvs()) > 0 {
			return []string{where + " previous values of a delete"}
		}
	case *pb.ResponseOp_ResponseTxn:
		return txnShapes(q.GetRequestTxn(), a.ResponseTxn, depth+1)
	}
	return nil
}

// wantShapes is what a run of coverageSteps must meet.
var wantShapes = func() []string {
	all := []string{
		"KV.Range of a value at an old revision", "KV.Range sorted by value, keys only",
		"KV.Range sorted by value at an old revision",
		"KV.RangeStream in chunks", "KV.RangeStream sorted by value",
		"previous value of a put", "previous values of a delete", "a value that a put leaves alone",
	}
	for _, order := range pb.RangeRequest_SortOrder_name {
		all = append(all, "KV.Range sorted by value, "+order, "KV.Range sorted by value, "+order+", cut to a limit")
		for depth := 1; depth <= maxDepth; depth++ {
			all = append(all, fmt.Sprintf("Txn, depth %d: sorted by value, %s", depth, order))
		}
	}
	for depth := 1; depth <= maxDepth; depth++ {
		for _, what := range []string{"previous value of a put", "previous values of a delete", "of a value at an old revision"} {
			all = append(all, fmt.Sprintf("Txn, depth %d: %s", depth, what))
		}
		for _, outcome := range []bool{false, true} {
			all = append(all, fmt.Sprintf("Txn by value, depth %d: %v", depth, outcome))
		}
		for _, operator := range pb.Compare_CompareResult_name {
			for _, spread := range []string{"a key", "a range"} {
				all = append(all, fmt.Sprintf("compare of the value of %s, %s, depth %d", spread, operator, depth))
			}
		}
	}
	for _, operator := range pb.Compare_CompareResult_name {
		for _, spread := range []string{"a key", "a range"} {
			for _, outcome := range []bool{false, true} {
				all = append(all, fmt.Sprintf("compare of the value of %s, %s: %v", spread, operator, outcome))
			}
		}
	}
	return all
}()
