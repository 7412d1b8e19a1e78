package keyring

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/seal"
)

// keeperState is what this member knows of the ring, and has of it.
type keeperState struct {
	opened   *Opened   // in force; nil: none is
	stored   *Document // in etcd when it was last looked at; nil: none
	revision int64     // of stored; 0: none
	inForce  bool      // something is in force: opened, or that there is no ring
	waiting  error     // why the door is still shut
	refusal  error     // why writes are refused, after it was open
}

// Bounds of how often a keeper looks.
const (
	lookEvery  = 10 * time.Second // when nothing calls for it
	retryFirst = time.Second      // after a failure; doubled until retryLast
	retryLast  = 5 * time.Second
	lookFor    = 30 * time.Second // how long one look may take
)

// Run keeps the ring until ctx ends: this is all that a keeper does by itself.
func (k *Keeper) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	for _, task := range []func(context.Context){k.follow, k.keepPresence, k.lookForUnguarded, k.checkProviders} {
		tasks.Go(func() { task(ctx) })
	}
	tasks.Wait()
}

// follow looks whenever the document may have changed, and again after a failure.
func (k *Keeper) follow(ctx context.Context) {
	var changed <-chan struct{}
	retry := retryFirst
	for {
		if changed == nil {
			// Before the look, so that nothing falls between the two.
			var err error
			if changed, err = k.config.Store.Watch(ctx, []byte(DocumentKey), nil); err != nil {
				k.log.Warn("watching the ring", slog.Any("error", err))
			}
		}
		pause := lookEvery
		if err := k.look(ctx); err != nil {
			pause, retry = retry, min(2*retry, retryLast)
		} else {
			retry = retryFirst
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case _, open := <-changed:
			if !open {
				changed = nil // and not in a tight loop
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look holds what is in etcd against what this member knows, and puts in force what
// follows from it.
func (k *Keeper) look(ctx context.Context) error {
	k.adopting.Lock()
	defer k.adopting.Unlock()
	return k.lookLocked(ctx)
}

func (k *Keeper) lookLocked(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, lookFor+patience*time.Duration(len(k.config.Providers)))
	defer cancel()
	err := k.compareOnce(limited)
	for again := 0; errors.Is(err, errOvertaken) && again < 10; again++ {
		err = k.compareOnce(limited)
	}
	if err != nil && ctx.Err() == nil {
		k.troubled(err)
	}
	return err
}

// compareOnce is idempotent: killed anywhere, it does at the next start what was left.
func (k *Keeper) compareOnce(ctx context.Context) error {
	s := *k.state.Load()
	stored, revision, err := k.read(ctx, s.inForce)
	if err != nil {
		return err
	}
	s.stored, s.revision = stored, revision
	k.state.Store(&s)
	last, err := k.lastKnown(&s)
	if err != nil && stored == nil {
		return err // whether there was a ring can't be known
	} else if err != nil {
		k.log.Error("the ring's mirror can't be read; etcd's copy is used, and will replace it", slog.Any("error", err))
	}
	what, err := judgeDocuments(stored, last, k.config.Mirror)
	switch {
	case err != nil:
		return err
	case what == noRing:
		return k.withoutRing(ctx, &s)
	case len(k.config.Providers) == 0:
		return k.notConfigured(stored, last)
	case what == putBack:
		return k.putBack(ctx, &s, last)
	}
	return k.adopt(ctx, stored, revision, last)
}

// read gets the document from etcd. The first time it asks the cluster, since a member
// that comes back may be behind. After that what has reached this member is enough:
// others do not go on by more than one step without it.
func (k *Keeper) read(ctx context.Context, local bool) (*Document, int64, error) {
	r, err := k.config.Store.Range(ctx, &pb.RangeRequest{Key: []byte(DocumentKey), Serializable: local || k.learner()})
	if err != nil {
		return nil, 0, unreadableError{err}
	}
	if len(r.Kvs) == 0 {
		return nil, 0, nil
	}
	d, err := ParseDocument(r.Kvs[0].Value)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the ring from etcd: %w", err)
	}
	return d, r.Kvs[0].ModRevision, nil
}

// unreadableError is that etcd did not answer, which says nothing about the ring.
type unreadableError struct{ err error }

func (e unreadableError) Error() string { return "reading the ring from etcd: " + e.err.Error() }
func (e unreadableError) Unwrap() error { return e.err }

func (k *Keeper) learner() bool {
	for _, m := range k.config.Store.Members() {
		if m.ID == k.config.Store.MemberID() {
			return m.Learner
		}
	}
	return false
}

// lastKnown is the newest document that this member ever had in force: that of now, or
// at start the mirror's. Nil: it had none, or knows that there is none.
func (k *Keeper) lastKnown(s *keeperState) (*Document, error) {
	if s.inForce {
		if s.opened == nil {
			return nil, nil
		}
		return s.opened.doc, nil
	}
	if k.config.Mirror == "" {
		return nil, nil
	}
	return ReadMirror(k.config.Mirror)
}

// judgement is what is to be done about two documents.
type judgement uint8

const (
	adoptStored judgement = iota + 1
	putBack               // etcd has lost what this member knows
	noRing
)

// judgeDocuments decides between the document in etcd and the newest that this member
// had in force, either of which may be nil. A member never goes back: data that was
// lost or restored turns no phase back. One that had arrived at off has nothing to
// hold on to.
func judgeDocuments(stored, last *Document, mirror string) (judgement, error) {
	if last != nil && last.Phase == Off && (stored == nil || stored.Ring != last.Ring || stored.Generation < last.Generation) {
		last = nil
	}
	switch {
	case stored == nil && last == nil:
		return noRing, nil
	case stored == nil:
		return putBack, nil
	case last == nil:
		return adoptStored, nil
	case stored.Ring != last.Ring:
		return 0, briefError{"its mirror is of another ring", fmt.Errorf("etcd holds ring %v, and this member ring %v: is this data of another cluster? "+
			"If it is the right data, move the mirror %s away and start the member again", stored.Ring, last.Ring, mirror)}
	case stored.Generation > last.Generation:
		return adoptStored, nil
	case stored.Generation < last.Generation:
		return putBack, nil
	case !bytes.Equal(stored.canonical(), last.canonical()):
		return 0, briefError{"its mirror has another ring of this generation", fmt.Errorf("etcd holds a generation %d of ring %v that is not the one that this member had: the data was restored from "+
			"an older copy and the ring changed since. If etcd's is the right one, move the mirror %s away and start the member again",
			stored.Generation, stored.Ring, mirror)}
	}
	return adoptStored, nil
}

// withoutRing makes the ring of a cluster that has nothing in it, strict from birth. In
// one with data it is the operator who takes the first step.
func (k *Keeper) withoutRing(ctx context.Context, s *keeperState) error {
	if !s.inForce && len(k.config.Providers) > 0 && !k.learner() {
		unused, err := k.unused(ctx)
		if err != nil {
			return err
		}
		if unused {
			return k.create(ctx, Strict)
		}
		// The ring that made it one which is not unused may be another member's, of a
		// moment ago.
		if now, _, err := k.read(ctx, false); err != nil || now != nil {
			return cmp.Or(err, errOvertaken)
		}
	}
	if !s.inForce {
		if err := k.lost(ctx); err != nil {
			return err
		}
	}
	if !s.inForce || s.opened != nil || s.refusal != nil {
		k.putInForce(nil, keeperState{inForce: true})
		k.log.Info("nothing is sealed: there is no ring", slog.Bool("configured", len(k.config.Providers) > 0))
	}
	return nil
}

// unused reports whether nobody ever had a key: etcd counts revisions from 1. Where
// keys were and are gone, members without a ring may be open, and write in plaintext.
func (k *Keeper) unused(ctx context.Context) (bool, error) {
	r, err := k.config.Store.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true})
	if err != nil {
		return false, fmt.Errorf("looking whether this cluster is new: %w", err)
	}
	return r.Count == 0 && r.Header.Revision <= 1, nil
}

