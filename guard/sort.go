package guard

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// sortedKeys bounds the keys that one request has ordered by VALUE: all of their
// values are in memory at once.
const sortedKeys = 100_000

var errTooManySorted = status.Error(codes.ResourceExhausted,
	fmt.Sprintf("etcdguard: a range of more than %d keys can't be ordered by VALUE; narrow it, or order it at the client", sortedKeys))

// sortedHere reports whether the guard has to order the answer itself: by values
// that etcd does not know. What etcd would refuse is left to it.
func (g *Guard) sortedHere(m *pb.RangeRequest) bool {
	_, known := pb.RangeRequest_SortOrder_name[int32(m.SortOrder)]
	return known && etcdapi.SortsByValue(m) && g.ring.Phase() != keyring.Off
}

// serveSorted is the way of a Range that the guard orders.
func (g *Guard) serveSorted(ctx context.Context, m *pb.RangeRequest, next grpc.UnaryHandler) (any, error) {
	answer, err := next(ctx, etcdapi.Unsorted(m, sortedKeys+1))
	a, ok := answer.(*pb.RangeResponse)
	if !ok || err != nil {
		return answer, err
	}
	if len(a.Kvs) > sortedKeys {
		return nil, errTooManySorted
	}
	return a, g.openSorted(m, a)
}

// openSorted makes the answer that a client asked for of one that is not in order.
func (g *Guard) openSorted(asked *pb.RangeRequest, a *pb.RangeResponse) error {
	if err := g.openAll(a.Kvs); err != nil {
		return err
	}
	etcdapi.SortKVs(asked, a)
	return nil
}

// sortedRanges are the ranges of a Txn that the guard orders, as the client asked for
// them, by what etcd is asked instead.
type sortedRanges map[*pb.RangeRequest]*pb.RangeRequest

// unsort takes the order by VALUE from the ranges of a Txn.
func (g *Guard) unsort(m *pb.TxnRequest) sortedRanges {
	var sorted sortedRanges
	for _, branch := range [...][]*pb.RequestOp{m.Success, m.Failure} {
		for _, op := range branch {
			switch r := op.GetRequest().(type) {
			case *pb.RequestOp_RequestRange:
				if asked := r.RequestRange; asked != nil && g.sortedHere(asked) {
					r.RequestRange = etcdapi.Unsorted(asked, 0)
					sorted = sorted.with(sortedRanges{r.RequestRange: asked})
				}
			case *pb.RequestOp_RequestTxn:
				if r.RequestTxn != nil {
					sorted = sorted.with(g.unsort(r.RequestTxn))
				}
			}
		}
	}
	return sorted
}

func (s sortedRanges) with(more sortedRanges) sortedRanges {
	if s == nil {
		return more
	}
	for unsorted, asked := range more {
		s[unsorted] = asked
	}
	return s
}

// boundSorted refuses a Txn that has more ordered by VALUE than it may: before it is
// carried out, since afterwards its answer would be owed. So keys are counted that may
// be gone by then, or new ones come; it is a bound on memory, and need not be exact.
func (g *Guard) boundSorted(ctx context.Context, sorted sortedRanges, next grpc.UnaryHandler) error {
	if len(sorted) == 0 {
		return nil
	}
	counts := &pb.TxnRequest{}
	var limits []int64
	for unsorted, asked := range sorted {
		counts.Success = append(counts.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{
			Key: asked.Key, RangeEnd: asked.RangeEnd, Revision: asked.Revision, CountOnly: true, Serializable: true,
		}}})
		limits = append(limits, unsorted.Limit)
	}
	if len(limits) > comparedKeys {
		return errTooManySorted // more than such a Txn may hold
	}
	counted, err := txn(ctx, counts, next)
	if err != nil {
		return nil // what is wrong with it, the Txn itself will be told
	}
	keys := int64(0)
	for i, answer := range counted.Responses {
		n := answer.GetResponseRange().GetCount()
		if limits[i] > 0 {
			n = min(n, limits[i])
		}
		if keys += n; keys > sortedKeys {
			return errTooManySorted
		}
	}
	return nil
}
