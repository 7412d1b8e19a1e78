package keyring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/etcdguard/etcdguard/seal"
)

// Ring seals and opens values as the view in force says. All of its methods may be
// called concurrently, and on a nil Ring: then nothing is sealed.
type Ring struct {
	inForce atomic.Pointer[view]
	past    atomic.Pointer[[]pastView] // of a moment ago, the newest first
	// reload asks for a newer view when a value names a key that this one does not
	// have; it reports whether there is one. Nil: there never is.
	reload func(seal.KeyNumber) bool
}

// view is one state of a ring as this member has it open. Its content is immutable.
type view struct {
	ring       seal.RingID
	generation uint64 // of the ring's document
	phase      Phase
	active     *seal.Key // seals; nil below Sealing is allowed
	keys       map[seal.KeyNumber]*seal.Key
	refusal    error // why this member may not write; nil: it may

	writes atomic.Int64 // under way that began under this view
	lost   atomic.Int64 // when etcd last left one of them without an answer, in nanoseconds since processBegun; 0: never
}

var (
	// ErrPlaintext: a value that is not sealed, where only sealed ones may be.
	ErrPlaintext = errors.New("is stored in plaintext, in a cluster where every value is sealed")
	// ErrNoRing: a value that is sealed, in a cluster without a ring.
	ErrNoRing = errors.New("is sealed, and this cluster has no ring to open it with")
	// ErrLooksSealed: a client's value that begins as sealed values do, at a time when
	// it would be stored as it came, and be taken for one.
	ErrLooksSealed = errors.New("begins with the bytes that mark a sealed value, which can't be stored unsealed")
)

// newRing is a ring of which nothing is known yet.
func newRing(reload func(seal.KeyNumber) bool) *Ring {
	r := &Ring{reload: reload}
	r.inForce.Store(&view{phase: Strict, keys: map[seal.KeyNumber]*seal.Key{}, refusal: errNotKnown})
	return r
}

var errNotKnown = errors.New("the state of this cluster's ring is not known yet")

// Static is a ring that never changes, for tests and for tools that work offline.
// The key of the highest number is the active one.
func Static(id seal.RingID, phase Phase, keys ...*seal.Key) *Ring {
	v := &view{ring: id, generation: 1, phase: phase, keys: map[seal.KeyNumber]*seal.Key{}}
	for _, k := range keys {
		v.keys[k.Number()] = k
		if v.active == nil || k.Number() > v.active.Number() {
			v.active = k
		}
	}
	r := &Ring{}
	r.inForce.Store(v)
	return r
}

// Phase is the phase in force on this member.
func (r *Ring) Phase() Phase {
	if r == nil {
		return Off
	}
	return r.inForce.Load().phase
}

// Write is a write on its way through etcd. Its values are sealed under one view,
// and no later view is acknowledged before it is done. The zero Write is one of a
// cluster that does not seal.
type Write struct{ view *view }

// BeginWrite takes a place among the writes under way; Done gives it back. It fails
// when this member can't confirm the state of its ring.
func (r *Ring) BeginWrite() (Write, error) {
	if r == nil {
		return Write{}, nil
	}
	for {
		v := r.inForce.Load()
		if !r.enter(v) {
			continue
		}
		if v.refusal != nil {
			v.writes.Add(-1)
			return Write{}, v.refusal
		}
		return Write{v}, nil
	}
}

// enter counts a write under a view that is in force still. Whoever swapped it and then
// found no write under it must not have one begin there later.
func (r *Ring) enter(v *view) bool {
	v.writes.Add(1)
	if r.inForce.Load() == v {
		return true
	}
	v.writes.Add(-1)
	return false
}

// Seal returns what is to be stored for value under the etcd key of that name. It
// may be value itself. ErrLooksSealed is the client's error, not the ring's.
func (w Write) Seal(name, value []byte) ([]byte, error) {
	switch {
	case w.view == nil:
		return value, nil
	case w.view.phase == Off:
		if _, whole := ofLostRing(value); whole {
			return nil, ErrLooksSealed // it could not be read again
		}
		return value, nil
	case w.view.phase.Seals():
		return w.view.active.Seal(nil, name, value), nil
	case seal.IsSealed(value):
		return nil, ErrLooksSealed
	}
	return value, nil
}

// processBegun makes times of one process comparable whatever the clock does.
var processBegun = time.Now()

// Lost says, before Done, that etcd gave no answer: the request ran out of time, its
// client went away, the server was stopping. It may still be carried out, so a later
// view is not acknowledged before that can't be any more. Any error of etcd may be
// reported as this.
func (w Write) Lost() {
	if w.view == nil {
		return
	}
	now := int64(time.Since(processBegun))
	for {
		last := w.view.lost.Load()
		if last >= now || w.view.lost.CompareAndSwap(last, now) {
			return
		}
	}
}

// Done says that etcd has answered.
func (w Write) Done() {
	if w.view != nil {
		w.view.writes.Add(-1)
	}
}

// Open returns the value that stored stands for under the etcd key of that name. It
// may be stored itself; stored is never changed. The error says what is wrong with
// the value, without naming it: one of seal's, or ErrPlaintext.
func (r *Ring) Open(name, stored []byte) ([]byte, error) {
	if r == nil {
		return stored, nil
	}
	value, err := r.inForce.Load().open(name, stored)
	if err == nil {
		return value, nil
	}
	if errors.Is(err, seal.ErrUnknownKey) && r.reload != nil {
		// Raft brought the ring before the value, but this member may not have looked at
		// it yet.
		if e, _ := seal.Header(stored); r.reload(e.Key) {
			if value, err = r.inForce.Load().open(name, stored); err == nil {
				return value, nil
			}
		}
	}
	if value, ok := r.openAsBefore(name, stored); ok {
		return value, nil
	}
	return nil, err
}

// pastView is a view that was in force, and until when it is asked.
type pastView struct {
	*view
	until time.Duration // since processBegun
}

// replace puts a view in force, and returns the one before. For a while that is asked
// about what the new one refuses: a request may have read the value before it was
// rewritten, and be on its way still.
func (r *Ring) replace(v *view, patience time.Duration) (before *view) {
	now := time.Since(processBegun)
	before = r.inForce.Load()
	past := []pastView{{before, now + patience}}
	if older := r.past.Load(); older != nil {
		for _, p := range *older {
			if p.until > now {
				past = append(past, p)
			}
		}
	}
	r.past.Store(&past) // first: there is no moment in which neither is asked
	r.inForce.Store(v)
	return before
}

func (r *Ring) openAsBefore(name, stored []byte) (value []byte, ok bool) {
	past := r.past.Load()
	if past == nil {
		return nil, false
	}
	now := time.Since(processBegun)
	for _, p := range *past {
		if p.until <= now {
			break
		}
		if value, err := p.open(name, stored); err == nil {
			return value, true
		}
	}
	return nil, false
}

func (v *view) open(name, stored []byte) ([]byte, error) {
	if v.phase == Off {
		if _, whole := ofLostRing(stored); whole {
			return nil, ErrNoRing
		}
		return stored, nil
	}
	if !seal.IsSealed(stored) {
		if v.phase == Strict {
			return nil, ErrPlaintext
		}
		return stored, nil
	}
	e, err := seal.Header(stored) // Open looks at the check
	if err != nil {
		return nil, err
	}
	if e.Ring != v.ring {
		return nil, seal.ErrForeignRing
	}
	k, ok := v.keys[e.Key]
	if !ok {
		return nil, fmt.Errorf("%w: number %d", seal.ErrUnknownKey, e.Key)
	}
	return k.Open(nil, name, stored)
}
