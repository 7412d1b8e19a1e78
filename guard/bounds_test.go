package guard

import (
	"context"
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

// txnThrough sends a Txn through a guard that seals, to an etcd that answers as told.
func txnThrough(t *testing.T, m *pb.TxnRequest, etcd func(*pb.TxnRequest) (*pb.TxnResponse, error)) (any, error) {
	t.Helper()
	f := newFixture(t)
	f.useRing(keyring.Static(testRing, keyring.Strict, firstKey))
	return f.Unary(as("admin"), m, &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Txn"},
		func(_ context.Context, m any) (any, error) { return etcd(m.(*pb.TxnRequest)) })
}

func byValue(key, value string) *pb.Compare {
	return &pb.Compare{Key: b(key), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: b(value)}}
}

// found answers a Txn that reads with one sealed key for each of its ranges.
func found(m *pb.TxnRequest) *pb.TxnResponse {
	a := &pb.TxnResponse{Header: &pb.ResponseHeader{Revision: 10}}
	for _, op := range m.Success {
		key := string(op.GetRequestRange().Key)
		a.Responses = append(a.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{
			ResponseRange: &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{stored(firstKey, key, "v", 5)}}}})
	}
	return a
}

func TestATxnIsNotTriedForever(t *testing.T) {
	tries := 0
	_, err := txnThrough(t, &pb.TxnRequest{Compare: []*pb.Compare{byValue("k", "v")}, Success: []*pb.RequestOp{putOp("k")}},
		func(m *pb.TxnRequest) (*pb.TxnResponse, error) {
			if len(m.Compare) == 0 {
				return found(m), nil
			}
			tries++ // something changed, each time
			return found(&pb.TxnRequest{Success: m.Failure}), nil
		})
	wantCode(t, err, codes.Unavailable, "changed each time", "try again")
	if tries != compareAttempts {
		t.Errorf("tried %d times", tries)
	}
}

func TestHowMuchCanBeComparedIsBounded(t *testing.T) {
	ranged := byValue("a", "v")
	ranged.RangeEnd = b("z")
	_, err := txnThrough(t, &pb.TxnRequest{Compare: []*pb.Compare{ranged}, Success: []*pb.RequestOp{putOp("k")}},
		func(m *pb.TxnRequest) (*pb.TxnResponse, error) {
			if len(m.Compare) > 0 {
				t.Error("it was carried out")
			}
			limit := m.Success[0].GetRequestRange().Limit
			if limit <= 0 || limit > comparedKeys+1 {
				t.Errorf("up to %d keys are read", limit)
			}
			return &pb.TxnResponse{Header: &pb.ResponseHeader{}, Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponseRange{
				ResponseRange: &pb.RangeResponse{Kvs: make([]*mvccpb.KeyValue, limit)}}}}}, nil
		})
	wantCode(t, err, codes.ResourceExhausted, "1024 keys at most")
}

func TestWhatIsTooMuchToOrderIsRefusedBeforeItIsCarriedOut(t *testing.T) {
	for counted, refused := range map[int64]bool{sortedKeys: false, sortedKeys + 1: true} {
		sorted := rangeOp("a", "z")
		sorted.GetRequestRange().SortTarget = pb.RangeRequest_VALUE
		carried := false
		_, err := txnThrough(t, &pb.TxnRequest{Success: []*pb.RequestOp{putOp("k"), txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{sorted}})}},
			func(m *pb.TxnRequest) (*pb.TxnResponse, error) {
				if r := m.Success[0].GetRequestRange(); r.GetCountOnly() {
					return &pb.TxnResponse{Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponseRange{
						ResponseRange: &pb.RangeResponse{Count: counted}}}}}, nil
				}
				carried = true
				return nil, errors.New("seen")
			})
		if carried == refused {
			t.Errorf("%d keys: carried out: %v", counted, carried)
		}
		if refused {
			wantCode(t, err, codes.ResourceExhausted, "narrow it")
		}
	}
}

