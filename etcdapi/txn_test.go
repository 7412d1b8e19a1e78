package etcdapi

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func putOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func deleteOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func rangeOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func txnOp(success, failure []*pb.RequestOp, compare ...*pb.Compare) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Compare: compare, Success: success, Failure: failure}}}
}

func ops(all ...*pb.RequestOp) []*pb.RequestOp { return all }

// recorder is a TxnVisitor that notes the keys it is shown.
type recorder struct{ seen []string }

func (r *recorder) VisitCompare(c *pb.Compare) error {
	r.seen = append(r.seen, "compare "+string(c.Key))
	return nil
}

func (r *recorder) VisitRange(m *pb.RangeRequest) error {
	r.seen = append(r.seen, "range "+string(m.Key))
	return nil
}

func (r *recorder) VisitPut(m *pb.PutRequest) error {
	r.seen = append(r.seen, "put "+string(m.Key))
	return nil
}

func (r *recorder) VisitDeleteRange(m *pb.DeleteRangeRequest) error {
	r.seen = append(r.seen, "delete "+string(m.Key))
	return nil
}

func TestWalkTxnShowsBothBranchesAtEveryDepth(t *testing.T) {
	inner := txnOp(ops(putOp("e")), ops(deleteOp("f", "")), &pb.Compare{Key: []byte("d")})
	m := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a")}},
		Success: ops(rangeOp("b", ""), txnOp(nil, ops(inner))),
		Failure: ops(&pb.RequestOp{}, putOp("g"), inner),
	}
	var r recorder
	if err := WalkTxn(m, &r); err != nil {
		t.Fatal(err)
	}
	want := []string{"compare a", "range b", "compare d", "put e", "delete f", "put g", "compare d", "put e", "delete f"}
	if !slices.Equal(r.seen, want) {
		t.Errorf("seen  %q\nwant %q", r.seen, want)
	}
}

