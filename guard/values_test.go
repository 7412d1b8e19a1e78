package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/codec"
	"github.com/etcdguard/etcdguard/internal/difftest/stock"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

func testKey(n seal.KeyNumber) *seal.Key {
	return seal.NewKey(testRing, n, &[32]byte{byte(n)})
}

// sealedStore is a guard with a ring before a real etcd, whose store the test sees raw.
type sealedStore struct {
	*fixture
	raw pb.KVClient
}

func newSealedStore(t testing.TB, ring *keyring.Ring) *sealedStore {
	t.Helper()
	conn, err := grpc.NewClient(stock.Start(t, stock.Config{}), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &sealedStore{fixture: newFixture(t), raw: pb.NewKVClient(conn)}
	s.useRing(ring)
	return s
}

// etcd is what the guard hands a request to: the handler of one RPC, which takes no
// other request.
func (s *sealedStore) etcd(method string) grpc.UnaryHandler {
	return func(ctx context.Context, m any) (any, error) {
		switch method {
		case "Range":
			return s.raw.Range(ctx, m.(*pb.RangeRequest))
		case "Put":
			return s.raw.Put(ctx, m.(*pb.PutRequest))
		case "DeleteRange":
			return s.raw.DeleteRange(ctx, m.(*pb.DeleteRangeRequest))
		default:
			return s.raw.Txn(ctx, m.(*pb.TxnRequest))
		}
	}
}

func methodOf(m proto.Message) string {
	return strings.TrimSuffix(string(m.ProtoReflect().Descriptor().Name()), "Request")
}

// do sends a request the way of a client; it is a copy, as every client's is.
func (s *sealedStore) do(m proto.Message) (any, error) {
	method := methodOf(m)
	a, err := s.Unary(as("admin"), proto.Clone(m), &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/" + method}, s.etcd(method))
	if sent, ok := a.(*codec.Message); ok {
		received := &pb.RangeResponse{}
		err = errors.Join(err, proto.Unmarshal(sent.Bytes(), received))
		return received, err
	}
	return a, err
}

func must[A any](s *sealedStore, m proto.Message) A {
	s.t.Helper()
	a, err := s.do(m)
	if err != nil {
		s.t.Fatalf("%v: %v", m, err)
	}
	return a.(A)
}

func (s *sealedStore) put(key, value string) *pb.PutResponse {
	s.t.Helper()
	return must[*pb.PutResponse](s, &pb.PutRequest{Key: b(key), Value: b(value), PrevKv: true})
}

func (s *sealedStore) get(key string) string {
	s.t.Helper()
	a := must[*pb.RangeResponse](s, rangeOf(key, ""))
	if len(a.Kvs) != 1 {
		s.t.Fatalf("%q is there %d times", key, len(a.Kvs))
	}
	return string(a.Kvs[0].Value)
}

// stored is what etcd has for a key.
func (s *sealedStore) stored(key string) []byte {
	s.t.Helper()
	a, err := s.raw.Range(context.Background(), rangeOf(key, ""))
	if err != nil || len(a.Kvs) != 1 {
		s.t.Fatalf("%q: %v, %v", key, a, err)
	}
	return a.Kvs[0].Value
}

// plant stores bytes behind the guard's back.
func (s *sealedStore) plant(key string, value []byte) {
	s.t.Helper()
	if _, err := s.raw.Put(context.Background(), &pb.PutRequest{Key: b(key), Value: value}); err != nil {
		s.t.Fatal(err)
	}
}

func TestValuesAreStoredSealedAndReturnedOpened(t *testing.T) {
	s := newSealedStore(t, keyring.Static(testRing, keyring.Strict, testKey(1)))
	for _, value := range []string{"secret", "", "\x00", string(testKey(1).Seal(nil, b("k"), b("twice")))} {
		s.put("k", value)
		kept := s.stored("k")
		if len(kept) != len(value)+seal.Overhead {
			t.Errorf("%q is stored as %d bytes", value, len(kept))
		}
		if once, err := testKey(1).Open(nil, b("k"), kept); err != nil || string(once) != value {
			t.Errorf("%q is stored as what opens to %q, %v", value, once, err)
		}
		if got := s.get("k"); got != value {
			t.Errorf("put %q, got %q", value, got)
		}
	}
	if s.counter("etcdguard_values_sealed_total") != 4 || s.counter("etcdguard_values_opened_total") != 4+3 {
		t.Errorf("counted %v sealed, %v opened", s.counter("etcdguard_values_sealed_total"), s.counter("etcdguard_values_opened_total"))
	}
}

func TestIgnoreValueLeavesTheSealedValueAlone(t *testing.T) {
	s := newSealedStore(t, keyring.Static(testRing, keyring.Strict, testKey(1)))
	s.put("k", "secret")
	before := s.stored("k")
	a := must[*pb.PutResponse](s, &pb.PutRequest{Key: b("k"), IgnoreValue: true, PrevKv: true})
	if string(a.PrevKv.Value) != "secret" || !bytes.Equal(s.stored("k"), before) || s.get("k") != "secret" {
		t.Error("the value did not stay as it was")
	}
	_, err := s.do(&pb.PutRequest{Key: b("k"), Value: b("other"), IgnoreValue: true})
	wantCode(t, err, codes.InvalidArgument, "etcdserver: value is provided")
	_, err = s.do(&pb.PutRequest{Value: b("no key")})
	wantCode(t, err, codes.InvalidArgument, "etcdserver: key is not provided")
}

func TestPreviousValuesAreOpenedUnderTheirOwnNames(t *testing.T) {
	s := newSealedStore(t, keyring.Static(testRing, keyring.Strict, testKey(1)))
	s.put("a", "1")
	s.put("b", "2")
	if a := s.put("a", "3"); string(a.PrevKv.Value) != "1" {
		t.Errorf("put: the previous value is %q", a.PrevKv.Value)
	}
	prev := func(op *pb.RequestOp) *pb.RequestOp {
		if p := op.GetRequestPut(); p != nil {
			p.PrevKv, p.Value = true, b("4")
		} else {
			op.GetRequestDeleteRange().PrevKv = true
		}
		return op
	}
	answer := must[*pb.TxnResponse](s, &pb.TxnRequest{Success: []*pb.RequestOp{
		prev(putOp("a")), txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{rangeOp("a", ""), prev(deleteOp("b", "c"))}}),
	}})
	inner := answer.Responses[1].GetResponseTxn()
	for what, got := range map[string][]byte{
		"3": answer.Responses[0].GetResponsePut().PrevKv.Value,
		"4": inner.Responses[0].GetResponseRange().Kvs[0].Value,
		"2": inner.Responses[1].GetResponseDeleteRange().PrevKvs[0].Value,
	} {
		if string(got) != what {
			t.Errorf("got %q, want %q", got, what)
		}
	}
	d := must[*pb.DeleteRangeResponse](s, &pb.DeleteRangeRequest{Key: b("a"), RangeEnd: b("z"), PrevKv: true})
	if len(d.PrevKvs) != 1 || string(d.PrevKvs[0].Value) != "4" {
		t.Errorf("delete: the previous values are %v", d.PrevKvs)
	}
}

