package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/seal"
)

const (
	// leaseTTL is how long a member's presence outlives it.
	leaseTTL   = 5 * time.Second
	renewEvery = leaseTTL / 3
	// settleLook is how often writes under an older view are looked at.
	settleLook = 50 * time.Millisecond
)

// acknowledgement is what a member says of itself under its key: that it runs, and
// what it has in force. It is worth nothing once its lease is over, and no phase
// follows from it: it only lets the next step be taken.
type acknowledgement struct {
	Ring       *seal.RingID     `json:"ring,omitempty"`
	Generation uint64           `json:"generation"` // in force here, with nothing older under way; 0: none yet
	Boot       string           `json:"boot"`
	Phase      Phase            `json:"phase"`
	Keys       []seal.KeyNumber `json:"keys,omitempty"`
	Version    string           `json:"version,omitempty"`
	Waiting    string           `json:"waiting,omitempty"`
}

// keepPresence says that this member is there, and acknowledges what it has in force.
// It is one goroutine's work. It costs one revision for each start, each generation,
// and each time that the lease was lost; keeping the lease alive costs none.
func (k *Keeper) keepPresence(ctx context.Context) {
	p := &presence{Keeper: k}
	timer := time.NewTicker(renewEvery)
	defer timer.Stop()
	soon := time.NewTicker(settleLook)
	defer soon.Stop()
	for {
		s := k.state.Load()
		if err := p.tell(ctx, s); err != nil && ctx.Err() == nil {
			p.complain(err)
		}
		if s.inForce {
			k.openDoor()
		}
		var settling <-chan time.Time
		if !p.upToDate(s) {
			settling = soon.C
		}
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-timer.C:
		case <-settling:
		}
	}
}

// openDoor is called by keepPresence alone.
func (k *Keeper) openDoor() {
	select {
	case <-k.ready:
	default:
		close(k.ready)
	}
}

// presence is the state of keepPresence.
type presence struct {
	*Keeper
	lease   int64 // 0: none
	renewed time.Time
	settled uint64 // the newest generation of ring that may be acknowledged
	ring    seal.RingID
	unkept  error  // why the mirror is not what it should be
	problem string // logged last
}

// upToDate reports whether there is nothing to wait for.
func (p *presence) upToDate(s *keeperState) bool {
	return s.opened == nil || s.refusal != nil || p.ring == s.opened.doc.Ring && p.settled == s.opened.doc.Generation
}

// tell brings what etcd knows of this member up to date.
func (p *presence) tell(ctx context.Context, s *keeperState) error {
	if s.inForce && s.opened == nil && s.refusal == nil {
		p.acked.Store(nil)
		return nil // there is no ring, and nothing to say
	}
	if !s.inForce && s.waiting == nil {
		return nil // nothing is known yet
	}
	err := p.settle(s)
	p.unkept = err
	if leaseErr := p.keepLease(ctx); leaseErr != nil {
		return errors.Join(err, leaseErr)
	}
	return errors.Join(err, p.put(ctx, p.statement(s)))
}

// settle decides whether the generation in force may be acknowledged: no write that
// began under an older one is under way or may still be carried out, and the mirror
// has it.
func (p *presence) settle(s *keeperState) error {
	if p.upToDate(s) {
		return nil
	}
	d := s.opened.doc
	mirror, err := ReadMirror(p.config.Mirror)
	// What the mirror has was settled before this start, or is about to be written.
	known := err == nil && mirror != nil && string(mirror.canonical()) == string(d.canonical())
	if !known {
		born := d.Generation == 1 && d.Phase == Strict // there was no client before it
		if !born && time.Since(p.begun) < p.config.Settle {
			return nil // writes of the process before this one may still be on their way
		}
	}
	if !p.older.settled(p.config.Settle) {
		return nil
	}
	if !known && mirror != nil && mirror.Phase == Off && (mirror.Ring != d.Ring || mirror.Generation > d.Generation) {
		// Sealing was ended, and begins anew, or older data was restored.
		if _, err := SetMirrorAside(p.config.Mirror, mirror.Ring); err != nil {
			return err
		}
	}
	if !known {
		if err := WriteMirror(p.config.Mirror, d); err != nil {
			return err
		}
	}
	p.ring, p.settled = d.Ring, d.Generation
	return nil
}

