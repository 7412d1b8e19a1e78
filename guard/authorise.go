package guard

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
)

// authorise asks the policy about everything that the message may do. One access
// that is not allowed denies the whole.
func (g *Guard) authorise(ctx context.Context, r *Request) error {
	a := access{g, ctx, r}
	switch m := r.message.(type) {
	case *pb.RangeRequest:
		return a.read(r.action, m)
	case *pb.PutRequest:
		return a.put(etcdapi.KVPut, etcdapi.KVRange, m)
	case *pb.DeleteRangeRequest:
		return a.deleteRange(etcdapi.KVDeleteRange, etcdapi.KVRange, m)
	case *pb.TxnRequest:
		if err := a.decide(audit.Access{Action: etcdapi.KVTxn}); err != nil {
			return err
		}
		return etcdapi.WalkTxn(m, txnAccess{a})
	case *pb.CompactionRequest:
		return a.compact(m)
	case *pb.WatchRequest:
		if c := m.GetCreateRequest(); c != nil {
			return a.decide(audit.Access{Action: etcdapi.WatchWatch, Keys: etcdapi.NewRange(c.Key, c.RangeEnd),
				Revision: c.StartRevision, PrevKV: c.PrevKv})
		}
		return nil // cancel and progress concern watches that were allowed
	case *pb.LeaseRevokeRequest:
		return a.revokeLease(m)
	default:
		return a.decide(audit.Access{Action: r.action})
	}
}

// access judges the parts of one request.
type access struct {
	g   *Guard
	ctx context.Context
	r   *Request
}

// decide asks the policy about one access that a request names, and counts and
// records what it says. What a request only drags in is asked about elsewhere: keys on
// leases in lease.go, watches that a new policy finds open in watch.go.
func (a access) decide(asked audit.Access) error {
	d := a.r.caller.subject.Decide(asked.Action, asked.Keys)
	a.r.judged(asked, d)
	switch {
	case !d.Allowed:
		return a.g.deny(a.r.caller, asked.Action, asked.Keys)
	case d.Observed:
		a.g.observe(a.r.caller, asked.Action, asked.Keys)
	default:
		a.g.count(a.r.caller, asked.Action, allowed)
	}
	return nil
}

func (a access) read(action etcdapi.Action, m *pb.RangeRequest) error {
	asked := rangeAccess(action, m)
	if err := a.decide(asked); err != nil {
		return err
	}
	most := a.r.caller.limits.KeysPerRange
	if most > 0 && asked.Keys.Kind != etcdapi.Point && !m.CountOnly && (m.Limit <= 0 || m.Limit > most) {
		return a.g.limited(a.r, "keys per range", errPermissionDenied)
	}
	return nil
}

// put also judges what rides on a put: the previous value is a read, and a lease
// ties the key to all others that hang on it (CVE-2026-44283).
func (a access) put(write, read etcdapi.Action, m *pb.PutRequest) error {
	asked := putAccess(write, m)
	if err := a.decide(asked); err != nil {
		return err
	}
	if m.PrevKv {
		if err := a.decide(audit.Access{Action: read, Keys: asked.Keys}); err != nil {
			return err
		}
	}
	if most := a.r.caller.limits.ValueBytes; most > 0 && int64(len(m.Value)) > most {
		return a.g.limited(a.r, "value bytes", errTooLarge)
	}
	if m.Lease != 0 {
		return a.attachToLease(write, m.Lease)
	}
	return nil
}

func (a access) deleteRange(write, read etcdapi.Action, m *pb.DeleteRangeRequest) error {
	keys := etcdapi.NewRange(m.Key, m.RangeEnd)
	if err := a.decide(audit.Access{Action: write, Keys: keys, PrevKV: m.PrevKv}); err != nil {
		return err
	}
	if m.PrevKv {
		return a.decide(audit.Access{Action: read, Keys: keys})
	}
	return nil
}

// compact denies what would destroy history that is younger than the policy wants
// kept: compaction to the head is how a thief wipes the traces (THREATS T8).
func (a access) compact(m *pb.CompactionRequest) error {
	if err := a.decide(audit.Access{Action: etcdapi.KVCompact}); err != nil {
		return err
	}
	age, subject := a.r.caller.subject.CompactionAge(), a.r.caller.subject
	seen := a.g.heads.seenFor(m.Revision)
	if d := subject.DecideCompaction(seen); d.Observed {
		a.r.onlyObserved()
		a.g.observe(a.r.caller, etcdapi.KVCompact, etcdapi.Range{})
		return nil
	}
	if age == 0 {
		return nil
	}
	if m.Revision > a.g.etcd.Header().Revision {
		// etcd's own answer, but not etcd's to give: until it looks, writes of the same
		// caller can have made the revision, and on a member that lags it may be there
		// already. Then it would be the head that goes.
		a.g.count(a.r.caller, a.r.action, denied)
		a.r.turnedDown(audit.NotLet, "the revision is in the future")
		return rpctypes.ErrGRPCFutureRev
	}
	switch a.g.heads.judge(m.Revision, age) {
	case old:
		return nil
	case young:
		return a.g.denyCompaction(a.r, m.Revision, age)
	default:
		return a.g.postponeCompaction(a.r, m.Revision, age)
	}
}

// txnAccess judges what is inside a Txn.
type txnAccess struct{ access }

func (a txnAccess) VisitCompare(c *pb.Compare) error {
	return a.decide(audit.Access{Action: etcdapi.KVTxnCompare, Keys: etcdapi.NewRange(c.Key, c.RangeEnd)})
}

func (a txnAccess) VisitRange(m *pb.RangeRequest) error { return a.read(etcdapi.KVTxnRange, m) }

func (a txnAccess) VisitPut(m *pb.PutRequest) error {
	return a.put(etcdapi.KVTxnPut, etcdapi.KVTxnRange, m)
}

func (a txnAccess) VisitDeleteRange(m *pb.DeleteRangeRequest) error {
	return a.deleteRange(etcdapi.KVTxnDeleteRange, etcdapi.KVTxnRange, m)
}