// Every branch is sealed, whichever will be taken, and what is taken is opened.
func TestBothBranchesOfATxnAreSealed(t *testing.T) {
	s := newSealedStore(t, keyring.Static(testRing, keyring.Strict, testKey(1)))
	branch := func(key string) []*pb.RequestOp {
		op := putOp(key)
		op.GetRequestPut().Value = b("of " + key)
		return []*pb.RequestOp{op, rangeOp(key, "")}
	}
	for _, taken := range []pb.Compare_CompareResult{pb.Compare_EQUAL, pb.Compare_GREATER} {
		inner := &pb.TxnRequest{Compare: []*pb.Compare{{Key: b("none"), Result: taken}}, Success: branch("then"), Failure: branch("else")}
		a := must[*pb.TxnResponse](s, &pb.TxnRequest{Failure: []*pb.RequestOp{}, Success: []*pb.RequestOp{txnOp(inner)}})
		kv := a.Responses[0].GetResponseTxn().Responses[1].GetResponseRange().Kvs[0]
		if string(kv.Value) != "of "+string(kv.Key) || !seal.IsSealed(s.stored(string(kv.Key))) {
			t.Errorf("%s has %q", kv.Key, kv.Value)
		}
	}
}

func TestOldRevisionsOpenWithOldKeys(t *testing.T) {
	s := newSealedStore(t, keyring.Static(testRing, keyring.Strict, testKey(1)))
	first := s.put("k", "old").Header.Revision
	s.ring = keyring.Static(testRing, keyring.Strict, testKey(1), testKey(2))
	s.put("k", "new")
	if e, err := seal.Parse(s.stored("k")); err != nil || e.Key != 2 {
		t.Errorf("the new value is sealed with key %d, %v", e.Key, err)
	}
	a := must[*pb.RangeResponse](s, &pb.RangeRequest{Key: b("k"), Revision: first})
	if string(a.Kvs[0].Value) != "old" || s.get("k") != "new" {
		t.Errorf("at revision %d there is %q", first, a.Kvs[0].Value)
	}
	s.ring = keyring.Static(testRing, keyring.Strict, testKey(2))
	_, err := s.do(&pb.RangeRequest{Key: b("k"), Revision: first})
	wantCode(t, err, codes.DataLoss, `key "k"`, fmt.Sprintf("mod revision %d", first), "data key", "etcdguard seal quarantine --help")
}

