package identities

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// technique is one thing that etcd is attacked with; THREATS names them T1 to T19.
type technique struct {
	threat string
	name   string
	// do tries it and cleans up after itself where it succeeds.
	do func(ctx context.Context, t target) error
	// may are the identities that it is allowed to. Everybody else is refused.
	may []string
	// etcd is what etcd itself says of it, when it is allowed; OK if it simply works.
	etcd codes.Code
	// gone marks what stock etcd 3.7 does not have either.
	gone bool
	// last marks what leaves little for the techniques after it.
	last bool
}

func may(names ...string) []string { return names }

// techniques are all of them, in the order of the threats.
func techniques() []technique {
	return slices.Concat(readTechniques(), writeTechniques(), shapeTechniques(), clusterTechniques(), authTechniques(), httpTechniques())
}

// get is a Range from key to end and what else the options make of it.
func get(key, end string, options ...func(*pb.RangeRequest)) func(context.Context, target) error {
	return func(ctx context.Context, t target) error {
		_, err := t.kv().Range(ctx, rangeOf(key, end, options...))
		return err
	}
}

func rangeOf(key, end string, options ...func(*pb.RangeRequest)) *pb.RangeRequest {
	r := &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
	for _, o := range options {
		o(r)
	}
	return r
}

func keysOnly(r *pb.RangeRequest)     { r.KeysOnly = true }
func countOnly(r *pb.RangeRequest)    { r.CountOnly = true }
func serializable(r *pb.RangeRequest) { r.Serializable = true }
func oneKey(r *pb.RangeRequest)       { r.Limit = 1 }
func oldest(r *pb.RangeRequest) {
	r.SortTarget, r.SortOrder = pb.RangeRequest_CREATE, pb.RangeRequest_ASCEND
}

// readTechniques are T2, T3 and T18: reading in bulk, and reading the neighbours.
func readTechniques() []technique {
	stream := func(key, end string) func(context.Context, target) error {
		return func(ctx context.Context, t target) error {
			s, err := t.kv().RangeStream(ctx, rangeOf(key, end))
			return drain(s, err)
		}
	}
	return []technique{
		{threat: "T2", name: "range over all secrets", do: get(secret[:len("/registry/secrets/")], secretsEnd), may: may(admin, apiserver)},
		{threat: "T2", name: "one secret by its name", do: get(secret, ""), may: may(admin, apiserver)},
		{threat: "T2", name: "serializable range over all secrets", do: get("/registry/secrets/", secretsEnd, serializable), may: may(admin, apiserver)},
		{threat: "T2", name: "key names of all secrets", do: get("/registry/secrets/", secretsEnd, keysOnly), may: may(admin, apiserver)},
		{threat: "T2", name: "range over everything", do: get("\x00", "\x00"), may: may(admin)},
		{threat: "T2", name: "key names of everything", do: get("\x00", "\x00", keysOnly), may: may(admin)},
		{threat: "T2", name: "count of everything", do: get("\x00", "\x00", countOnly), may: may(admin)},
		{threat: "T2", name: "everything, one key at a time", do: get("\x00", "\x00", oneKey, oldest), may: may(admin)},
		{threat: "T2", name: "the prefix that holds /registry/ and more", do: get("/", "0"), may: may(admin)},
		{threat: "T2", name: "stream over everything", do: stream("\x00", "\x00"), may: may(admin)},
		{threat: "T2", name: "stream over all secrets", do: stream("/registry/secrets/", secretsEnd), may: may(admin, apiserver)},
		{threat: "T2", name: "watch all secrets from their first revision", may: may(admin, apiserver),
			do: func(ctx context.Context, t target) error { return t.watch(ctx, "/registry/secrets/", secretsEnd) }},
		{threat: "T3", name: "snapshot", may: may(admin, backup), do: func(ctx context.Context, t target) error {
			s, err := t.maintenance().Snapshot(ctx, &pb.SnapshotRequest{})
			return drain(s, err)
		}},
		{threat: "T3", name: "hash of the backend", may: may(admin), do: func(ctx context.Context, t target) error {
			_, err := t.maintenance().Hash(ctx, &pb.HashRequest{})
			return err
		}},
		{threat: "T3", name: "hash of the keys", may: may(admin), do: func(ctx context.Context, t target) error {
			_, err := t.maintenance().HashKV(ctx, &pb.HashKVRequest{})
			return err
		}},
		{threat: "T18", name: "a neighbour's key", do: get("/other/thing", ""), may: may(admin)},
		{threat: "T18", name: "the key right after one's own prefix", do: get("/tenant/", "/tenanu\x00"), may: may(admin)},
		{threat: "T18", name: "one's own prefix (control)", do: get("/tenant/", "/tenant0"), may: may(admin, tenant)},
		{threat: "T18", name: "etcdguard's own keys, by name", do: get("\x00etcdguard/", ""), may: nil},
		{threat: "T18", name: "etcdguard's own keys, by range", do: get("\x00", "\x01"), may: nil},
	}
}

