package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/etcdguard/etcdguard/e2e/ledger"
)

const (
	workers  = 24
	counters = 8 // objects that all contenders fight over
	rivals   = 8 // contenders
)

// load is the traffic: workers that own their objects and take each through its
// life, and rivals that increment shared counters by compare and swap.
type load struct {
	store  store
	ledger *ledger.Ledger

	created, updated, deleted, conflicts, missed atomic.Int64
	acknowledged, open                           [counters]atomic.Int64 // increments
}

// lives runs the life of as many objects of each resource as more wants: created,
// updated, and every other one deleted. progress is called after each object.
func (l *load) lives(ctx context.Context, t testing.TB, more func(n int) bool, progress func(done int64)) {
	work := make(chan ledger.Object)
	var done atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for o := range work {
				if err := l.life(ctx, o); err != nil {
					t.Errorf("%v: %v", o, err)
				}
				progress(done.Add(1))
			}
		})
	}
	for n := 0; more(n); n++ {
		for _, resource := range []string{secrets, configMaps} {
			work <- ledger.Object{Resource: resource, Name: fmt.Sprintf("object-%05d", n)}
		}
	}
	close(work)
	group.Wait()
}

func (l *load) life(ctx context.Context, o ledger.Object) error {
	i, err := l.create(ctx, o)
	if err != nil {
		return err
	}
	if i, err = l.update(ctx, o, i); err != nil {
		return err
	}
	if strings.HasSuffix(o.Name, "1") { // a tenth meets a conflict on purpose
		if err := l.mustConflict(ctx, o, i); err != nil {
			return err
		}
	}
	if n, _ := strconv.Atoi(o.Name[len("object-"):]); n%2 == 0 {
		return l.delete(ctx, o, i)
	}
	return nil
}

// payload is unlike any other payload, and long enough for a real Secret.
func payload(o ledger.Object, step string) string {
	return fmt.Sprintf("%s/%s/%s/%016x/%s", o.Resource, o.Name, step, rand.Uint64(), strings.Repeat("x", 700))
}

// create asks until it knows that the object is there.
func (l *load) create(ctx context.Context, o ledger.Object) (item, error) {
	want := item{name: o.Name, payload: payload(o, "created")}
	for try := 0; ; try++ {
		got, err := l.store.create(ctx, o.Resource, want)
		if apierrors.IsAlreadyExists(err) && try > 0 {
			// An earlier try was carried out after all.
			got, err = l.store.get(ctx, o.Resource, o.Name)
			if err == nil && got.payload != want.payload {
				return item{}, fmt.Errorf("the object exists with a content that nobody wrote")
			}
		}
		if err == nil {
			l.created.Add(1)
			l.ledger.Acknowledged(o, got.payload, got.version)
			return got, nil
		}
		if err := l.again(ctx, o, want.payload, err); err != nil {
			return item{}, fmt.Errorf("creating: %w", err)
		}
	}
}

func (l *load) update(ctx context.Context, o ledger.Object, from item) (item, error) {
	want := from
	want.payload = payload(o, "updated")
	for try := 0; ; try++ {
		got, err := l.store.update(ctx, o.Resource, want)
		if apierrors.IsConflict(err) && (try > 0 || l.ledger.Rewrites) {
			got, err = l.store.get(ctx, o.Resource, o.Name)
			if err == nil && l.rewritten(got, from, want) {
				want.version, from.version = got.version, got.version
				continue
			}
			if err == nil && got.payload != want.payload {
				return item{}, fmt.Errorf("somebody else changed an object of one owner")
			}
		}
		if err == nil {
			l.updated.Add(1)
			l.ledger.Acknowledged(o, got.payload, got.version)
			return got, nil
		}
		if err := l.again(ctx, o, want.payload, err); err != nil {
			return item{}, fmt.Errorf("updating: %w", err)
		}
	}
}