// What does not open fails the request that needs it, by name; what needs no values
// goes on.
func TestAValueThatDoesNotOpen(t *testing.T) {
	key := testKey(1)
	good := key.Seal(nil, b("k"), b("secret"))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-10] ^= 1
	for reason, stored := range map[string][]byte{
		"plaintext":    b("secret"),
		"moved":        key.Seal(nil, b("other"), b("secret")),
		"altered":      flipped,
		"truncated":    good[:len(good)-1],
		"foreign ring": seal.NewKey(seal.RingID{9}, 1, &[32]byte{1}).Seal(nil, b("k"), b("secret")),
		"unknown key":  testKey(7).Seal(nil, b("k"), b("secret")),
	} {
		t.Run(reason, func(t *testing.T) {
			s := newSealedStore(t, keyring.Static(testRing, keyring.Strict, key))
			s.put("a", "1")
			s.plant("k", stored)
			byValue := &pb.Compare{Key: b("k"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: b("secret")}}
			for _, needs := range []proto.Message{
				rangeOf("k", ""), rangeOf("a", "z"),
				&pb.RangeRequest{Key: b("a"), RangeEnd: b("z"), SortTarget: pb.RangeRequest_VALUE, KeysOnly: true},
				&pb.TxnRequest{Success: []*pb.RequestOp{rangeOp("k", "")}},
				&pb.TxnRequest{Compare: []*pb.Compare{byValue}},
				&pb.TxnRequest{Compare: []*pb.Compare{byValue}, Success: []*pb.RequestOp{putOp("k")}, Failure: []*pb.RequestOp{putOp("k")}},
			} {
				_, err := s.do(needs)
				wantCode(t, err, codes.DataLoss, `key "k" (mod revision`, "etcdguard seal quarantine --help")
				if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "carried out")) {
					t.Errorf("%v: %v", needs, err)
				}
			}
			if !bytes.Equal(s.stored("k"), stored) {
				t.Fatal("a Txn was carried out whose compare could not be made")
			}
			for _, needsNot := range []proto.Message{
				&pb.RangeRequest{Key: b("k"), KeysOnly: true}, &pb.RangeRequest{Key: b("a"), RangeEnd: b("z"), CountOnly: true},
				&pb.RangeRequest{Key: b("a"), RangeEnd: b("z"), SortTarget: pb.RangeRequest_VALUE, CountOnly: true},
				&pb.TxnRequest{Compare: []*pb.Compare{{Key: b("k"), Target: pb.Compare_MOD}}, Failure: []*pb.RequestOp{
					{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: b("k"), KeysOnly: true}}}}},
				&pb.PutRequest{Key: b("a"), Value: b("2")},
				&pb.DeleteRangeRequest{Key: b("k")},
			} {
				if _, err := s.do(needsNot); err != nil {
					t.Errorf("%v: %v", needsNot, err)
				}
			}
			s.plant("k", stored)
			_, err := s.do(&pb.PutRequest{Key: b("k"), Value: b("new"), PrevKv: true})
			wantCode(t, err, codes.DataLoss, "the write itself was carried out")
			if s.get("k") != "new" {
				t.Error("it was not")
			}
			if n := s.counter("etcdguard_values_unreadable_total"); n != 7 || !strings.Contains(s.log.String(), "does not open") || strings.Contains(s.log.String(), "secret") {
				t.Errorf("counted %v; logged %s", n, s.log.String())
			}
		})
	}
}

