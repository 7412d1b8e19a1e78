package guard

import (
	"context"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// BenchmarkUnary is what the guard adds to a request, with 400 rules about others.
func BenchmarkUnary(b *testing.B) {
	rules := &strings.Builder{}
	rules.WriteString(testPolicy)
	for i := range 400 {
		fmt.Fprintf(rules, "  - {name: r%d, callers: [writer], actions: [KV.Range], keys: [{prefix: /t%d/}]}\n", i, i)
	}
	f := newFixture(b)
	f.SetPolicy(parsePolicy(b, rules.String()))
	key, value := []byte("/registry/secrets/default/a"), make([]byte, 1024)
	for _, bench := range []struct {
		name, caller, method string
		request              proto.Message
	}{
		{"put", "admin", "Put", &pb.PutRequest{Key: key, Value: value}},
		{"range", "apiserver", "Range", &pb.RangeRequest{Key: key}},
		{"txn", "apiserver", "Txn", &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 1}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			ctx := metadata.NewIncomingContext(as(bench.caller), metadata.Pairs(
				":authority", "x", "content-type", "application/grpc", "user-agent", "x", "client-api-version", "3.7"))
			info := &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/" + bench.method}
			answer := &pb.PutResponse{}
			next := func(context.Context, any) (any, error) { return answer, nil }
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Unary(ctx, bench.request, info, next); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
