package guard

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// serveTxn seals every put of a Txn and opens what its answer shows.
func (g *Guard) serveTxn(ctx context.Context, m *pb.TxnRequest, next grpc.UnaryHandler) (any, error) {
	var w keyring.Write
	writes := etcdapi.Puts(m)
	if writes {
		var err error
		if w, err = g.beginWrite(); err != nil {
			return nil, err
		}
		if err := etcdapi.WalkTxn(m, sealer{w}); err != nil {
			w.Done()
			return nil, err
		}
	}
	answer, err := next(ctx, m)
	if writes {
		endWrite(w, err)
	}
	if a, ok := answer.(*pb.TxnResponse); ok && err == nil {
		err = g.openTxn(m, a)
	}
	return answer, err
}

// sealer is a TxnVisitor that seals each put, in both branches.
type sealer struct{ w keyring.Write }

func (s sealer) VisitPut(m *pb.PutRequest) error             { return sealPut(s.w, m) }
func (sealer) VisitCompare(*pb.Compare) error                { return nil }
func (sealer) VisitRange(*pb.RangeRequest) error             { return nil }
func (sealer) VisitDeleteRange(*pb.DeleteRangeRequest) error { return nil }

// openTxn opens the answers of the branch that was taken, at every depth; they
// mirror its operations.
func (g *Guard) openTxn(m *pb.TxnRequest, a *pb.TxnResponse) error {
	ops := m.Failure
	if a.Succeeded {
		ops = m.Success
	}
	for i, answer := range a.Responses {
		if i >= len(ops) {
			break // etcd answers each operation once
		}
		if err := g.openOp(ops[i], answer); err != nil {
			return err
		}
	}
	return nil
}

func (g *Guard) openOp(op *pb.RequestOp, answer *pb.ResponseOp) error {
	switch a := answer.GetResponse().(type) {
	case *pb.ResponseOp_ResponseRange:
		if !op.GetRequestRange().GetKeysOnly() {
			return g.openAll(a.ResponseRange.Kvs)
		}
	case *pb.ResponseOp_ResponsePut:
		if a.ResponsePut.PrevKv != nil {
			return g.open(a.ResponsePut.PrevKv)
		}
	case *pb.ResponseOp_ResponseDeleteRange:
		return g.openAll(a.ResponseDeleteRange.PrevKvs)
	case *pb.ResponseOp_ResponseTxn:
		return g.openTxn(op.GetRequestTxn(), a.ResponseTxn)
	}
	return nil
}
