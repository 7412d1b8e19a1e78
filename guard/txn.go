package guard

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

const (
	// comparedKeys bounds the keys that the compares on VALUE of one Txn are about:
	// each becomes a compare on its mod revision.
	comparedKeys = 1024
	// compareAttempts bounds how often a Txn is tried again because what it compares
	// changed between being read and being compared.
	compareAttempts = 64
	// sortedKeys bounds the keys of one range that are ordered by VALUE: all of their
	// values are in memory at once.
	sortedKeys = 100_000
)

// serveTxn seals every put of a Txn, evaluates its compares on VALUE, and opens what
// its answer shows.
func (g *Guard) serveTxn(ctx context.Context, m *pb.TxnRequest, next grpc.UnaryHandler) (any, error) {
	compares := g.valueCompares(m)
	if etcdapi.Puts(m) || len(compares) > 0 {
		w, err := g.beginWrite()
		if err != nil {
			return nil, err
		}
		defer func() { endWrite(w, err) }()
		if err = etcdapi.WalkTxn(m, sealer{w}); err != nil {
			return nil, err
		}
		answer, err := g.settleTxn(ctx, m, compares, next)
		return answer, err
	}
	return g.settleTxn(ctx, m, nil, next)
}

// valueCompares are the compares that etcd cannot make, because what it has is
// sealed, or may be.
func (g *Guard) valueCompares(m *pb.TxnRequest) []*pb.Compare {
	if g.ring.Phase() == keyring.Off {
		return nil
	}
	return etcdapi.ValueCompares(m)
}

// settleTxn has etcd carry out a Txn whose puts are sealed.
func (g *Guard) settleTxn(ctx context.Context, m *pb.TxnRequest, compares []*pb.Compare, next grpc.UnaryHandler) (any, error) {
	var sorted sortedRanges
	if g.ring.Phase() != keyring.Off {
		sorted = unsort(m)
	}
	var answer any
	var err error
	if len(compares) == 0 {
		answer, err = next(ctx, m)
	} else {
		answer, err = g.compareTxn(ctx, m, compares, next)
	}
	if a, ok := answer.(*pb.TxnResponse); ok && err == nil {
		err = g.openTxn(m, a, sorted)
	}
	return answer, err
}

// compareTxn carries out a Txn with compares on VALUE. What they are about is read
// at one revision, opened and compared here; the Txn then runs with the outcomes
// written into it, on the condition that nothing of what was read has changed since.
// If it has, all of it is done again.
//
// Both calls go the way of the client's own request, so that etcd judges the same
// caller.
func (g *Guard) compareTxn(ctx context.Context, m *pb.TxnRequest, compares []*pb.Compare, next grpc.UnaryHandler) (any, error) {
	if len(compares) > comparedKeys {
		return nil, errTooManyCompared
	}
	for range compareAttempts {
		found, revision, err := g.subjects(ctx, compares, next)
		if err != nil {
			return nil, err
		}
		outcomes := make([]bool, len(compares))
		for i, c := range compares {
			outcomes[i] = etcdapi.CompareValue(c, found[i])
		}
		answer, err := next(ctx, etcdapi.Unless(etcdapi.Settled(m, outcomes), compares, found, revision))
		if err != nil {
			return nil, err
		}
		outer, ok := answer.(*pb.TxnResponse)
		if !ok {
			return nil, status.Errorf(codes.Internal, "etcdguard: a Txn was answered with %T", answer)
		}
		if outer.Succeeded && len(outer.Responses) == 1 && outer.Responses[0].GetResponseTxn() != nil {
			inner := outer.Responses[0].GetResponseTxn()
			inner.Header = outer.Header
			return inner, nil
		}
	}
	return nil, unavailable("what the Txn compares by value changed each time before it could be compared; try again")
}

var errTooManyCompared = status.Error(codes.ResourceExhausted,
	fmt.Sprintf("etcdguard: the compares on VALUE of one Txn can be about %d keys at most", comparedKeys))

