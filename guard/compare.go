package guard

import (
	"context"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/etcdapi"
)

const (
	// comparedKeys bounds the keys that the compares on VALUE of one Txn are about:
	// each becomes a compare on its mod revision.
	comparedKeys = 1024
	// compareAttempts bounds how often a Txn is tried because what it compares changed
	// between being read and being compared.
	compareAttempts = 64
)

var errTooManyCompared = status.Error(codes.ResourceExhausted,
	fmt.Sprintf("etcdguard: the compares on VALUE of one Txn can be about %d keys at most; compare fewer, or their versions or revisions", comparedKeys))

// comparison carries out a Txn with compares on VALUE, which etcd can't make. What
// they are about is read at one revision, opened and compared here. Then etcd does
// what follows, on the condition that nothing of what was read has changed since; if
// it has, etcd reads it again in the same step.
//
// All of it goes the way of the client's own request, so that etcd judges the same
// caller.
type comparison struct {
	guard    *Guard
	asked    *pb.TxnRequest
	readOnly bool // etcd would serve it without the raft log, and does
	compares []*pb.Compare
	reads    []*pb.RequestOp // of what the compares are about
}

func (g *Guard) compareTxn(ctx context.Context, m *pb.TxnRequest, compares []*pb.Compare, next grpc.UnaryHandler) (*pb.TxnResponse, error) {
	c := comparison{guard: g, asked: m, readOnly: etcdapi.ReadsOnly(m), compares: compares}
	if c.readOnly {
		c.compares = m.Compare // its other compares are made here, too
	}
	if len(c.compares) > comparedKeys {
		return nil, errTooManyCompared
	}
	c.reads = etcdapi.Subjects(c.compares, comparedKeys+1, c.readOnly && etcdapi.Serializable(m))
	read, err := txn(ctx, &pb.TxnRequest{Success: c.reads}, next)
	if err != nil {
		return nil, c.refused(ctx, err, next)
	}
	for range compareAttempts {
		found, err := c.open(read)
		if err != nil {
			return nil, err
		}
		request, succeeds := c.request(found)
		request.Compare = etcdapi.Unchanged(c.compares, found, read.Header.Revision)
		answer, err := txn(ctx, request, next)
		if err != nil {
			return nil, c.refused(ctx, err, next)
		}
		if answer.Succeeded {
			return c.answer(answer, succeeds)
		}
		read = answer
	}
	return nil, unavailable("what the Txn compares by value changed each time before it could be compared; try again")
}

func txn(ctx context.Context, m *pb.TxnRequest, next grpc.UnaryHandler) (*pb.TxnResponse, error) {
	answer, err := next(ctx, m)
	if err != nil {
		return nil, err
	}
	a, ok := answer.(*pb.TxnResponse)
	if !ok {
		return nil, status.Errorf(codes.Internal, "etcdguard: a Txn was answered with %T", answer)
	}
	return a, nil
}

// refused is the answer to a Txn of which a part was refused. Etcd looks at a whole
// request before it looks at who asks, and at that before it does anything; of several
// mistakes it is to name the one that it always did.
func (c *comparison) refused(ctx context.Context, why error, next grpc.UnaryHandler) error {
	switch status.Code(why) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		return why
	}
	all := etcdapi.Settled(c.asked, make([]bool, len(etcdapi.ValueCompares(c.asked))))
	if c.readOnly {
		all.Success, all.Failure = etcdapi.Counts(all.Success), etcdapi.Counts(all.Failure)
	} else { // in a branch that is never taken
		all = &pb.TxnRequest{Compare: []*pb.Compare{c.never()}, Success: []*pb.RequestOp{nested(all)}}
	}
	if _, err := next(ctx, all); err != nil {
		return err
	}
	return why
}

// never is a compare that fails, on a key that the caller asks about anyway.
func (c *comparison) never() *pb.Compare {
	for _, compare := range c.compares {
		if len(compare.Key) > 0 {
			return etcdapi.Constant(compare, false)
		}
	}
	return etcdapi.Constant(&pb.Compare{Key: etcdapi.FirstClientKey}, false) // etcd refuses the others for their keys
}

func nested(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

// open opens what was read: for each compare the keys that it is about.
func (c *comparison) open(read *pb.TxnResponse) (found [][]*mvccpb.KeyValue, err error) {
	if len(read.Responses) < len(c.reads) {
		return nil, status.Error(codes.Internal, "etcdguard: a Txn that reads was not answered as one")
	}
	keys := 0
	for i, response := range read.Responses[:len(c.reads)] {
		kvs := response.GetResponseRange().GetKvs()
		if keys += len(kvs); keys > comparedKeys {
			return nil, errTooManyCompared
		}
		if c.compares[i].Target == pb.Compare_VALUE {
			if err := c.guard.openAll(kvs); err != nil {
				return nil, err
			}
		}
		found = append(found, kvs)
	}
	return found, nil
}

// request is what is left to do, given what the compares are about, or else to read
// that again. Of a Txn that reads, it is the branch to take; the other one is counted
// instead, so that etcd judges both. Of another it is all, with the outcomes written
// into it: it goes through the raft log anyway, where its other compares are made.
func (c *comparison) request(found [][]*mvccpb.KeyValue) (request *pb.TxnRequest, succeeds bool) {
	outcomes := make([]bool, len(c.compares))
	succeeds = true
	for i, compare := range c.compares {
		outcomes[i] = etcdapi.Holds(compare, found[i])
		succeeds = succeeds && outcomes[i]
	}
	if !c.readOnly {
		return &pb.TxnRequest{Success: []*pb.RequestOp{nested(etcdapi.Settled(c.asked, outcomes))}, Failure: c.reads}, false
	}
	taken, other := c.asked.Failure, c.asked.Success
	if succeeds {
		taken, other = other, taken
	}
	return &pb.TxnRequest{Success: taken, Failure: slices.Concat(c.reads, etcdapi.Counts(other))}, succeeds
}

// answer makes the answer to what was asked of that to what was done.
func (c *comparison) answer(done *pb.TxnResponse, succeeds bool) (*pb.TxnResponse, error) {
	if c.readOnly {
		done.Succeeded = succeeds
		return done, nil
	}
	if len(done.Responses) != 1 || done.Responses[0].GetResponseTxn() == nil {
		return nil, status.Error(codes.Internal, "etcdguard: a nested Txn was not answered as one")
	}
	inner := done.Responses[0].GetResponseTxn()
	inner.Header = done.Header
	return inner, nil
}
