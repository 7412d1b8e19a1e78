package identities

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

func txn(r *pb.TxnRequest) func(context.Context, target) error {
	return func(ctx context.Context, t target) error {
		_, err := t.kv().Txn(ctx, r)
		return err
	}
}

func rangeOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: rangeOf(key, end)}}
}

func putOp(key string) *pb.RequestOp {
	r := &pb.PutRequest{Key: []byte(key), Value: []byte("intruder")}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func putPrevOp(key string) *pb.RequestOp {
	op := putOp(key)
	op.GetRequestPut().PrevKv = true
	return op
}

func deleteOp(key, end string) *pb.RequestOp {
	r := &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

// nested is a Txn whose operation hides two levels down, in the branch that an
// always-true condition takes or does not take.
func nested(op *pb.RequestOp, taken bool) *pb.TxnRequest {
	inner := &pb.TxnRequest{Success: []*pb.RequestOp{op}}
	if !taken {
		inner = &pb.TxnRequest{Failure: []*pb.RequestOp{op}}
	}
	wrap := func(t *pb.TxnRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
	}
	return &pb.TxnRequest{Success: []*pb.RequestOp{wrap(&pb.TxnRequest{Success: []*pb.RequestOp{wrap(inner)}})}}
}

func valueIs(key, end string) *pb.TxnRequest {
	return &pb.TxnRequest{Compare: []*pb.Compare{{
		Key: []byte(key), RangeEnd: []byte(end),
		Target: pb.Compare_VALUE, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Value{Value: []byte("a")},
	}}}
}

func previous(r *pb.PutRequest) { r.PrevKv = true }

func watches(key, end string) func(context.Context, target) error {
	return func(ctx context.Context, t target) error { return t.watch(ctx, key, end) }
}

// shapeTechniques are T11: rights stretched by the shape of a request. Each attack
// has its control beside it, which differs from it in nothing but the keys.
func shapeTechniques() []technique {
	return []technique{
		{threat: "T11", name: "a secret read in a nested Txn", do: txn(nested(rangeOp(secret, ""), true)), may: may(admin, apiserver)},
		{threat: "T11", name: "a secret read in a branch that is not taken", do: txn(nested(rangeOp(secret, ""), false)), may: may(admin, apiserver)},
		{threat: "T11", name: "a key outside /registry/ written in a nested Txn", do: txn(nested(putOp("/other/thing"), true)), may: may(admin)},
		{threat: "T11", name: "everything deleted in a branch that is not taken", do: txn(nested(deleteOp("\x00", "\x00"), false)), may: may(admin)},
		{threat: "T11", name: "one's own key read in a nested Txn (control)", do: txn(nested(rangeOp("/tenant/mine", ""), true)), may: may(admin, tenant)},
		{threat: "T11", name: "a secret guessed by comparing", do: txn(valueIs(secret, "")), may: may(admin, apiserver)},
		{threat: "T11", name: "everything guessed by comparing", do: txn(valueIs("\x00", "\x00")), may: may(admin)},
		{threat: "T11", name: "one's own value compared (control)", do: txn(valueIs("/tenant/mine", "")), may: may(admin, tenant)},
		{threat: "T11", name: "put that returns what it overwrites", do: put("/tenant/overwritten", previous), may: may(admin, tenant)},
		{threat: "T11", name: "the same in a Txn", do: txn(&pb.TxnRequest{Success: []*pb.RequestOp{putPrevOp("/tenant/overwritten")}}), may: may(admin, tenant)},
		{threat: "T11", name: "put without it (control)", do: txn(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("/tenant/overwritten")}}), may: may(admin, tenant, writer)},
		{threat: "T11", name: "delete that returns what it deletes", do: remove("/registry/secrets/", secretsEnd, true), may: may(admin), last: true},
		{threat: "T11", name: "range from one's own prefix on", do: get("/tenant/", "\x00"), may: may(admin)},
		{threat: "T11", name: "range from /registry/ on", do: get("/registry/", "\x00"), may: may(admin)},
		{threat: "T11", name: "watch of everything", do: watches("\x00", "\x00"), may: may(admin)},
		{threat: "T11", name: "watch of everything, by an empty key", do: watches("", "\x00"), may: may(admin)},
		{threat: "T11", name: "watch from one's own prefix on", do: watches("/tenant/", "\x00"), may: may(admin)},
		{threat: "T11", name: "watch from /registry/ on", do: watches("/registry/", "\x00"), may: may(admin)},
		{threat: "T11", name: "watch of one's own prefix (control)", do: watches("/tenant/", "/tenant0"), may: may(admin, tenant)},
		{threat: "T11", name: "key names that hang on a lease", may: may(admin), do: func(ctx context.Context, t target) error {
			_, err := t.lease().LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: t.prey.lease, Keys: true})
			return err
		}},
		{threat: "T11", name: "all leases", may: may(admin), do: func(ctx context.Context, t target) error {
			_, err := t.lease().LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
			return err
		}},
		{threat: "T11", name: "another's lease kept alive", may: may(admin), do: keepAlive},
		{threat: "T11", name: "one's own key hung on another's lease", may: may(admin),
			do: func(ctx context.Context, t target) error {
				return put("/tenant/hung", func(r *pb.PutRequest) { r.Lease = t.prey.lease })(ctx, t)
			}},
		{threat: "T11", name: "a field that 3.7 does not know", may: nil, do: func(ctx context.Context, t target) error {
			r := rangeOf("/tenant/mine", "")
			r.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 1))
			_, err := t.kv().Range(ctx, r)
			return err
		}},
		{threat: "T17", name: "range over everything, posing as the JSON gateway", may: may(admin),
			do: func(ctx context.Context, t target) error {
				ctx = metadata.AppendToOutgoingContext(ctx, "grpcgateway-accept", "application/json", "grpcgateway-authorization", "x")
				return get("\x00", "\x00")(ctx, t)
			}},
	}
}

func keepAlive(ctx context.Context, t target) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := t.lease().LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	// A send that fails says only that the stream is over; why, is in the answer.
	_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: t.prey.lease})
	_, err = stream.Recv()
	return err
}
