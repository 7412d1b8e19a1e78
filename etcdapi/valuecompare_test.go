package etcdapi

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

func kvs(values ...string) (out []*mvccpb.KeyValue) {
	for i, v := range values {
		out = append(out, &mvccpb.KeyValue{Key: []byte{'k', byte(i)}, Value: []byte(v), ModRevision: int64(10 + i)})
	}
	return out
}

func valueCompare(key string, r pb.Compare_CompareResult, value string) *pb.Compare {
	return &pb.Compare{Key: []byte(key), Target: pb.Compare_VALUE, Result: r, TargetUnion: &pb.Compare_Value{Value: []byte(value)}}
}

func TestCompareValue(t *testing.T) {
	const eq, ne, gt, lt = pb.Compare_EQUAL, pb.Compare_NOT_EQUAL, pb.Compare_GREATER, pb.Compare_LESS
	tests := []struct {
		result pb.Compare_CompareResult
		want   string
		have   []string
		holds  bool
	}{
		{eq, "b", []string{"b"}, true}, {eq, "b", []string{"c"}, false}, {eq, "", []string{""}, true},
		{ne, "b", []string{"c"}, true}, {ne, "b", []string{"b"}, false},
		{gt, "b", []string{"c"}, true}, {gt, "b", []string{"b"}, false}, {gt, "b", []string{"a"}, false},
		{lt, "b", []string{"a"}, true}, {lt, "b", []string{"b"}, false}, {lt, "b", []string{"c"}, false},
		// A key that is not there has no value: nothing holds of it.
		{eq, "", nil, false}, {ne, "b", nil, false}, {gt, "", nil, false}, {lt, "b", nil, false},
		// A range is all of its keys.
		{eq, "b", []string{"b", "b"}, true}, {eq, "b", []string{"b", "c"}, false}, {ne, "b", []string{"c", "b"}, false},
		{9, "b", []string{"z"}, true}, {9, "b", nil, false},
	}
	for _, tt := range tests {
		if got := CompareValue(valueCompare("k", tt.result, tt.want), kvs(tt.have...)); got != tt.holds {
			t.Errorf("%q %v %q: %v", tt.have, tt.result, tt.want, got)
		}
	}
	// Target VALUE beside another field of the oneof compares with nothing.
	odd := &pb.Compare{Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Version{Version: 7}}
	if !CompareValue(odd, kvs("")) || CompareValue(odd, kvs("a")) {
		t.Error("a compare on VALUE without a value is one with the empty value")
	}
}

// deep is a Txn with compares on VALUE at every place where there can be one.
func deep() *pb.TxnRequest {
	nested := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte(key), Target: pb.Compare_MOD}, valueCompare(key, pb.Compare_EQUAL, key)},
		}}}
	}
	success, failure := nested("then"), nested("else")
	success.GetRequestTxn().Failure = []*pb.RequestOp{nested("then-else")}
	return &pb.TxnRequest{
		Compare: []*pb.Compare{valueCompare("top", pb.Compare_LESS, "x")},
		Success: []*pb.RequestOp{success, {}}, Failure: []*pb.RequestOp{failure},
	}
}

func TestEveryValueCompareIsSettled(t *testing.T) {
	asked := deep()
	before := proto.Clone(asked)
	var names []string
	for _, c := range ValueCompares(asked) {
		names = append(names, string(c.Key))
	}
	if len(names) != 4 || names[0] != "top" || names[1] != "then" || names[2] != "then-else" || names[3] != "else" {
		t.Fatalf("found %q", names)
	}
	settled := Settled(asked, []bool{true, false, true, false})
	if !proto.Equal(asked, before) {
		t.Error("the request itself was changed: it is tried again")
	}
	if left := ValueCompares(settled); len(left) != 0 {
		t.Errorf("%d compares on VALUE are left", len(left))
	}
	var holds []bool
	_ = WalkTxn(settled, compareFunc(func(c *pb.Compare) {
		if c.Target == pb.Compare_VERSION {
			holds = append(holds, c.Result == pb.Compare_GREATER && c.GetVersion() == -1)
			if c.Result == pb.Compare_LESS && c.GetVersion() != 0 {
				t.Errorf("%v can hold", c)
			}
		}
	}))
	if len(holds) != 4 || !holds[0] || holds[1] || !holds[2] || holds[3] {
		t.Errorf("settled as %v", holds)
	}
}