func TestPhases(t *testing.T) {
	for phase, want := range map[keyring.Phase]struct{ seals, readsPlaintext, takesLookalikes bool }{
		keyring.Off:     {false, true, true},
		keyring.CanOpen: {false, true, false},
		keyring.Sealing: {true, true, true},
		keyring.Strict:  {true, false, true},
	} {
		s := newSealedStore(t, keyring.Static(testRing, phase, testKey(1)))
		s.put("k", "v")
		if seal.IsSealed(s.stored("k")) != want.seals || s.get("k") != "v" {
			t.Errorf("%v: stored as %x", phase, s.stored("k"))
		}
		s.plant("p", b("plain"))
		if _, err := s.do(rangeOf("p", "")); (err == nil) != want.readsPlaintext {
			t.Errorf("%v: plaintext: %v", phase, err)
		}
		_, err := s.do(&pb.PutRequest{Key: b("l"), Value: b("\xe5egal")})
		if (err == nil) != want.takesLookalikes {
			t.Errorf("%v: a value that looks sealed: %v", phase, err)
		}
		if !want.takesLookalikes {
			wantCode(t, err, codes.InvalidArgument, "begins with the bytes that mark a sealed value")
		}
	}
}

// Eight clients count by comparing and swapping the value: no increment is lost, and
// none is made twice.
func TestCompareAndSwapOnValueIsExact(t *testing.T) {
	const clients, each = 8, 25
	s := newSealedStore(t, keyring.Static(testRing, keyring.Strict, testKey(1)))
	s.put("n", "0")
	s.put("in a range", "x")
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for done := 0; done < each; {
				a, err := s.do(rangeOf("n", ""))
				if err != nil {
					t.Error(err)
					return
				}
				have := a.(*pb.RangeResponse).Kvs[0].Value
				n, _ := strconv.Atoi(string(have))
				put := putOp("n")
				put.GetRequestPut().Value = strconv.AppendInt(nil, int64(n)+1, 10)
				swapped, err := s.do(&pb.TxnRequest{
					Compare: []*pb.Compare{{Key: b("n"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: have}}},
					Success: []*pb.RequestOp{put},
				})
				if err != nil {
					t.Error(err)
					return
				}
				if swapped.(*pb.TxnResponse).Succeeded {
					done++
				}
			}
		})
	}
	wg.Wait()
	if got := s.get("n"); got != strconv.Itoa(clients*each) {
		t.Errorf("%d clients counted %d each, and came to %s", clients, each, got)
	}
}

// counter is the sum of a counter over its labels.
func (f *fixture) counter(name string) (sum float64) {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.Metric {
				sum += m.Counter.GetValue()
			}
		}
	}
	return sum
}
