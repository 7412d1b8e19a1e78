package difftest

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The shapes that must not be sent are named here one level apart from what is
// sent, and only to the check itself.
func TestNothingHarmfulIsSent(t *testing.T) {
	put := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
	}
	remove := func(key, end string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
	}
	within := func(ops ...*pb.RequestOp) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: ops}}}
	}
	for name, c := range map[string]struct {
		ops  []*pb.RequestOp
		harm bool
	}{
		"puts":                        {[]*pb.RequestOp{put("a"), within(put("a"))}, false},
		"open-ended deletes":          {[]*pb.RequestOp{remove("a", "\x00"), within(remove("b", "\x00"))}, false},
		"an overlap that etcd sees":   {[]*pb.RequestOp{remove("a", "c"), put("b")}, false},
		"levels apart":                {[]*pb.RequestOp{remove("m", "z"), within(put("a"))}, false},
		"an open end anywhere":        {[]*pb.RequestOp{within(remove("z", "\x00")), put("a")}, true},
		"a reversed delete":           {[]*pb.RequestOp{remove("z", "y"), put("a")}, true},
		"an overlap over two levels":  {[]*pb.RequestOp{remove("a", "c"), within(put("b"))}, true},
		"an overlap between siblings": {[]*pb.RequestOp{within(put("b")), within(remove("b", ""))}, true},
	} {
		if got := poisonous(&pb.TxnRequest{Success: c.ops}); got != c.harm {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestKeysAreApart holds what makes the mixed Txns safe by construction.
func TestKeysAreApart(t *testing.T) {
	if len(lowerKeys) < 5 || len(upperKeys) < 5 {
		t.Fatalf("%d keys to put and %d to delete are too few", len(lowerKeys), len(upperKeys))
	}
	for _, k := range universe {
		if k[0] == 0 {
			t.Errorf("%q belongs to the guard", k)
		}
	}
}
