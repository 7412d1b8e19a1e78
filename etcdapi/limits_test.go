package etcdapi

import (
	"bytes"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func puts(n int) (ops []*pb.RequestOp) {
	for range n {
		ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), Value: []byte("secret")}}})
	}
	return ops
}

func nest(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func TestTxnOps(t *testing.T) {
	tests := map[string]struct {
		txn     *pb.TxnRequest
		exceeds bool
	}{
		"empty":           {&pb.TxnRequest{}, false},
		"as many":         {&pb.TxnRequest{Success: puts(4), Failure: puts(4)}, false},
		"one more":        {&pb.TxnRequest{Failure: puts(5)}, true},
		"compares":        {&pb.TxnRequest{Compare: make([]*pb.Compare, 5)}, true},
		"nested as many":  {&pb.TxnRequest{Success: append(puts(1), nest(&pb.TxnRequest{Success: puts(2)}))}, false},
		"nested one more": {&pb.TxnRequest{Success: append(puts(1), nest(&pb.TxnRequest{Success: puts(3)}))}, true},
	}
	for name, tt := range tests {
		if got := ExceedsTxnOps(tt.txn, 4); got != tt.exceeds {
			t.Errorf("%s: %v", name, got)
		}
		if !tt.exceeds {
			continue
		}
		OverTxnOps(tt.txn, 4, 50)
		if !ExceedsTxnOps(tt.txn, 50) {
			t.Errorf("%s: a server with a higher limit would take it", name)
		}
	}
}

func TestOverRequestBytes(t *testing.T) {
	header := &pb.RequestHeader{ID: 1 << 63}
	value := []byte("secret")
	for name, r := range map[string]proto.Message{
		"put":               &pb.PutRequest{Key: []byte("k"), Value: value},
		"put, ignoring":     &pb.PutRequest{Key: []byte("k"), IgnoreValue: true},
		"delete":            &pb.DeleteRangeRequest{Key: []byte("k")},
		"txn":               &pb.TxnRequest{Success: puts(3)},
		"txn that compares": &pb.TxnRequest{Compare: []*pb.Compare{valueCompare("k", pb.Compare_EQUAL, "secret")}, Failure: []*pb.RequestOp{nest(&pb.TxnRequest{})}},
		"txn that deletes":  &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("k")}}}}},
		"grant":             &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: []byte("k")}},
		"role":              &pb.AuthRoleAddRequest{Name: "r"},
	} {
		if n := EntryBytes(r, header); n > 1000 {
			t.Errorf("%s: control: %d bytes", name, n)
		}
		OverRequestBytes(r, 1000)
		if n := EntryBytes(r, nil); n <= 1000 {
			t.Errorf("%s: %d bytes, and the server would take it", name, n)
		}
		encoded, err := proto.Marshal(r)
		if err != nil || bytes.Contains(encoded, value) {
			t.Errorf("%s: the value is still in it (%v)", name, err)
		}
	}
	if n := EntryBytes(&pb.RangeRequest{Key: make([]byte, 5000)}, header); n != 0 {
		t.Errorf("a read has %d bytes in the log", n)
	}
	read := &pb.TxnRequest{Compare: []*pb.Compare{{Key: make([]byte, 5000)}}, Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{}}}}}
	if n := EntryBytes(read, header); n != 0 {
		t.Errorf("a Txn that reads has %d bytes in the log", n)
	}
}