type compareFunc func(*pb.Compare)

func (f compareFunc) VisitCompare(c *pb.Compare) error            { f(c); return nil }
func (compareFunc) VisitRange(*pb.RangeRequest) error             { return nil }
func (compareFunc) VisitPut(*pb.PutRequest) error                 { return nil }
func (compareFunc) VisitDeleteRange(*pb.DeleteRangeRequest) error { return nil }

// TestUnchanged plays what can happen between reading and comparing: each change of a
// subject has to make the condition false, and none other.
func TestUnchanged(t *testing.T) {
	point, gone := valueCompare("k\x00", pb.Compare_EQUAL, "a"), valueCompare("gone", pb.Compare_NOT_EQUAL, "a")
	ranged, empty := valueCompare("k", pb.Compare_EQUAL, "a"), valueCompare("x", pb.Compare_EQUAL, "a")
	ranged.RangeEnd, empty.RangeEnd = []byte("l"), []byte("y")
	compares := []*pb.Compare{point, gone, ranged, empty}
	read := map[string]int64{"k\x00": 10, "k\x01": 11, "other": 3}
	found := [][]*mvccpb.KeyValue{kvs("a"), nil, kvs("a", "b"), nil}
	guards := Unchanged(compares, found, 20)
	tests := map[string]struct {
		change func(map[string]int64)
		still  bool
	}{
		"nothing":                            {func(map[string]int64) {}, true},
		"another key":                        {func(m map[string]int64) { m["other"] = 30 }, true},
		"a key changed":                      {func(m map[string]int64) { m["k\x00"] = 21 }, false},
		"a key of the range changed":         {func(m map[string]int64) { m["k\x01"] = 21 }, false},
		"a key of the range went":            {func(m map[string]int64) { delete(m, "k\x01") }, false},
		"one went and one came":              {func(m map[string]int64) { delete(m, "k\x01"); m["k\x02"] = 21 }, false},
		"a key came into the range":          {func(m map[string]int64) { m["kk"] = 21 }, false},
		"a key came where there was none":    {func(m map[string]int64) { m["gone"] = 21 }, false},
		"a key came into the empty range":    {func(m map[string]int64) { m["xx"] = 21 }, false},
		"a key went and came back as it was": {func(m map[string]int64) { m["k\x00"] = 22 }, false},
	}
	for name, tt := range tests {
		now := map[string]int64{}
		for k, v := range read {
			now[k] = v
		}
		tt.change(now)
		if got := all(guards, now); got != tt.still {
			t.Errorf("%s: the condition is %v", name, got)
		}
	}
}

// all evaluates compares on MOD as etcd does.
func all(compares []*pb.Compare, mods map[string]int64) bool {
	for _, c := range compares {
		in := func(key string) bool { return key == string(c.Key) }
		if len(c.RangeEnd) > 0 {
			in = func(key string) bool { return key >= string(c.Key) && key < string(c.RangeEnd) }
		}
		var have []int64
		for key, mod := range mods {
			if in(key) {
				have = append(have, mod)
			}
		}
		if len(have) == 0 {
			have = []int64{0}
		}
		for _, mod := range have {
			if c.Result == pb.Compare_EQUAL && mod != c.GetModRevision() || c.Result == pb.Compare_LESS && mod >= c.GetModRevision() {
				return false
			}
		}
	}
	return true
}

func TestStrayValuesAreDropped(t *testing.T) {
	stray := &pb.Compare{Target: pb.Compare_MOD, TargetUnion: &pb.Compare_Value{Value: []byte("secret")}}
	meant, number := valueCompare("k", pb.Compare_EQUAL, "v"), &pb.Compare{Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 7}}
	DropStrayValues(&pb.TxnRequest{Failure: []*pb.RequestOp{nest(&pb.TxnRequest{Compare: []*pb.Compare{meant, stray, number}})}})
	if stray.TargetUnion != nil || string(meant.GetValue()) != "v" || number.GetModRevision() != 7 {
		t.Errorf("what is left: %v, %v, %v", stray, meant, number)
	}
}
