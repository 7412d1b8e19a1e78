package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
)

// Key is one data key, ready for use by many goroutines at once.
type Key struct {
	ring   RingID
	number KeyNumber
	xaes   *xaes

	renewAfter uint32               // the constant, but in tests
	sealing    atomic.Pointer[half] // what new nonces begin with
	opening    [cached]atomic.Pointer[half]
}

// half is the first half of a nonce with the key that it derives.
type half struct {
	nonce [halfNonce]byte
	aead  cipher.AEAD
	used  atomic.Uint32
}

const (
	// cached bounds the derived keys that are kept for opening. A member uses one a
	// start, and one more for each renewAfter values.
	cached = 64
	// renewAfter bounds the values under one derived key. Their random 96-bit halves
	// collide with a probability of 2⁻⁵⁷ then.
	renewAfter = 1 << 20
)

// NewKey makes a data key usable. The secret is not kept.
func NewKey(ring RingID, number KeyNumber, secret *[keySize]byte) *Key {
	k := &Key{ring: ring, number: number, xaes: newXAES(secret), renewAfter: renewAfter}
	k.sealing.Store(k.newHalf())
	return k
}

func (k *Key) newHalf() *half {
	var nonce [halfNonce]byte
	rand.Read(nonce[:]) // never fails (crypto/rand, Go 1.24)
	return k.halfFrom(nonce)
}

func (k *Key) halfFrom(nonce [halfNonce]byte) *half {
	return &half{nonce: nonce, aead: k.xaes.derive(&nonce)}
}

// Ring is the ring that the key belongs to.
func (k *Key) Ring() RingID { return k.ring }

// Number is the key's number in its ring.
func (k *Key) Number() KeyNumber { return k.number }

// String names the key; it shows nothing of the secret.
func (k *Key) String() string { return fmt.Sprintf("key %d of ring %v", k.number, k.ring) }

// Seal appends value, sealed for the etcd key of that name, to dst. Neither may
// overlap dst, its spare capacity included.
func (k *Key) Seal(dst, name, value []byte) []byte {
	if uint64(len(value)) > maxValue {
		panic("seal: a value of more than 4 GiB") // etcd takes no such request
	}
	h := k.halfToSeal()
	begin := len(dst)
	dst = slices.Grow(dst, len(value)+Overhead)
	dst = append(dst, marker...)
	dst = append(dst, version1)
	dst = append(dst, k.ring[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(k.number))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	bound := additional(dst[begin:], name)
	dst = append(dst, h.nonce[:]...)
	dst = h.aead.Seal(dst, nil, value, *bound) // appends nonce, ciphertext and tag
	returnAdditional(bound)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[begin:], castagnoli))
}

// halfToSeal counts a value. When several goroutines find a half used up, each makes
// a new one and one of these is taken; the bound may be passed by as many values as
// there are goroutines.
func (k *Key) halfToSeal() *half {
	h := k.sealing.Load()
	if h.used.Add(1) <= k.renewAfter {
		return h
	}
	k.sealing.CompareAndSwap(h, k.newHalf())
	h = k.sealing.Load()
	h.used.Add(1)
	return h
}

// Open appends to dst the value that was sealed for the etcd key of that name. The
// errors are those of Parse, ErrForeignRing, ErrUnknownKey, ErrAltered and ErrMoved.
// Neither name nor stored may overlap dst, its spare capacity included, which is
// overwritten also when stored does not open, but never with the value.
func (k *Key) Open(dst, name, stored []byte) ([]byte, error) {
	e, err := Header(stored)
	if err != nil {
		return nil, err
	}
	if e.Ring != k.ring {
		return nil, ErrForeignRing
	}
	if e.Key != k.number {
		return nil, ErrUnknownKey
	}
	if !checked(stored) {
		return nil, ErrAltered
	}
	h, fresh := k.halfToOpen(stored[headerSize:halfEnd])
	bound := additional(stored[:headerSize], name)
	value, err := h.aead.Open(dst, nil, stored[halfEnd:len(stored)-checkSize], *bound)
	returnAdditional(bound)
	if err != nil {
		return nil, ErrMoved
	}
	if fresh { // what is not authentic displaces nothing
		k.slot(h.nonce[:]).Store(h)
	}
	return value, nil
}

// halfToOpen finds or derives the key of a nonce's first half.
func (k *Key) halfToOpen(nonce []byte) (h *half, fresh bool) {
	if h := k.slot(nonce).Load(); h != nil && bytes.Equal(h.nonce[:], nonce) {
		return h, false
	}
	if h := k.sealing.Load(); bytes.Equal(h.nonce[:], nonce) {
		return h, true
	}
	return k.halfFrom([halfNonce]byte(nonce)), true
}

// slot is where a half is kept. Halves are random, so their first byte spreads them.
func (k *Key) slot(nonce []byte) *atomic.Pointer[half] { return &k.opening[nonce[0]%cached] }

// additional is the additional data of a value. It comes from a pool, since the AEAD
// would make a buffer on the stack escape.
func additional(header, name []byte) *[]byte {
	b := additionals.Get().(*[]byte)
	*b = append(append((*b)[:0], header...), name...)
	return b
}

var additionals = sync.Pool{New: func() any { return new(make([]byte, 0, 256)) }}

func returnAdditional(b *[]byte) {
	if cap(*b) <= 4096 { // etcd takes names of more than a megabyte
		additionals.Put(b)
	}
}
