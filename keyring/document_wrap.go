package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// A provider wraps 52 bytes: what they are, whose they are, and the secret. So a wrap
// that was moved to another data key or ring is noticed when it is unwrapped, whatever
// the provider authenticates.
const (
	payloadMagic = "etcdgDK1"
	payloadSize  = len(payloadMagic) + len(seal.RingID{}) + 4 + secretSize
)

func payload(ring seal.RingID, number seal.KeyNumber, secret *[secretSize]byte) []byte {
	p := make([]byte, 0, payloadSize)
	p = append(p, payloadMagic...)
	p = append(p, ring[:]...)
	p = binary.BigEndian.AppendUint32(p, uint32(number))
	return append(p, secret[:]...)
}

var errNotThisKey = errors.New("what it unwrapped is not this data key: the wrap was swapped or altered")

// unwrapKey asks one provider for one data key; hangs says that it did not answer.
func unwrapKey(ctx context.Context, p kms.Provider, ring seal.RingID, number seal.KeyNumber, w kms.Wrapped) (k *dataKey, hangs bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plain, err := p.Decrypt(ctx, rand.Text(), w.Clone())
	if err != nil {
		return nil, ctx.Err() != nil, err
	}
	defer clear(plain)
	head := payloadSize - secretSize
	if len(plain) != payloadSize || !hmac.Equal(plain[:head], payload(ring, number, &[secretSize]byte{})[:head]) {
		return nil, false, errNotThisKey
	}
	return newDataKey(ring, number, (*[secretSize]byte)(plain[head:])), false, nil
}

func newDataKey(ring seal.RingID, number seal.KeyNumber, secret *[secretSize]byte) *dataKey {
	return &dataKey{key: seal.NewKey(ring, number, secret), secret: *secret}
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