// subjects reads and opens what compares are about, in one go.
func (g *Guard) subjects(ctx context.Context, compares []*pb.Compare, next grpc.UnaryHandler) (found [][]*mvccpb.KeyValue, revision int64, err error) {
	answer, err := next(ctx, etcdapi.Subjects(compares, comparedKeys+1))
	if err != nil {
		return nil, 0, err
	}
	read, ok := answer.(*pb.TxnResponse)
	if !ok || len(read.Responses) != len(compares) {
		return nil, 0, status.Error(codes.Internal, "etcdguard: a Txn that reads was not answered as one")
	}
	keys := 0
	for _, response := range read.Responses {
		kvs := response.GetResponseRange().GetKvs()
		if keys += len(kvs); keys > comparedKeys {
			return nil, 0, errTooManyCompared
		}
		if err := g.openAll(kvs); err != nil {
			return nil, 0, err
		}
		found = append(found, kvs)
	}
	return found, read.Header.Revision, nil
}

// sealer is a TxnVisitor that seals each put, in both branches.
type sealer struct{ w keyring.Write }

func (s sealer) VisitPut(m *pb.PutRequest) error             { return sealPut(s.w, m) }
func (sealer) VisitCompare(*pb.Compare) error                { return nil }
func (sealer) VisitRange(*pb.RangeRequest) error             { return nil }
func (sealer) VisitDeleteRange(*pb.DeleteRangeRequest) error { return nil }

// sortedRanges are the ranges of a Txn that the guard sorts, as the client asked for
// them, by what etcd is asked instead.
type sortedRanges map[*pb.RangeRequest]*pb.RangeRequest

// unsort takes the order by VALUE from the ranges of a Txn.
func unsort(m *pb.TxnRequest) sortedRanges {
	var sorted sortedRanges
	for _, branch := range [][]*pb.RequestOp{m.Success, m.Failure} {
		for _, op := range branch {
			switch r := op.GetRequest().(type) {
			case *pb.RequestOp_RequestRange:
				if asked := r.RequestRange; asked != nil && sortedHere(asked) {
					r.RequestRange = etcdapi.Unsorted(asked, sortedKeys+1)
					sorted = sorted.with(sortedRanges{r.RequestRange: asked})
				}
			case *pb.RequestOp_RequestTxn:
				if r.RequestTxn != nil {
					sorted = sorted.with(unsort(r.RequestTxn))
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

// openTxn opens the answers of the branch that was taken, at every depth; they
// mirror its operations.
func (g *Guard) openTxn(m *pb.TxnRequest, a *pb.TxnResponse, sorted sortedRanges) error {
	ops := m.Failure
	if a.Succeeded {
		ops = m.Success
	}
	if len(a.Responses) != len(ops) {
		return status.Errorf(codes.Internal, "etcdguard: %d operations of a Txn have %d answers", len(ops), len(a.Responses))
	}
	for i, answer := range a.Responses {
		if err := g.openOp(ops[i], answer, sorted); err != nil {
			return err
		}
	}
	return nil
}

func (g *Guard) openOp(op *pb.RequestOp, answer *pb.ResponseOp, sorted sortedRanges) error {
	switch a := answer.GetResponse().(type) {
	case *pb.ResponseOp_ResponseRange:
		r := op.GetRequestRange()
		if asked, ok := sorted[r]; ok {
			return g.openSorted(asked, a.ResponseRange)
		}
		if !r.GetKeysOnly() {
			return g.openAll(a.ResponseRange.Kvs)
		}
	case *pb.ResponseOp_ResponsePut:
		if a.ResponsePut.PrevKv != nil {
			return g.open(a.ResponsePut.PrevKv)
		}
	case *pb.ResponseOp_ResponseDeleteRange:
		return g.openAll(a.ResponseDeleteRange.PrevKvs)
	case *pb.ResponseOp_ResponseTxn:
		return g.openTxn(op.GetRequestTxn(), a.ResponseTxn, sorted)
	}
	return nil
}