// errOvertaken: another member was first. What it did is looked at next.
var errOvertaken = errors.New("another member changed the ring at the same time")

// create stores a new ring: one that is strict only if no client has a key, in the same
// instant. Of several members one succeeds.
func (k *Keeper) create(ctx context.Context, phase Phase) error {
	o, err := Create(ctx, phase, k.config.Providers, k.config.Now())
	if err != nil {
		return err
	}
	conditions := []*pb.Compare{isAbsent([]byte(DocumentKey), nil)}
	if phase == Strict {
		conditions = append(conditions, isAbsent(etcdapi.FirstClientKey, []byte{0}))
	}
	revision, err := k.swap(ctx, o.doc, conditions)
	if err != nil {
		return fmt.Errorf("creating the ring: %w", err)
	}
	k.log.Info("created the ring", slog.Any("ring", o))
	return k.install(o, revision)
}

// putBack gives etcd the document that it has lost, once that has proved to be genuine.
func (k *Keeper) putBack(ctx context.Context, s *keeperState, last *Document) error {
	if k.learner() {
		return errors.New("etcd has an older ring than this member, or none; a voting member has to put it back")
	}
	o := s.opened
	if o == nil {
		var err error
		if o, err = last.Open(ctx, k.config.Providers, nil); err != nil {
			return fmt.Errorf("etcd has no ring of that generation, and the mirror %s does not open: %w", k.config.Mirror, err)
		}
	}
	condition := isAbsent([]byte(DocumentKey), nil)
	if s.stored != nil {
		condition = isAtRevision([]byte(DocumentKey), s.revision)
	}
	revision, err := k.swap(ctx, o.doc, []*pb.Compare{condition})
	if err != nil {
		return fmt.Errorf("putting the ring back into etcd: %w", err)
	}
	k.log.Warn("etcd had lost its ring or had an older one; this member's was put back", slog.Any("ring", o))
	return k.install(o, revision)
}

