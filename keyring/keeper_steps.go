package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// errNoRing: what was asked for needs one.
var errNoRing = errors.New("there is no ring in this cluster; the first step up makes one: etcdguard seal phase can-open")

// Step goes towards a phase, one single step after the other, each when every current
// member has acknowledged the last; report is told whom it waits for. Where there is no
// ring it makes one, in phase can-open. It calls check before it enters Strict on the
// way up, and before it enters Off on the way down, when nothing is written in the form
// that the new phase has no place for; an error of check stops it there. It returns
// when every member has acknowledged the phase; Off ends with every key of etcdguard
// removed. It may be stopped anywhere, and goes on when it is called again. check and
// report may be nil.
func (k *Keeper) Step(ctx context.Context, to Phase, check func(ctx context.Context) error, report func(line string)) error {
	if to > Strict {
		return fmt.Errorf("going to %v: there is no such phase", to)
	}
	fail := func(err error) error { return fmt.Errorf("going to phase %v: %w", to, err) }
	for {
		o, revision, err := k.current(ctx)
		if errors.Is(err, errNoRing) && to == Off {
			return nil
		}
		done := false
		switch {
		case errors.Is(err, errNoRing):
			err = k.firstStep(ctx)
		case err == nil:
			done, err = k.stepFrom(ctx, o, revision, to, check, report)
		}
		if err != nil && !errors.Is(err, errOvertaken) {
			return fail(err)
		}
		if done {
			return nil
		}
	}
}

// stepFrom takes at most one step, when all have acknowledged the last; done says that
// there was none left to take.
func (k *Keeper) stepFrom(ctx context.Context, o *Opened, revision int64, to Phase, check func(context.Context) error, report func(string)) (done bool, err error) {
	if err := k.awaitAll(ctx, o, revision, report); err != nil {
		return false, err
	}
	switch now := o.Phase(); {
	case now == to && to == Off:
		return false, k.clear(ctx, revision)
	case now == to:
		return true, nil
	default:
		return false, k.singleStep(ctx, o, revision, toward(now, to), check, report)
	}
}

// toward is the phase next to now on the way to another.
func toward(now, to Phase) Phase {
	if to > now {
		return now + 1
	}
	return now - 1
}

func (k *Keeper) singleStep(ctx context.Context, o *Opened, revision int64, next Phase, check func(context.Context) error, report func(string)) error {
	if check != nil && (next == Strict || next == Off) {
		if err := check(ctx); err != nil {
			return err
		}
	}
	n, err := o.WithPhase(next)
	if err != nil {
		return err
	}
	if err := k.change(ctx, n, revision); err != nil {
		return err
	}
	tell(report, "phase %v, generation %d", next, n.Generation())
	return nil
}

func tell(report func(string), format string, args ...any) {
	if report != nil {
		report(fmt.Sprintf(format, args...))
	}
}

// AddKey adds a data key in state prepare, or finds the one that is there, and returns
// its number.
func (k *Keeper) AddKey(ctx context.Context) (seal.KeyNumber, error) {
	for {
		o, revision, err := k.current(ctx)
		if err == nil {
			if last := o.doc.Keys[len(o.doc.Keys)-1]; last.State == Prepare {
				return last.Number, nil
			}
			var n *Opened
			if n, err = o.WithNewKey(ctx, k.config.Providers, k.config.Now()); err == nil {
				err = k.change(ctx, n, revision)
			}
			if err == nil {
				return n.doc.Keys[len(n.doc.Keys)-1].Number, nil
			}
		}
		if !errors.Is(err, errOvertaken) {
			return 0, fmt.Errorf("adding a data key: %w", err)
		}
	}
}

// Activate makes a prepared data key the active one, when every current member has
// acknowledged that it can open it, and returns when every one has acknowledged that,
// too. One that is active already is no error.
func (k *Keeper) Activate(ctx context.Context, number seal.KeyNumber, report func(line string)) error {
	return k.changeKey(ctx, "activating", number, report,
		func(d *DataKey) bool { return d != nil && d.State == Active },
		func(o *Opened) (*Opened, error) { return o.WithActive(number) })
}

// Remove drops a retired data key, when every current member has acknowledged that
// it is retired. What is sealed with it opens no more: to make sure that nothing is,
// is the caller's part. One that is gone already is no error.
func (k *Keeper) Remove(ctx context.Context, number seal.KeyNumber, report func(line string)) error {
	return k.changeKey(ctx, "removing", number, report,
		func(d *DataKey) bool { return d == nil },
		func(o *Opened) (*Opened, error) { return o.Without(number) })
}

// changeKey changes one data key when everybody has acknowledged what is, unless that
// is done.
func (k *Keeper) changeKey(ctx context.Context, what string, number seal.KeyNumber, report func(string),
	done func(*DataKey) bool, change func(*Opened) (*Opened, error)) error {
	for {
		o, revision, err := k.current(ctx)
		if err == nil && number > o.doc.Keys[len(o.doc.Keys)-1].Number {
			err = errors.New("there is no such data key")
		}
		if err == nil {
			err = k.awaitAll(ctx, o, revision, report)
		}
		if err == nil {
			if done(o.doc.key(number)) {
				return nil
			}
			var n *Opened
			if n, err = change(o); err == nil {
				err = k.change(ctx, n, revision)
			}
		}
		if err != nil && !errors.Is(err, errOvertaken) {
			return fmt.Errorf("%s data key %d: %w", what, number, err)
		}
	}
}

