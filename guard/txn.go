package guard

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// serveTxn seals every put of a Txn, makes its compares on VALUE, orders its ranges by
// VALUE, and opens what its answer shows.
func (g *Guard) serveTxn(ctx context.Context, m *pb.TxnRequest, next grpc.UnaryHandler) (any, error) {
	byValue := etcdapi.ValueCompares(m)
	writes := !etcdapi.ReadsOnly(m)
	var answer *pb.TxnResponse
	var sorted sortedRanges
	var err error
	if writes {
		answer, sorted, err = g.writeTxn(ctx, m, byValue, next)
	} else {
		answer, sorted, err = g.settleTxn(ctx, m, byValue, next)
	}
	if err != nil {
		return nil, err
	}
	if err := g.openTxn(m, answer, sorted); err != nil {
		if writes {
			err = carriedOut(err)
		}
		return nil, err
	}
	return answer, nil
}

func (g *Guard) writeTxn(ctx context.Context, m *pb.TxnRequest, byValue []*pb.Compare, next grpc.UnaryHandler) (_ *pb.TxnResponse, _ sortedRanges, err error) {
	w, err := g.beginWrite()
	if err != nil {
		return nil, nil, err
	}
	defer func() { endWrite(w, err) }()
	if err := g.sealTxn(w, m); err != nil {
		return nil, nil, err
	}
	return g.settleTxn(ctx, m, byValue, next)
}

// settleTxn has etcd carry out a Txn whose puts are sealed. It takes the orders by
// VALUE from m, and returns them.
func (g *Guard) settleTxn(ctx context.Context, m *pb.TxnRequest, byValue []*pb.Compare, next grpc.UnaryHandler) (*pb.TxnResponse, sortedRanges, error) {
	if g.ring.Phase() == keyring.Off {
		answer, err := txn(ctx, m, next)
		return answer, nil, err
	}
	etcdapi.DropStrayValues(m)
	sorted := g.unsort(m)
	if err := g.boundSorted(ctx, sorted, next); err != nil {
		return nil, nil, err
	}
	var answer *pb.TxnResponse
	var err error
	if len(byValue) > 0 {
		answer, err = g.compareTxn(ctx, m, byValue, next)
	} else {
		answer, err = txn(ctx, m, next)
	}
	return answer, sorted, err
}

// sealTxn seals each put, in both branches and at every depth.
func (g *Guard) sealTxn(w keyring.Write, m *pb.TxnRequest) error {
	for _, branch := range [...][]*pb.RequestOp{m.Success, m.Failure} {
		for _, op := range branch {
			var err error
			switch r := op.GetRequest().(type) {
			case *pb.RequestOp_RequestPut:
				err = g.sealPut(w, r.RequestPut)
			case *pb.RequestOp_RequestTxn:
				err = g.sealTxn(w, r.RequestTxn)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
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
		if prev := a.ResponsePut.PrevKv; prev != nil {
			return g.openAll([]*mvccpb.KeyValue{prev})
		}
	case *pb.ResponseOp_ResponseDeleteRange:
		return g.openAll(a.ResponseDeleteRange.PrevKvs)
	case *pb.ResponseOp_ResponseTxn:
		return g.openTxn(op.GetRequestTxn(), a.ResponseTxn, sorted)
	}
	return nil
}