// What etcd answers without its log must not go through it: learners, members that cannot
// reach the others, and clusters with an alarm raised serve it.
func TestATxnThatReadsStaysOne(t *testing.T) {
	read := rangeOp("k", "")
	read.GetRequestRange().Serializable = true
	a, err := txnThrough(t, &pb.TxnRequest{Compare: []*pb.Compare{byValue("k", "v"), {Key: b("k"), Target: pb.Compare_MOD, Result: pb.Compare_GREATER}}, Success: []*pb.RequestOp{read}},
		func(m *pb.TxnRequest) (*pb.TxnResponse, error) {
			for _, op := range append(m.Success, m.Failure...) {
				if r := op.GetRequestRange(); r == nil || !r.Serializable {
					t.Errorf("etcd is asked for %v", op)
				}
			}
			answer := found(m)
			answer.Succeeded = len(m.Compare) > 0
			return answer, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if a := a.(*pb.TxnResponse); !a.Succeeded || len(a.Responses) != 1 || string(a.Responses[0].GetResponseRange().Kvs[0].Value) != "v" {
		t.Errorf("the answer is %v", a)
	}
}

// noStore is an etcd that nobody asks.
type noStore struct{ keyring.Store }

func (noStore) RequestTimeout() time.Duration { return time.Second }

// A member that can't confirm the state of its ring writes nothing, and reads on.
func TestAMemberThatMayNotWriteStillReads(t *testing.T) {
	keeper, err := keyring.NewKeeper(keyring.KeeperConfig{Store: noStore{}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.useRing(keeper.Ring())
	keysOnly := rangeOp("k", "")
	keysOnly.GetRequestRange().KeysOnly = true
	for _, m := range []proto.Message{
		&pb.PutRequest{Key: b("k")},
		&pb.TxnRequest{Failure: []*pb.RequestOp{txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("k")}})}},
		// Nothing would be sealed for these, but they are writes all the same.
		&pb.DeleteRangeRequest{Key: b("k")},
		&pb.TxnRequest{Success: []*pb.RequestOp{deleteOp("k", "")}},
	} {
		seen, _, err := f.call(as("admin"), "KV/"+methodOf(m), m)
		if seen != nil {
			t.Errorf("%v reached etcd", m)
		}
		wantCode(t, err, codes.Unavailable, "this member may not write")
	}
	for _, m := range []proto.Message{
		keysOnly.GetRequestRange(),
		&pb.TxnRequest{Compare: []*pb.Compare{{Key: b("k"), Target: pb.Compare_MOD}}, Success: []*pb.RequestOp{keysOnly}},
	} {
		if seen, _, err := f.call(as("admin"), "KV/"+methodOf(m), m, &pb.TxnResponse{Succeeded: false}); seen == nil {
			t.Errorf("%v did not reach etcd: %v", m, err)
		}
	}
}

// Etcd behind the guard has more room; what is over the limit that clients know, by one
// byte of what stock etcd would have proposed, must be over its own too.
func TestWhatIsOverTheLimitIsMadeLargerThanEtcdTakes(t *testing.T) {
	f := newFixture(t)
	f.useRing(keyring.Static(testRing, keyring.Strict, firstKey))
	f.limits = Limits{TxnOps: 4, RequestBytes: 3000}
	put := func(size int) *pb.PutRequest { return &pb.PutRequest{Key: b("k"), Value: make([]byte, size)} }
	header := f.etcd.EntryHeader(context.Background())
	size := 0
	for etcdapi.EntryBytes(put(size), header) < 3000 {
		size++
	}
	for over := range 2 {
		seen := f.mustPass("admin", "KV/Put", put(size+over))
		if got := etcdapi.EntryBytes(seen, header) > f.limits.Server().RequestBytes; got != (over == 1) {
			t.Errorf("%d over the limit: etcd refuses it: %v", over, got)
		}
		if p := seen.(*pb.PutRequest); over == 0 && len(p.Value) != size+seal.Overhead {
			t.Errorf("what is within the limit is sealed as %d bytes", len(p.Value))
		}
	}
	for ops, over := range map[int]bool{4: false, 5: true} {
		m := &pb.TxnRequest{}
		for range ops {
			m.Compare = append(m.Compare, &pb.Compare{Key: b("k"), Target: pb.Compare_MOD})
		}
		seen, _, _ := f.call(as("admin"), "KV/Txn", m, &pb.TxnResponse{})
		if got := etcdapi.ExceedsTxnOps(seen.(*pb.TxnRequest), f.limits.Server().TxnOps); got != over {
			t.Errorf("%d operations: etcd refuses it: %v", ops, got)
		}
	}
}

// Etcd looks at a whole request before it looks at who asks. A Txn that compares by value
// is taken apart; what is wrong with it is still said first.
func TestOfSeveralMistakesTheSameOneIsNamed(t *testing.T) {
	write := &pb.TxnRequest{Compare: []*pb.Compare{byValue("k", "v")}, Success: []*pb.RequestOp{putOp("a"), putOp("a")}}
	read := &pb.TxnRequest{Compare: []*pb.Compare{byValue("k", "v")}, Failure: []*pb.RequestOp{rangeOp("", "")}}
	for _, m := range []*pb.TxnRequest{write, read} {
		_, err := txnThrough(t, m, func(m *pb.TxnRequest) (*pb.TxnResponse, error) {
			if len(m.Compare) == 0 {
				return nil, rpctypes.ErrGRPCPermissionDenied // who may not even read
			}
			for _, c := range m.Compare {
				if etcdapi.Holds(c, nil) || etcdapi.Holds(c, []*mvccpb.KeyValue{{Version: 1}}) {
					t.Errorf("etcd may carry out %v", m)
				}
			}
			return nil, rpctypes.ErrGRPCDuplicateKey
		})
		if err != rpctypes.ErrGRPCDuplicateKey {
			t.Errorf("got %v", err)
		}
	}
}