func TestOverlapsOpenEnded(t *testing.T) {
	const open = "\x00"
	for name, test := range map[string]struct {
		txn  *pb.TxnRequest
		want bool
	}{
		"put above an open delete":           {&pb.TxnRequest{Success: ops(deleteOp("a", open), putOp("b"))}, true},
		"put at the start of an open delete": {&pb.TxnRequest{Failure: ops(putOp("b"), deleteOp("b", open))}, true},
		"put below an open delete":           {&pb.TxnRequest{Success: ops(deleteOp("b", open), putOp("a"))}, false},
		"bounded delete is etcd's to refuse": {&pb.TxnRequest{Success: ops(deleteOp("a", "c"), putOp("b"))}, false},
		"branches exclude each other":        {&pb.TxnRequest{Success: ops(deleteOp("a", open)), Failure: ops(putOp("b"))}, false},
		"nested put under an outer delete":   {&pb.TxnRequest{Success: ops(deleteOp("a", open), txnOp(nil, ops(putOp("b"))))}, true},
		"nested delete over an outer put":    {&pb.TxnRequest{Success: ops(putOp("b"), txnOp(ops(deleteOp("a", open)), nil))}, true},
		"nested branches exclude each other": {&pb.TxnRequest{Success: ops(txnOp(ops(deleteOp("a", open)), ops(putOp("b"))))}, false},
		"two nested transactions":            {&pb.TxnRequest{Success: ops(txnOp(ops(putOp("b")), nil), txnOp(nil, ops(deleteOp("a", open))))}, true},
		"deep inside":                        {&pb.TxnRequest{Success: ops(txnOp(nil, ops(txnOp(ops(putOp("z"), deleteOp("a", open)), nil))))}, true},
		"empty":                              {&pb.TxnRequest{Success: ops(&pb.RequestOp{})}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := OverlapsOpenEnded(test.txn); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestOverlapsOpenEndedAgreesWithEnumeration holds the fold against a reading of
// the rule that lists, for every way the compares can fall, what is put and deleted.
func TestOverlapsOpenEndedAgreesWithEnumeration(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	clashes := 0
	for range 20000 {
		m := &pb.TxnRequest{Success: randomOps(rng, 3), Failure: randomOps(rng, 3)}
		want := false
		for _, branch := range [][]*pb.RequestOp{m.Success, m.Failure} {
			for _, run := range runs(branch) {
				want = want || run.clash()
			}
		}
		if got := OverlapsOpenEnded(m); got != want {
			t.Fatalf("got %v, want %v for %v", got, want, m)
		}
		if want {
			clashes++
		}
	}
	if clashes < 1000 {
		t.Fatalf("only %d of the random transactions clash", clashes)
	}
}

func randomOps(rng *rand.Rand, depth int) (all []*pb.RequestOp) {
	for range rng.IntN(4) {
		key := string(rune('a' + rng.IntN(4)))
		switch n := rng.IntN(6); {
		case n == 0 && depth > 0:
			all = append(all, txnOp(randomOps(rng, depth-1), randomOps(rng, depth-1)))
		case n <= 1:
			all = append(all, deleteOp(key, "\x00"))
		case n == 2:
			all = append(all, deleteOp(key, ""))
		default:
			all = append(all, putOp(key))
		}
	}
	return all
}

// run is what one execution would do.
type run struct{ puts, deletes []string }

func (r run) clash() bool {
	for _, d := range r.deletes {
		for _, p := range r.puts {
			if p >= d {
				return true
			}
		}
	}
	return false
}

// runs lists every execution of a branch.
func runs(branch []*pb.RequestOp) []run {
	all := []run{{}}
	for _, op := range branch {
		var alternatives []run
		switch r := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			alternatives = []run{{puts: []string{string(r.RequestPut.Key)}}}
		case *pb.RequestOp_RequestDeleteRange:
			if bytes.Equal(r.RequestDeleteRange.RangeEnd, []byte{0}) {
				alternatives = []run{{deletes: []string{string(r.RequestDeleteRange.Key)}}}
			} else {
				alternatives = []run{{}}
			}
		case *pb.RequestOp_RequestTxn:
			alternatives = append(runs(r.RequestTxn.Success), runs(r.RequestTxn.Failure)...)
		}
		var next []run
		for _, a := range all {
			for _, b := range alternatives {
				next = append(next, run{slices.Concat(a.puts, b.puts), slices.Concat(a.deletes, b.deletes)})
			}
		}
		all = next
	}
	return all
}

func TestNewRange(t *testing.T) {
	for _, test := range []struct {
		key, end string
		want     string
		kind     Kind
		empty    bool
	}{
		{"a", "", `"a"`, Point, false},
		{"a", "\x00", `["a", ∞)`, Tail, false},
		{"\x00", "\x00", `["\x00", ∞)`, Tail, false},
		{"a", "b", `["a", "b")`, Span, false},
		{"b", "a", `["b", "a")`, Span, true},
		{"a", "a", `["a", "a")`, Span, true},
		{"a", "\x00\x00", `["a", "\x00\x00")`, Span, true},
	} {
		r := NewRange([]byte(test.key), []byte(test.end))
		if r.Kind != test.kind || r.String() != test.want || r.Empty() != test.empty {
			t.Errorf("%q,%q: got %v %v empty %v", test.key, test.end, r.Kind, r, r.Empty())
		}
	}
	if (Range{}).String() != "-" || !(Range{}).Empty() {
		t.Error("the zero Range names something")
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"/a/": "/a0", "a\xff": "b", "\xff\xff": "<nil>", "": "<nil>"} {
		got := PrefixEnd([]byte(prefix))
		if text := string(got); got == nil && want != "<nil>" || got != nil && text != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}

func ExampleNewRange() {
	fmt.Println(NewRange([]byte("/registry/"), []byte("/registry0")))
	// Output: ["/registry/", "/registry0")
}
