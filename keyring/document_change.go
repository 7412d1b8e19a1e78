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

// cover has every provider wrap the data keys that it did not wrap with the key that it
// uses now.
func (o *Opened) cover(ctx context.Context, providers []kms.Provider) error {
	for _, p := range providers {
		status, err := statusOf(ctx, p)
		if err != nil {
			return fmt.Errorf("provider %q does not say which key it uses: %w", p.Name(), err)
		}
		for i := range o.doc.Keys {
			k := &o.doc.Keys[i]
			old := k.wrap(p.Name())
			if old != nil && old.KeyID == status.KeyID {
				continue
			}
			w, err := wrapKey(ctx, p, o.doc.Ring, k.Number, &o.keys[i].secret)
			switch {
			case err != nil:
				return err
			case old != nil:
				*old = w
			default:
				k.Wraps = append(k.Wraps, w)
			}
		}
	}
	return nil
}

func statusOf(ctx context.Context, p kms.Provider) (kms.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return p.Status(ctx)
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

func (o *Opened) rewrap(ctx context.Context, providers []kms.Provider, drop []string) error {
	for _, name := range drop {
		if slices.ContainsFunc(providers, func(p kms.Provider) bool { return p.Name() == name }) {
			return fmt.Errorf("provider %q is to wrap and to be dropped", name)
		}
	}
	for i := range o.doc.Keys {
		k := &o.doc.Keys[i]
		wraps, err := wrapAll(ctx, providers, o.doc.Ring, k.Number, &o.keys[i].secret)
		if err != nil {
			return err
		}
		for _, w := range k.Wraps {
			renewed := slices.ContainsFunc(wraps, func(r Wrap) bool { return r.Provider == w.Provider })
			if !renewed && !slices.Contains(drop, w.Provider) {
				wraps = append(wraps, w)
			}
		}
		k.Wraps = wraps
	}
	return nil
}

// same is the document of this state with other wraps, at the same generation.
func (o *Opened) same(what string, change func(*Opened) error) (*Document, error) {
	n := &Opened{doc: o.doc.clone(), keys: o.keys}
	err := change(n)
	if err == nil {
		n.doc.MAC = n.mac()
		err = n.doc.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s ring %v generation %d: %w", what, o.doc.Ring, o.doc.Generation, err)
	}
	return n.doc, nil
}

// Export is the document with every data key wrapped by p as well: a copy to keep
// elsewhere, that opens with p when all else is lost.
func (o *Opened) Export(ctx context.Context, p kms.Provider) (*Document, error) {
	return o.same("exporting", func(n *Opened) error {
		for i := range n.doc.Keys {
			k := &n.doc.Keys[i]
			w, err := wrapKey(ctx, p, n.doc.Ring, k.Number, &n.keys[i].secret)
			if err != nil {
				return err
			}
			k.Wraps = append(slices.DeleteFunc(k.Wraps, func(old Wrap) bool { return old.Provider == w.Provider }), w)
		}
		return nil
	})
}

// WithoutExport is the document without what Export under a passphrase added: what was
// exported, byte by byte. A member does not store that, since a passphrase would be all
// that stood between its disk and the values.
func (o *Opened) WithoutExport() (*Document, error) {
	return o.same("taking the export's wraps from", func(n *Opened) error {
		for i := range n.doc.Keys {
			k := &n.doc.Keys[i]
			k.Wraps = slices.DeleteFunc(k.Wraps, func(w Wrap) bool { return w.Provider == kms.ExportName })
		}
		return nil
	})
}

// Revived is WithoutExport with every data key wrapped by providers, at the same
// generation: what a later document of this ring, in etcd, can be opened with.
func (o *Opened) Revived(ctx context.Context, providers []kms.Provider) (*Document, error) {
	return o.same("wrapping the data keys of", func(n *Opened) error {
		return n.rewrap(ctx, providers, []string{kms.ExportName})
	})
}

// addKey appends a new random data key.
func (o *Opened) addKey(ctx context.Context, number seal.KeyNumber, state KeyState, providers []kms.Provider, now time.Time) error {
	var secret [secretSize]byte
	defer clear(secret[:])
	rand.Read(secret[:])
	wraps, err := wrapAll(ctx, providers, o.doc.Ring, number, &secret)
	if err != nil {
		return err
	}
	o.doc.Keys = append(o.doc.Keys, DataKey{Number: number, State: state, Created: now.UTC().Truncate(time.Second), Wraps: wraps})
	o.keys = append(o.keys, newDataKey(o.doc.Ring, number, &secret))
	return nil
}

// wrapAll has every provider wrap a data key; one that does not is an error, since a
// data key that fewer can open than were asked to is what nobody would notice.
func wrapAll(ctx context.Context, providers []kms.Provider, ring seal.RingID, number seal.KeyNumber, secret *[secretSize]byte) ([]Wrap, error) {
	if len(providers) == 0 {
		return nil, errors.New("there is no provider to wrap data keys; name one under sealing.providers")
	}
	var wraps []Wrap
	var failures []error
	for _, p := range providers {
		w, err := wrapKey(ctx, p, ring, number, secret)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		wraps = append(wraps, w)
	}
	return wraps, errors.Join(failures...)
}

// wrapKey has a provider wrap a data key, and unwrap it again: one that may encrypt
// and not decrypt would be noticed at the next start, which is too late.
func wrapKey(ctx context.Context, p kms.Provider, ring seal.RingID, number seal.KeyNumber, secret *[secretSize]byte) (Wrap, error) {
	fail := func(what string, err error) (Wrap, error) {
		return Wrap{}, fmt.Errorf("provider %q %s data key %d: %w", p.Name(), what, number, err)
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plain := payload(ring, number, secret)
	defer clear(plain)
	w, err := p.Encrypt(limited, rand.Text(), plain)
	if err == nil {
		err = w.Check()
	}
	if err != nil {
		return fail("did not wrap", err)
	}
	again, _, err := unwrapKey(ctx, p, ring, number, w)
	if err == nil && again.secret != *secret {
		err = errNotThisKey
	}
	if err != nil {
		return fail("does not unwrap what it wrapped of", err)
	}
	return Wrap{p.Name(), w.Clone()}, nil
}
