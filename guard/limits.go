package guard

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/seal"
)

// Limits are the bounds on requests that clients know: etcd's max-txn-ops and
// max-request-bytes.
type Limits etcdapi.Limits

// Server is what the server behind the guard has to be given, so that a request
// within the limits is within its limits, too, once it is sealed and wrapped.
//
// The bytes are enough for some eight thousand seals. A Txn nested many times over can
// hold more puts; one that is larger than that for its seals alone is refused.
func (l Limits) Server() Limits {
	const wrapping = 512 << 10 // seals; compares on the mod revisions of what a Txn compares by value
	return Limits{
		TxnOps:       l.TxnOps + 2*comparedKeys + 1,
		RequestBytes: l.RequestBytes + l.TxnOps*seal.Overhead + wrapping,
	}
}

// overLimits reports whether a request, as it came, is beyond the limits that clients
// know. It is changed then so that etcd itself refuses it: of several mistakes in one
// request it still names the one that it always did.
func (g *Guard) overLimits(ctx context.Context, m proto.Message) bool {
	over := false
	if t, ok := m.(*pb.TxnRequest); ok && g.limits.TxnOps > 0 && etcdapi.ExceedsTxnOps(t, g.limits.TxnOps) {
		etcdapi.OverTxnOps(t, g.limits.TxnOps, g.limits.Server().TxnOps)
		over = true
	}
	// The header's size is looked up only for what is near the limit.
	const header = 1 << 10
	if most := g.limits.RequestBytes; most > 0 && proto.Size(m) > most-header &&
		etcdapi.EntryBytes(m, g.etcd.EntryHeader(ctx)) > most {
		etcdapi.OverRequestBytes(m, g.limits.Server().RequestBytes)
		over = true
	}
	return over
}