// statement is what there is to say.
func (p *presence) statement(s *keeperState) acknowledgement {
	a := acknowledgement{Boot: p.boot, Version: p.config.Version}
	switch {
	case s.waiting != nil:
		a.Waiting = "does not serve: " + inBrief(s.waiting)
	case s.refusal != nil && s.refusing().refusal == nil:
		a.Waiting = "does not open the ring: " + inBrief(s.refusal)
	case s.refusal != nil:
		a.Waiting = "refuses writes: " + inBrief(s.refusal)
	}
	if p.unkept != nil && a.Waiting == "" {
		a.Waiting = "can't write its mirror of the ring"
	}
	if s.opened == nil || p.ring != s.opened.doc.Ring {
		return a
	}
	if p.settled != s.opened.doc.Generation {
		// What was acknowledged before stays true until there is more to say.
		if last := p.acked.Load(); last != nil && last.Ring != nil && *last.Ring == p.ring {
			waiting := a.Waiting
			a = *last
			a.Waiting = waiting
		}
		return a
	}
	d := s.opened.doc
	a.Ring, a.Generation, a.Phase = &d.Ring, d.Generation, d.Phase
	for _, key := range d.Keys {
		a.Keys = append(a.Keys, key.Number)
	}
	return a
}

// inBrief is an error without what changes from one try to the next: each text costs
// a revision.
func inBrief(err error) string {
	var unopened *UnopenedError
	var brief briefError
	switch {
	case errors.As(err, &brief):
		return brief.brief
	case errors.Is(err, ErrForged):
		return "the ring's document is altered or forged"
	case !errors.As(err, &unopened) || len(unopened.Keys) == 0:
		return "its log says why"
	}
	var wanted []string
	for _, a := range unopened.Keys[0].Tried { // the others want the same ones, as a rule
		if a.KeyID != "" {
			wanted = append(wanted, fmt.Sprintf("provider %q, key id %q", a.Provider, a.KeyID))
		}
	}
	return "wants " + strings.Join(wanted, ", or ")
}

// keepLease has a lease that lives. The ids of these leases are etcdguard's own, as
// its keys are: no client can revoke one, or keep alive that of a member that is gone.
func (p *presence) keepLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.Store.RequestTimeout())
	defer cancel()
	if p.lease != 0 {
		if time.Since(p.renewed) < renewEvery/2 {
			return nil
		}
		ttl, err := p.config.Store.LeaseRenew(ctx, p.lease)
		if err == nil && ttl > 0 {
			p.renewed = time.Now()
			return nil
		}
		if err != nil && time.Since(p.renewed) < leaseTTL {
			return fmt.Errorf("keeping this member's presence alive: %w", err)
		}
		p.lease = 0 // it is gone, or will be: a new one, under the same boot
		p.acked.Store(nil)
	}
	id := etcdapi.ReservedLease(rand.Uint32())
	if _, err := p.config.Store.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: int64(leaseTTL / time.Second)}); err != nil {
		return fmt.Errorf("getting a lease for this member's presence: %w", err)
	}
	p.lease, p.renewed = id, time.Now()
	return nil
}

// put stores the statement if it is not what is there. It is there only beside a
// ring, so that nothing is left when that is gone.
func (p *presence) put(ctx context.Context, a acknowledgement) error {
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	key := []byte(memberKey(p.config.Store.MemberID()))
	ctx, cancel := context.WithTimeout(ctx, p.config.Store.RequestTimeout())
	defer cancel()
	now, err := p.config.Store.Range(ctx, &pb.RangeRequest{Key: key, Serializable: true})
	if err != nil {
		return fmt.Errorf("looking at this member's presence: %w", err)
	}
	if len(now.Kvs) == 1 && now.Kvs[0].Lease == p.lease && string(now.Kvs[0].Value) == string(value) {
		p.acked.Store(&a)
		return nil
	}
	r, err := p.config.Store.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{isThere([]byte(DocumentKey))},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value, Lease: p.lease}}}},
	})
	if err != nil {
		return fmt.Errorf("storing this member's presence: %w", err)
	}
	if r.Succeeded {
		p.acked.Store(&a)
	}
	return nil
}

// complain logs a failure once, until there is another.
func (p *presence) complain(err error) {
	if p.problem != err.Error() {
		p.problem = err.Error()
		p.log.Warn("acknowledging the ring", slog.Any("error", err))
	}
}

// olderViews are those that writes under way may have begun under.
type olderViews struct {
	mu    sync.Mutex
	views []*view
}

func (o *olderViews) add(v *view) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.views = append(o.views, v)
}

// settled reports whether no write under an older view is under way, nor was left by
// etcd without an answer so lately that it may still be carried out.
func (o *olderViews) settled(patience time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.views) > 0 {
		v := o.views[0]
		if v.writes.Load() > 0 { // first: who is lost says so before it is done
			return false
		}
		if lost := v.lost.Load(); lost != 0 && time.Since(processBegun) < time.Duration(lost)+patience {
			return false
		}
		o.views = o.views[1:]
	}
	return true
}