func (l *load) delete(ctx context.Context, o ledger.Object, i item) error {
	for try := 0; ; try++ {
		err := l.store.delete(ctx, o.Resource, i)
		if apierrors.IsConflict(err) {
			if got, gotErr := l.store.get(ctx, o.Resource, o.Name); gotErr == nil && l.rewritten(got, i, item{}) {
				i.version = got.version
				continue
			}
		}
		if err == nil || apierrors.IsNotFound(err) && try > 0 {
			l.deleted.Add(1)
			l.ledger.Acknowledged(o, "", "")
			return nil
		}
		if err := l.again(ctx, o, "", err); err != nil {
			return fmt.Errorf("deleting: %w", err)
		}
	}
}

// mustConflict updates from a version that is no longer the newest: a 409, or the
// store let a lost update happen.
func (l *load) mustConflict(ctx context.Context, o ledger.Object, newest item) error {
	stale := newest
	stale.version = strconv.Itoa(atoi(newest.version) - 1)
	stale.payload = payload(o, "stale")
	for {
		_, err := l.store.update(ctx, o.Resource, stale)
		if apierrors.IsConflict(err) {
			l.conflicts.Add(1)
			return nil
		}
		if err == nil {
			return fmt.Errorf("an update of version %s was accepted after version %s", stale.version, newest.version)
		}
		// Not noted in the ledger: a stale update must never be carried out.
		if err := l.pause(ctx, err); err != nil {
			return fmt.Errorf("updating a stale version: %w", err)
		}
	}
}

// rewritten reports whether an object is what it was, and not what it is to become, at
// a later version.
func (l *load) rewritten(got, from, want item) bool {
	return l.ledger.Rewrites && got.payload == from.payload && got.payload != want.payload && atoi(got.version) > atoi(from.version)
}

// again notes an attempt without a definite answer and waits before the next one.
// What the server refuses for good comes back as the error it is.
func (l *load) again(ctx context.Context, o ledger.Object, attempted string, err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) ||
		apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return err
	}
	if !apierrors.IsTooManyRequests(err) {
		l.ledger.Unanswered(o, attempted)
	}
	return l.pause(ctx, err)
}

func (l *load) pause(ctx context.Context, err error) error {
	l.missed.Add(1)
	select {
	case <-ctx.Done():
		return fmt.Errorf("gave up: %w", err)
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

func counter(n int) ledger.Object {
	return ledger.Object{Resource: configMaps, Name: fmt.Sprintf("counter-%d", n)}
}

// rivalry increments the counters until ctx ends: read, add one, write at the
// version that was read. Two rivals at once are a conflict for one of them.
func (l *load) rivalry(ctx context.Context, t testing.TB) {
	var group sync.WaitGroup
	for range rivals {
		group.Go(func() {
			for ctx.Err() == nil {
				if err := l.increment(rand.IntN(counters)); err != nil {
					t.Error(err)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	group.Wait()
}

// increment is one try. It has a context of its own, so that the end of the rivalry
// leaves no increment in the air.
func (l *load) increment(n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	o := counter(n)
	i, err := l.store.get(ctx, o.Resource, o.Name)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%v is gone", o)
	}
	if err != nil {
		l.missed.Add(1)
		return nil
	}
	i.payload = strconv.Itoa(atoi(i.payload) + 1)
	_, err = l.store.update(ctx, o.Resource, i)
	switch {
	case err == nil:
		l.acknowledged[n].Add(1)
	case apierrors.IsConflict(err):
		l.conflicts.Add(1)
	case apierrors.IsTooManyRequests(err):
		l.missed.Add(1)
	default:
		l.missed.Add(1)
		l.open[n].Add(1)
	}
	return nil
}

// checkCounters holds each counter to the increments that were acknowledged, and
// takes it out of what the ledger is compared with.
func (l *load) checkCounters(t testing.TB, found map[ledger.Object]ledger.Stored) (increments int64) {
	for n := range counters {
		o := counter(n)
		have, at, most := int64(atoi(found[o].Payload)), l.acknowledged[n].Load(), l.acknowledged[n].Load()+l.open[n].Load()
		if have < at || have > most {
			t.Errorf("%v stands at %d; acknowledged increments %d, and %d without an answer", o, have, at, l.open[n].Load())
		}
		increments += at
		delete(found, o)
	}
	if increments == 0 {
		t.Error("no counter was ever incremented")
	}
	return increments
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}
