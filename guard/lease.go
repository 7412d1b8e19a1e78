package guard

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/policy"
)

// everyClientKey is all that a client can ever own.
var everyClientKey = etcdapi.Range{Kind: etcdapi.Tail, Begin: etcdapi.FirstClientKey}

// revokeLease judges a revocation as the deletion of every key that hangs on the
// lease. A key that is attached between the look-up and the revocation was attached
// by someone who may write it.
func (a access) revokeLease(m *pb.LeaseRevokeRequest) error {
	if err := a.decide(audit.Access{Action: etcdapi.LeaseRevoke}); err != nil {
		return err
	}
	return a.everyLeaseKey(etcdapi.KVTxnDeleteRange, m.ID)
}

// attachToLease asks for the right to write every key that already hangs on the
// lease, as etcd's own authorisation does: who attaches a key to another's lease
// could keep that other from revoking it. What was found holds for a few seconds:
// kube-apiserver puts hundreds of events on one lease, and on a follower each
// look-up asks the leader.
func (a access) attachToLease(write etcdapi.Action, lease int64) error {
	checked := &a.r.caller.account.leases
	if checked.fresh(lease, a.r.caller.subject, write, a.g.now()) {
		return nil
	}
	if err := a.everyLeaseKey(write, lease); err != nil {
		return err
	}
	checked.add(lease, a.r.caller.subject, write, a.g.now())
	return nil
}

// everyLeaseKey judges action on each key that hangs on the lease.
func (a access) everyLeaseKey(action etcdapi.Action, lease int64) error {
	if d := a.r.caller.subject.Decide(action, everyClientKey); d.Allowed && !d.Observed {
		return nil
	}
	// etcd's own bound (max-txn-ops) comes after the guard, and on a follower each
	// look-up is a round trip to the leader.
	if a.r.leasesLookedUp++; a.r.leasesLookedUp > leasesRemembered {
		a.r.turnedDown(audit.Refused, "too many leases in one request")
		a.g.count(a.r.caller, a.r.action, refused)
		return rpctypes.ErrGRPCTooManyOps
	}
	keys, err := a.g.etcd.LeaseKeys(a.ctx, lease)
	if err != nil {
		return unavailable("looking up what hangs on the lease: " + err.Error())
	}
	for _, key := range keys {
		if err := a.leaseKey(action, key); err != nil {
			return err
		}
	}
	return nil
}

// leaseKey judges one key that a lease drags in. What is simply allowed is not
// counted: the request itself is.
func (a access) leaseKey(action etcdapi.Action, key []byte) error {
	if etcdapi.IsReserved(key) {
		return a.g.denyReserved(a.r)
	}
	d := a.r.caller.subject.Decide(action, etcdapi.Key(key))
	a.r.judged(audit.Access{Action: action, Keys: etcdapi.Key(key)}, d)
	switch {
	case !d.Allowed:
		return a.g.deny(a.r.caller, action, etcdapi.Key(key))
	case d.Observed:
		a.g.observe(a.r.caller, action, etcdapi.Key(key))
	}
	return nil
}

// serveLeases lists leases. Where etcd has users of its own, it refuses the whole list
// to those who may not read every key on every lease, and nobody may read what hangs on
// etcdguard's: those leases must not count.
func (g *Guard) serveLeases(ctx context.Context, m *pb.LeaseLeasesRequest, next grpc.UnaryHandler) (any, error) {
	answer, err := next(ctx, m)
	if g.ring != nil && status.Code(err) == codes.PermissionDenied {
		return g.etcd.ClientLeases(ctx)
	}
	return answer, err
}

// judgeLeaseKeysShown judges the answer instead of the request: it holds the very
// key names that the caller would learn (CVE-2023-32082).
func (g *Guard) judgeLeaseKeysShown(ctx context.Context, r *Request, answer *pb.LeaseTimeToLiveResponse) error {
	for _, key := range answer.Keys {
		if err := (access{g, ctx, r}).leaseKey(etcdapi.KVRange, key); err != nil {
			return err
		}
	}
	return nil
}

// checkedLeases are the leases of which a caller may write every key, as found a
// moment ago. Callers of one account can have different rights, so what was found
// holds for the one that it was found for.
type checkedLeases struct {
	mu    sync.Mutex
	under *policy.Subject
	until map[checkedLease]time.Time
}

type checkedLease struct {
	lease int64
	write etcdapi.Action
}

const (
	leaseCheckHolds  = 5 * time.Second
	leasesRemembered = 1024
)

func (c *checkedLeases) fresh(lease int64, under *policy.Subject, write etcdapi.Action, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.under == under && now.Before(c.until[checkedLease{lease, write}])
}

func (c *checkedLeases) add(lease int64, under *policy.Subject, write etcdapi.Action, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under != under || len(c.until) >= leasesRemembered {
		c.under, c.until = under, map[checkedLease]time.Time{}
	}
	c.until[checkedLease{lease, write}] = now.Add(leaseCheckHolds)
}
