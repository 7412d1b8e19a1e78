package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// Create makes a ring of one data key, active, that every provider wrapped. The error
// names each provider that did not.
func Create(ctx context.Context, phase Phase, providers []kms.Provider, now time.Time) (*Opened, error) {
	o := &Opened{doc: &Document{Version: documentVersion, Generation: 1, Phase: phase}}
	rand.Read(o.doc.Ring[:])
	if err := o.addKey(ctx, 1, Active, providers, now); err != nil {
		return nil, fmt.Errorf("creating a ring: %w", err)
	}
	o.doc.MAC = o.mac()
	if err := o.doc.check(); err != nil {
		return nil, fmt.Errorf("creating a ring: %w", err)
	}
	return o, nil
}

// next is the state after this one, for change to work on. The transition methods
// share it: a generation more, and a MAC in the end.
func (o *Opened) next(what string, change func(*Opened) error) (*Opened, error) {
	n := &Opened{doc: o.doc.clone(), keys: slices.Clone(o.keys)}
	err := change(n)
	if err == nil && n.doc.Generation == math.MaxUint64 {
		err = errors.New("there is no generation after this one")
	}
	if err == nil {
		n.doc.Generation++
		n.doc.MAC = n.mac()
		err = n.doc.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s in ring %v generation %d: %w", what, o.doc.Ring, o.doc.Generation, err)
	}
	return n, nil
}

// WithPhase goes one step up or down.
func (o *Opened) WithPhase(p Phase) (*Opened, error) {
	return o.next(fmt.Sprintf("going from phase %v to %v", o.doc.Phase, p), func(n *Opened) error {
		if step := int(p) - int(o.doc.Phase); p > Strict || step != 1 && step != -1 {
			return errors.New("phases are taken one at a time: off, can-open, sealing, strict, and the same way back")
		}
		n.doc.Phase = p
		return nil
	})
}

// WithNewKey adds a data key in state prepare, wrapped by every provider. So are the
// others then: a provider that is new in the configuration, or has a new key, wraps what
// it did not. After a change of providers, a rotation is thus all there is to do.
func (o *Opened) WithNewKey(ctx context.Context, providers []kms.Provider, now time.Time) (*Opened, error) {
	return o.next("adding a data key", func(n *Opened) error {
		last := n.doc.Keys[len(n.doc.Keys)-1]
		switch {
		case last.State == Prepare:
			return fmt.Errorf("data key %d is prepared already; make it active first", last.Number)
		case last.Number == math.MaxUint32:
			return errors.New("there is no number after the last")
		}
		if err := n.cover(ctx, providers); err != nil {
			return err
		}
		return n.addKey(ctx, last.Number+1, Prepare, providers, now)
	})
}

// WithActive makes the prepared data key the active one, and retires the one that was.
// The MAC is under the new one.
func (o *Opened) WithActive(number seal.KeyNumber) (*Opened, error) {
	return o.next(fmt.Sprintf("making data key %d active", number), func(n *Opened) error {
		k := n.doc.key(number)
		switch {
		case k == nil:
			return errors.New("there is no such data key")
		case k.State != Prepare:
			return fmt.Errorf("it is %v, and only a prepared one becomes active", k.State)
		}
		n.doc.active().State = Retired
		k.State = Active
		return nil
	})
}

// Without removes a retired data key. What is still sealed with it opens no more.
func (o *Opened) Without(number seal.KeyNumber) (*Opened, error) {
	return o.next(fmt.Sprintf("removing data key %d", number), func(n *Opened) error {
		i := slices.IndexFunc(n.doc.Keys, func(k DataKey) bool { return k.Number == number })
		switch {
		case i < 0:
			return errors.New("there is no such data key")
		case n.doc.Keys[i].State != Retired:
			return fmt.Errorf("it is %v, and only a retired one can be removed", n.doc.Keys[i].State)
		}
		n.doc.Keys = slices.Delete(n.doc.Keys, i, i+1)
		n.keys = slices.Delete(n.keys, i, i+1)
		return nil
	})
}

// Rewrapped has every data key wrapped anew by every provider, with the key that the
// provider uses now. Wraps of other providers stay, except of those named in drop.
func (o *Opened) Rewrapped(ctx context.Context, providers []kms.Provider, drop ...string) (*Opened, error) {
	return o.next("wrapping the data keys anew", func(n *Opened) error { return n.rewrap(ctx, providers, drop) })
}