// put is a bare Put of an intruder's value.
func put(key string, options ...func(*pb.PutRequest)) func(context.Context, target) error {
	return func(ctx context.Context, t target) error {
		r := &pb.PutRequest{Key: []byte(key), Value: []byte("intruder")}
		for _, o := range options {
			o(r)
		}
		_, err := t.kv().Put(ctx, r)
		return err
	}
}

func remove(key, end string, previous bool) func(context.Context, target) error {
	return func(ctx context.Context, t target) error {
		_, err := t.kv().DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKv: previous})
		return err
	}
}

// writeTechniques are T4, T6 and T8: writing past the API server, and wiping out.
func writeTechniques() []technique {
	return []technique{
		{threat: "T4", name: "bare put of a pod", do: put(pod), may: may(admin)},
		{threat: "T4", name: "bare put over a secret", do: put(secret), may: may(admin)},
		{threat: "T4", name: "bare put of kube-apiserver's compaction mark", do: put("compact_rev_key"), may: may(admin)},
		{threat: "T4", name: "put into one's own prefix (control)", do: put("/tenant/control"), may: may(admin, tenant, writer)},
		{threat: "T4", name: "put of a neighbour's key", do: put("/other/thing"), may: may(admin)},
		{threat: "T6", name: "bare put of a cluster role binding", do: put("/registry/clusterrolebindings/intruder"), may: may(admin)},
		{threat: "T6", name: "bare put of a webhook", do: put("/registry/validatingwebhookconfigurations/intruder"), may: may(admin)},
		{threat: "T6", name: "bare put of an API service", do: put("/registry/apiregistration.k8s.io/apiservices/intruder"), may: may(admin)},
		{threat: "T6", name: "put of a role binding in a Txn, as the API server writes", may: may(admin, apiserver),
			do: txn(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("/registry/clusterrolebindings/fromtxn")}})},
		{threat: "T8", name: "bare delete of all events", do: remove("/registry/events/", "/registry/events0", false), may: may(admin)},
		{threat: "T8", name: "delete of everything", do: remove("\x00", "\x00", false), may: may(admin), last: true},
		{threat: "T8", name: "delete of everything in a Txn", may: may(admin), last: true,
			do: txn(&pb.TxnRequest{Success: []*pb.RequestOp{deleteOp("\x00", "\x00")}})},
		{threat: "T8", name: "compaction to the head", may: may(admin), last: true, do: func(ctx context.Context, t target) error {
			// Any answer carries the head, a denied one does not; an attacker would
			// try what is likely.
			head, err := t.maintenance().Status(ctx, &pb.StatusRequest{})
			revision := int64(8)
			if err == nil {
				revision = head.Header.Revision
			}
			_, err = t.kv().Compact(ctx, &pb.CompactionRequest{Revision: revision})
			return err
		}},
		{threat: "T8", name: "revocation of the lease that events hang on", may: may(admin), last: true,
			do: func(ctx context.Context, t target) error {
				_, err := t.lease().LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: t.prey.lease})
				return err
			}},
	}
}