// Rewrap has the providers of this member wrap every data key anew, with the keys that
// they use now, and drops the wraps of those named.
func (k *Keeper) Rewrap(ctx context.Context, drop ...string) error {
	for {
		o, revision, err := k.current(ctx)
		if err == nil {
			var n *Opened
			if n, err = o.Rewrapped(ctx, k.config.Providers, drop...); err == nil {
				err = k.change(ctx, n, revision)
			}
		}
		if !errors.Is(err, errOvertaken) {
			return err
		}
	}
}

// Export is the document with every data key wrapped by p as well, for a copy that
// opens when all else is lost.
func (k *Keeper) Export(ctx context.Context, p kms.Provider) (*Document, error) {
	o, _, err := k.current(ctx)
	if err != nil {
		return nil, fmt.Errorf("exporting the ring: %w", err)
	}
	return o.Export(ctx, p)
}

// current is what the cluster has now, in force on this member: no change is made to
// anything else.
func (k *Keeper) current(ctx context.Context) (*Opened, int64, error) {
	switch {
	case len(k.config.Providers) == 0:
		return nil, 0, errors.New("this member has no key provider; give it a sealing section in its guard configuration")
	case k.learner():
		return nil, 0, errors.New("this member is a learner; ask a voting member")
	}
	k.adopting.Lock()
	defer k.adopting.Unlock()
	stored, revision, err := k.read(ctx, false)
	if err != nil {
		return nil, 0, err
	}
	if s := k.state.Load(); stored == nil && s.opened == nil && s.inForce && s.refusal == nil {
		return nil, 0, errNoRing
	}
	// The read above has brought this member up to date, so the look sees the same or more.
	if err := k.lookLocked(ctx); err != nil {
		return nil, 0, err
	}
	s := k.state.Load()
	switch {
	case s.opened == nil:
		return nil, 0, errNoRing
	case s.revision != revision:
		return nil, 0, errOvertaken
	}
	return s.opened, revision, nil
}

// firstStep makes the ring of a cluster that has data.
func (k *Keeper) firstStep(ctx context.Context) error {
	k.adopting.Lock()
	defer k.adopting.Unlock()
	if err := k.create(ctx, CanOpen); !errors.Is(err, errOvertaken) {
		return err
	}
	return nil
}

// change stores the next state if nobody was faster, and puts it in force here.
func (k *Keeper) change(ctx context.Context, n *Opened, revision int64) error {
	k.adopting.Lock()
	defer k.adopting.Unlock()
	now, err := k.swap(ctx, n.doc, []*pb.Compare{isAtRevision([]byte(DocumentKey), revision)})
	if err != nil {
		return err
	}
	return k.install(n, now)
}

// clear removes every key of etcdguard, once every member has acknowledged Off. Their
// mirrors stay: what was sealed is still in backups.
func (k *Keeper) clear(ctx context.Context, revision int64) error {
	r, err := k.config.Store.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{isAtRevision([]byte(DocumentKey), revision)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{
			Key: []byte(ReservedPrefix), RangeEnd: prefixEnd(ReservedPrefix)}}}},
	})
	if err == nil && !r.Succeeded {
		err = errOvertaken
	}
	if err == nil {
		err = k.look(ctx)
	}
	if err != nil {
		return fmt.Errorf("removing the ring: %w", err)
	}
	return nil
}

// awaitLook is how often a step looks whether all have acknowledged.
const awaitLook = 100 * time.Millisecond

// awaitAll returns when every current member has acknowledged the generation of o, and
// tells report whom it waits for whenever that changes.
func (k *Keeper) awaitAll(ctx context.Context, o *Opened, revision int64, report func(string)) error {
	timer := time.NewTicker(awaitLook)
	defer timer.Stop()
	told := ""
	for {
		missing, err := k.missing(ctx, o)
		if err != nil && (ctx.Err() == nil || told == "") {
			return err
		}
		if err == nil && missing == "" {
			return nil
		}
		if err != nil {
			missing = told // ctx ended while etcd was asked
		}
		if missing != told {
			told = missing
			tell(report, "waiting for %s", missing)
		}
		if k.state.Load().revision != revision {
			return errOvertaken // by another's step
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", missing, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// missing names the members that have not acknowledged the generation of o, each with
// what it is at.
func (k *Keeper) missing(ctx context.Context, o *Opened) (string, error) {
	present, err := k.acknowledgements(ctx)
	if err != nil {
		return "", err
	}
	names := map[string]string{}
	for _, m := range k.config.Store.Members() {
		a, here := present[m.ID]
		switch {
		case here && a.confirms(o.doc):
		case k.running.has(m.ID):
			names[m.String()] = "runs without etcdguard"
		case !here:
			names[m.String()] = "not there: down, or running without etcdguard"
		case a.Waiting != "":
			names[m.String()] = a.Waiting
		case a.Ring == nil:
			names[m.String()] = "has acknowledged nothing yet"
		default:
			names[m.String()] = fmt.Sprintf("has acknowledged generation %d of %d", a.Generation, o.doc.Generation)
		}
	}
	return sortedNames(names), nil
}

// confirms reports whether a member has the document in force. One that refuses what
// is in etcd may have another of the same generation.
func (a *acknowledgement) confirms(d *Document) bool {
	return a.Waiting == "" && a.Ring != nil && *a.Ring == d.Ring && a.Generation == d.Generation
}