// adopt opens what is in etcd and puts it in force.
func (k *Keeper) adopt(ctx context.Context, stored *Document, revision int64, last *Document) error {
	s := k.state.Load()
	if s.opened != nil && s.refusal == nil && bytes.Equal(s.opened.doc.canonical(), stored.canonical()) {
		return nil
	}
	o, err := stored.Open(ctx, k.config.Providers, s.opened)
	if err != nil && s.opened == nil && last != nil && last.Ring == stored.Ring && !bytes.Equal(last.canonical(), stored.canonical()) {
		// An export that was imported, or providers that wrapped an earlier generation
		// and are the ones left: the data keys are the same.
		if known, lastErr := last.Open(ctx, k.config.Providers, nil); lastErr == nil {
			o, err = stored.Open(ctx, k.config.Providers, known)
		}
	}
	if err != nil {
		return err
	}
	return k.install(o, revision)
}

// install puts an opened document in force on the request path.
func (k *Keeper) install(o *Opened, revision int64) error {
	k.putInForce(o, keeperState{opened: o, stored: o.doc, revision: revision, inForce: true})
	k.log.Info("the ring is open", slog.Any("ring", o))
	return nil
}

// notConfigured is a member without providers where there is a ring.
func (k *Keeper) notConfigured(stored, last *Document) error {
	d := stored
	if d == nil {
		d = last
	}
	if d.Phase == Off {
		if !k.state.Load().inForce {
			k.putInForce(nil, keeperState{inForce: true})
		}
		return nil
	}
	return briefError{"no key provider is configured", fmt.Errorf("the data has a ring (%v, phase %v), and this member has no key provider: "+
		"name one of these under sealing.providers in the guard configuration: %s", d.Ring, d.Phase, d.wanted())}
}

// briefError is an error with what other members are told of it.
type briefError struct {
	brief string
	error
}

func (e briefError) Unwrap() error { return e.error }

// wanted names the providers and key ids that open the active data key.
func (d *Document) wanted() string {
	var b bytes.Buffer
	for i, w := range d.active().Wraps {
		if i > 0 {
			b.WriteString(", or ")
		}
		fmt.Fprintf(&b, "provider %q, key id %q", w.Provider, w.KeyID)
	}
	return b.String()
}

// putInForce changes the view of the request path; nil is that of a cluster that does
// not seal.
func (k *Keeper) putInForce(o *Opened, s keeperState) {
	v := &view{phase: Off}
	if o != nil {
		v = o.view()
	}
	k.replaceView(v)
	k.state.Store(&s)
	k.nudge()
}

// troubled keeps what is in force for reads. Whether this member may write can't be
// told any more, so it may not.
func (k *Keeper) troubled(err error) {
	s := *k.state.Load()
	var unreadable unreadableError
	before := s.waiting
	switch {
	case !s.inForce:
		s.waiting = err
	case errors.As(err, &unreadable):
		// It stays at what it has; others do not go on by more than one step without it.
		k.log.Warn("the ring can't be looked at", slog.Any("error", err))
		return
	default:
		before, s.refusal = s.refusal, err
		if before == nil || before.Error() != err.Error() {
			k.replaceView(s.refusing())
		}
	}
	k.state.Store(&s)
	if before == nil || before.Error() != err.Error() {
		k.log.Error("the ring does not open", slog.Any("error", err), slog.Bool("serving", s.inForce))
	}
	k.nudge()
}

// refusing is the view of a member that may read and not write. One that never had the
// ring goes on while nothing is sealed yet, and nothing will be before it acknowledges.
func (s *keeperState) refusing() *view {
	v := &view{phase: CanOpen} // with no key: what is sealed does not open
	if s.opened != nil {
		v = s.opened.view()
	} else if s.stored != nil {
		v.ring = s.stored.Ring
		if s.stored.Phase <= CanOpen {
			return v
		}
	}
	v.refusal = fmt.Errorf("this member can't confirm the state of the cluster's ring: %w", s.refusal)
	return v
}

// replaceView swaps the view of the request path. The one before is kept until the
// last write under it is over.
func (k *Keeper) replaceView(v *view) {
	k.older.add(k.ring.replace(v, k.config.Settle))
}

// reload is what a request does that met a value under a data key which the view in
// force does not have.
func (k *Keeper) reload(number seal.KeyNumber) bool {
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	k.adopting.Lock()
	defer k.adopting.Unlock()
	s := k.state.Load()
	if !s.inForce || s.opened == nil {
		return false
	}
	if s.opened.Key(number) != nil {
		return true // it came while this waited
	}
	_, revision, err := k.read(ctx, true)
	if err != nil || revision == s.revision {
		return false // follow tries that one again, in its own time
	}
	if err := k.lookLocked(ctx); err != nil {
		return false
	}
	now := k.state.Load().opened // nil: the ring is gone
	return now != nil && now.Key(number) != nil
}
