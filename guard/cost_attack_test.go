package guard

import (
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// worstMessages are requests of a quarter of the size that a server takes (the race
// detector has to get through them), each the worst of
// its kind that comes to mind.
func worstMessages() map[string]struct {
	method string
	m      proto.Message
} {
	const most = 1 << 18
	type message = struct {
		method string
		m      proto.Message
	}
	deep := &pb.TxnRequest{}
	for range 4900 { // protobuf ends at 10,000 messages inside each other
		deep = &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: deep}}}}
	}
	wide, empty, compares, deletes := &pb.TxnRequest{}, &pb.TxnRequest{}, &pb.TxnRequest{}, &pb.TxnRequest{}
	for i := 0; i*14 < most; i++ {
		key := fmt.Appendf(nil, "/team/%d", i)
		put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key}}}
		wide.Success = append(wide.Success, put)
		compares.Compare = append(compares.Compare, &pb.Compare{Key: key, RangeEnd: b("/team0")})
		deletes.Success = append(deletes.Success, put, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: key, RangeEnd: b("\x00")}}})
	}
	for range most / 2 {
		empty.Failure = append(empty.Failure, &pb.RequestOp{})
	}
	return map[string]message{
		"a Txn as deep as protobuf goes": {"KV/Txn", deep},
		"a Txn of many puts":             {"KV/Txn", wide},
		"a Txn of many compares":         {"KV/Txn", compares},
		"a Txn of empty operations":      {"KV/Txn", empty},
		"a Txn of puts and open deletes": {"KV/Txn", deletes},
		"a long key":                     {"KV/Range", &pb.RangeRequest{Key: make([]byte, most), RangeEnd: b("\x00")}},
		"many URLs of a member":          {"Cluster/MemberAdd", &pb.MemberAddRequest{PeerURLs: make([]string, most/2)}},
	}
}

// TestTheWorstMessagesAreJudgedToTheEnd: whatever is said of them, judging them ends,
// and takes time and stack in proportion to their size. The time is logged, not
// judged.
func TestTheWorstMessagesAreJudgedToTheEnd(t *testing.T) {
	f := newFixture(t)
	for what, worst := range worstMessages() {
		wire, err := proto.Marshal(worst.m)
		if err != nil {
			t.Fatal(err)
		}
		m := proto.Clone(worst.m)
		proto.Reset(m)
		begin := time.Now()
		if err := proto.Unmarshal(wire, m); err != nil {
			t.Fatalf("%s does not come over the wire: %v", what, err)
		}
		decoded := time.Since(begin)
		for _, cn := range []string{"stranger", "admin"} {
			begin = time.Now()
			_, _, err := f.call(as(cn), worst.method, proto.Clone(m))
			if cn == "stranger" && err == nil {
				t.Errorf("%s: a stranger's reached etcd", what)
			}
			t.Logf("%s (%d bytes, decoded in %v): judged for %s in %v: %v", what, len(wire), decoded, cn, time.Since(begin), err)
		}
	}
}
