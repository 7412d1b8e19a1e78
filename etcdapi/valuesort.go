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
// everything that the order is over, and its answer is to go through SortByValue. most
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

// SortByValue makes of the opened answer to Unsorted what etcd answers to r: ordered,
// cut to the limit, and without values if only keys were asked for.
func SortByValue(r *pb.RangeRequest, a *pb.RangeResponse) {
	// etcd's sort is not stable, so that equal values come in an order that depends on
	// the algorithm: this is the same one.
	var order sort.Interface = byValue(a.Kvs)
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

type byValue []*mvccpb.KeyValue

func (s byValue) Len() int           { return len(s) }
func (s byValue) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s byValue) Less(i, j int) bool { return bytes.Compare(s[i].Value, s[j].Value) < 0 }
