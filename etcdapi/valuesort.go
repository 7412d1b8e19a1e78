package etcdapi

import (
	"bytes"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// SortsByValue reports whether etcd would order the answer to r by what the values
// are.
func SortsByValue(r *pb.RangeRequest) bool {
	return r.SortTarget == pb.RangeRequest_VALUE && !r.CountOnly
}

// Unsorted is r without its order by VALUE: it reads, in the order of the keys,
// everything that the order is over, and its answer is to go through SortKVs. most
// bounds the keys; 0 is no bound.
//
// Without a direction etcd sorts no more than the first limit+1 keys, and with one, or
// with a filter on revisions, all of them (server/etcdserver/txn/range.go, rangeLimit).
func Unsorted(r *pb.RangeRequest, most int64) *pb.RangeRequest {
	all := &pb.RangeRequest{
		Key: r.Key, RangeEnd: r.RangeEnd, Revision: r.Revision, Serializable: r.Serializable,
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
		Limit: most,
	}
	filters := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	if r.SortOrder == pb.RangeRequest_NONE && !filters && r.Limit > 0 && (most == 0 || r.Limit < most) {
		all.Limit = r.Limit + 1
	}
	return all
}

// SortKVs makes of what was read, and opened, what etcd answers to r: ordered by the
// target, cut to the limit, and without values if only keys were asked for.
func SortKVs(r *pb.RangeRequest, a *pb.RangeResponse) {
	// etcd's sort is not stable, so that what is equal comes in an order that depends on
	// the algorithm: this is the same one.
	var order sort.Interface = &kvsBy{a.Kvs, lessBy[r.SortTarget]}
	if r.SortOrder == pb.RangeRequest_DESCEND {
		order = sort.Reverse(order)
	}
	sort.Sort(order)
	a.More = r.Limit > 0 && int64(len(a.Kvs)) > r.Limit
	if a.More {
		a.Kvs = a.Kvs[:r.Limit]
	}
	if r.KeysOnly {
		for _, kv := range a.Kvs {
			kv.Value = nil
		}
	}
}

// lessBy are etcd's orders (server/etcdserver/txn/range.go).
var lessBy = map[pb.RangeRequest_SortTarget]func(a, b *mvccpb.KeyValue) bool{
	pb.RangeRequest_KEY:     func(a, b *mvccpb.KeyValue) bool { return bytes.Compare(a.Key, b.Key) < 0 },
	pb.RangeRequest_VERSION: func(a, b *mvccpb.KeyValue) bool { return a.Version < b.Version },
	pb.RangeRequest_CREATE:  func(a, b *mvccpb.KeyValue) bool { return a.CreateRevision < b.CreateRevision },
	pb.RangeRequest_MOD:     func(a, b *mvccpb.KeyValue) bool { return a.ModRevision < b.ModRevision },
	pb.RangeRequest_VALUE:   func(a, b *mvccpb.KeyValue) bool { return bytes.Compare(a.Value, b.Value) < 0 },
}

type kvsBy struct {
	kvs  []*mvccpb.KeyValue
	less func(a, b *mvccpb.KeyValue) bool
}

func (s *kvsBy) Len() int           { return len(s.kvs) }
func (s *kvsBy) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s *kvsBy) Less(i, j int) bool { return s.less(s.kvs[i], s.kvs[j]) }
