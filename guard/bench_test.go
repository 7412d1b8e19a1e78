package guard

import (
	"context"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/keyring"
)

// BenchmarkUnary is what the guard adds to a request, with 400 rules about others:
// without a ring, with one, and with a log too (in which a write waits for the disk). Values have 1 KiB.
func BenchmarkUnary(b *testing.B) {
	rules := &strings.Builder{}
	rules.WriteString(testPolicy)
	for i := range 400 {
		fmt.Fprintf(rules, "  - {name: r%d, callers: [writer], actions: [KV.Range], keys: [{prefix: /t%d/}]}\n", i, i)
	}
	f := newFixture(b)
	f.SetPolicy(parsePolicy(b, rules.String()))
	f.limits = Limits{TxnOps: 128, RequestBytes: 1.5 * 1024 * 1024}
	recorded := newRecording(b, nil)
	key, value := []byte("/registry/secrets/default/a"), make([]byte, 1024)
	put := &pb.PutRequest{Key: key}
	sealed := firstKey.Seal(nil, key, value)
	for _, bench := range []struct {
		name, caller, method string
		request              proto.Message
		answer               func(sealed []byte) any
	}{
		{"put", "admin", "Put", put, func([]byte) any { return &pb.PutResponse{} }},
		{"range", "apiserver", "Range", &pb.RangeRequest{Key: key}, func(stored []byte) any {
			return &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: key, Value: stored}}}
		}},
		{"txn", "apiserver", "Txn", &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 1}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
		}, func([]byte) any {
			return &pb.TxnResponse{Succeeded: true, Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}}}}
		}},
	} {
		info := &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/" + bench.method}
		ring := keyring.Static(testRing, keyring.Strict, firstKey)
		for _, with := range []struct {
			name   string
			ring   *keyring.Ring
			stored []byte
			log    *audit.Log
		}{{"plain", nil, value, nil}, {"sealed", ring, sealed, nil}, {"recorded", ring, sealed, recorded.log}} {
			b.Run(bench.name+"/"+with.name, func(b *testing.B) {
				f.useRing(with.ring)
				f.Guard.audit = with.log
				ctx := metadata.NewIncomingContext(as(bench.caller), metadata.Pairs(
					":authority", "x", "content-type", "application/grpc", "user-agent", "x", "client-api-version", "3.7"))
				next := func(context.Context, any) (any, error) { return bench.answer(with.stored), nil }
				b.ReportAllocs()
				for b.Loop() {
					put.Value = value // which a guard with a ring replaces
					if _, err := f.Unary(ctx, bench.request, info, next); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
