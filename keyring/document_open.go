package keyring

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// Opened is a document whose MAC was verified and whose data keys are all unwrapped.
// It never changes and never shows a secret, however it is printed.
type Opened struct {
	doc  *Document
	keys []*dataKey // those of doc, in the same order
}

// dataKey is an unwrapped data key. Generations of a ring share it, and with it the
// derived keys that seal.Key keeps.
type dataKey struct {
	key    *seal.Key
	secret [secretSize]byte // to wrap it again and for the MAC
}

const secretSize = 32

// ErrForged: a document was not written by who has the ring's active data key.
var ErrForged = errors.New("the document was not written by a holder of this ring's active data key: it was altered or forged")

// Open unwraps every data key and verifies the MAC. A secret that known has, another
// state of the same ring, is taken from there and no provider is asked for it, so a
// member that runs goes on while its providers are away; known may be nil. The others
// are asked for in the order of providers. The errors are *UnopenedError and ErrForged.
func (d *Document) Open(ctx context.Context, providers []kms.Provider, known *Opened) (*Opened, error) {
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("opening a ring's document: %w", err)
	}
	if known != nil && known.doc.Ring != d.Ring {
		known = nil
	}
	o, err := d.openKnowing(ctx, providers, known)
	if known != nil && errors.Is(err, ErrForged) {
		// Or the ring went two ways after a snapshot was restored, and this active key has
		// the number and the second of one that is known.
		if fresh, again := d.openKnowing(ctx, providers, nil); again == nil {
			o, err = fresh, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if known != nil && d.Generation >= known.doc.Generation && d.active().Number < known.doc.active().Number {
		// The active key only moves on: this is somebody who has an old one.
		return nil, fmt.Errorf("opening ring %v generation %d: data key %d is active again: %w", d.Ring, d.Generation, d.active().Number, ErrForged)
	}
	return o, nil
}

func (d *Document) openKnowing(ctx context.Context, providers []kms.Provider, known *Opened) (*Opened, error) {
	o := &Opened{doc: d.clone(), keys: make([]*dataKey, len(d.Keys))}
	for i, k := range o.doc.Keys {
		if known == nil {
			break
		}
		if same := known.doc.key(k.Number); same != nil && same.Created.Equal(k.Created) {
			o.keys[i] = known.dataKey(k.Number)
		}
	}
	if err := o.unwrap(ctx, providers); err != nil {
		return nil, err
	}
	if !hmac.Equal(o.mac(), d.MAC) {
		return nil, fmt.Errorf("opening ring %v generation %d: %w", d.Ring, d.Generation, ErrForged)
	}
	return o, nil
}

// patience bounds one request to a provider, so that one that hangs does not keep the
// next from being asked.
const patience = 10 * time.Second

// unwrap fills in the keys that are missing, provider by provider.
func (o *Opened) unwrap(ctx context.Context, providers []kms.Provider) error {
	failures := make([][]Attempt, len(o.keys))
	for _, p := range providers {
		hangs := false
		for i := range o.keys {
			if o.keys[i] != nil {
				continue
			}
			w := o.doc.Keys[i].wrap(p.Name())
			switch {
			case w == nil:
				failures[i] = append(failures[i], Attempt{p.Name(), "", errDidNotWrap})
				continue
			case hangs:
				failures[i] = append(failures[i], Attempt{p.Name(), w.KeyID, errHangs})
				continue
			}
			var err error
			o.keys[i], hangs, err = unwrapKey(ctx, p, o.doc.Ring, o.doc.Keys[i].Number, w.Wrapped)
			if err != nil {
				failures[i] = append(failures[i], Attempt{p.Name(), w.KeyID, err})
			}
		}
	}
	unopened := &UnopenedError{Ring: o.doc.Ring, Generation: o.doc.Generation}
	for i, k := range o.keys {
		if k != nil {
			continue
		}
		for _, w := range o.doc.Keys[i].Wraps {
			if !slices.ContainsFunc(providers, func(p kms.Provider) bool { return p.Name() == w.Provider }) {
				failures[i] = append(failures[i], Attempt{w.Provider, w.KeyID, errNotConfigured})
			}
		}
		unopened.Keys = append(unopened.Keys, UnopenedKey{o.doc.Keys[i].Number, failures[i]})
	}
	if len(unopened.Keys) > 0 {
		return unopened
	}
	return nil
}

func (k *DataKey) wrap(provider string) *Wrap {
	for i := range k.Wraps {
		if k.Wraps[i].Provider == provider {
			return &k.Wraps[i]
		}
	}
	return nil
}

// mac is the MAC that the document should have.
func (o *Opened) mac() []byte {
	active := o.dataKey(o.doc.active().Number)
	key, err := hkdf.Key(sha256.New, active.secret[:], nil, "etcdguard ring document v1", sha256.Size)
	if err != nil {
		panic(err) // the length is right
	}
	without := *o.doc
	without.MAC = nil
	h := hmac.New(sha256.New, key)
	h.Write(without.canonical())
	return h.Sum(nil)
}

func (o *Opened) dataKey(number seal.KeyNumber) *dataKey {
	for i, k := range o.doc.Keys {
		if k.Number == number {
			return o.keys[i]
		}
	}
	return nil
}

// Document is the wrapped form; the caller may change it.
func (o *Opened) Document() *Document { return o.doc.clone() }

// Generation is that of the document.
func (o *Opened) Generation() uint64 { return o.doc.Generation }

// ID is the ring's id.
func (o *Opened) ID() seal.RingID { return o.doc.Ring }

// Phase is that of the document.
func (o *Opened) Phase() Phase { return o.doc.Phase }

// Key is the data key of that number, or nil.
func (o *Opened) Key(number seal.KeyNumber) *seal.Key {
	if k := o.dataKey(number); k != nil {
		return k.key
	}
	return nil
}

// Keys are all data keys, by number.
func (o *Opened) Keys() []*seal.Key {
	keys := make([]*seal.Key, len(o.keys))
	for i, k := range o.keys {
		keys[i] = k.key
	}
	return keys
}

// Active is the data key that seals.
func (o *Opened) Active() *seal.Key { return o.Key(o.doc.active().Number) }

// Ring is a ring that stays at this state, for tools that work offline.
func (o *Opened) Ring() *Ring {
	r := &Ring{}
	r.inForce.Store(o.view())
	return r
}

// view is what this state means for a member that may write.
func (o *Opened) view() *view {
	v := &view{ring: o.doc.Ring, generation: o.doc.Generation, phase: o.doc.Phase,
		active: o.Active(), keys: map[seal.KeyNumber]*seal.Key{}}
	for _, k := range o.Keys() {
		v.keys[k.Number()] = k
	}
	return v
}

func (o Opened) String() string {
	if o.doc == nil {
		return "no ring"
	}
	return fmt.Sprintf("ring %v generation %d, phase %v, %d data keys, active %d",
		o.doc.Ring, o.doc.Generation, o.doc.Phase, len(o.doc.Keys), o.doc.active().Number)
}

// Format prints String under every verb, %#v included.
func (o Opened) Format(f fmt.State, _ rune) { fmt.Fprint(f, o.String()) }

// MarshalJSON writes the wrapped form.
func (o Opened) MarshalJSON() ([]byte, error) {
	if o.doc == nil {
		return []byte("null"), nil
	}
	return o.doc.canonical(), nil
}

// LogValue is String.
func (o Opened) LogValue() slog.Value { return slog.StringValue(o.String()) }
