package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sync/atomic"
)

// Key is one data key, ready for use by many goroutines at once.
type Key struct {
	ring   RingID
	number KeyNumber
	xaes   *xaes

	sealing atomic.Pointer[half] // what new nonces begin with
	opening [cached]atomic.Pointer[half]
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
	k := &Key{ring: ring, number: number, xaes: newXAES(secret)}
	k.sealing.Store(k.newHalf())
	return k
}

func (k *Key) newHalf() *half {
	h := &half{}
	rand.Read(h.nonce[:]) // never fails (crypto/rand, Go 1.24)
	h.aead = k.xaes.derive(&h.nonce)
	return h
}

// Ring is the ring that the key belongs to.
func (k *Key) Ring() RingID { return k.ring }

// Number is the key's number in its ring.
func (k *Key) Number() KeyNumber { return k.number }

// Seal appends value, sealed for the etcd key of that name, to dst. The value and
// dst must not overlap.
func (k *Key) Seal(dst, name, value []byte) []byte {
	if uint64(len(value)) > maxValue {
		panic("seal: a value of more than 4 GiB") // etcd takes no such request
	}
	h := k.sealing.Load()
	if h.used.Add(1) > renewAfter {
		fresh := k.newHalf()
		k.sealing.CompareAndSwap(h, fresh) // or another goroutine was first
		h = k.sealing.Load()
		h.used.Add(1)
	}
	begin := len(dst)
	dst = slices.Grow(dst, len(value)+Overhead)
	dst = append(dst, marker...)
	dst = append(dst, version1)
	dst = append(dst, k.ring[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(k.number))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	dst = append(dst, h.nonce[:]...)
	dst = dst[:begin+nonceEnd]
	nonce := dst[begin+headerSize+halfNonce : begin+nonceEnd]
	rand.Read(nonce)
	var room [256]byte
	dst = h.aead.Seal(dst, nonce, value, additional(room[:0], dst[begin:begin+headerSize], name))
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[begin:], castagnoli))
}

func additional(room, header, name []byte) []byte {
	return append(append(room, header...), name...)
}

// Open appends to dst the value that was sealed for the etcd key of that name. The
// errors are those of Parse, ErrForeignRing, ErrUnknownKey, ErrAltered and ErrMoved.
func (k *Key) Open(dst, name, stored []byte) ([]byte, error) {
	e, err := parse(stored)
	if err != nil {
		return nil, err
	}
	if e.Ring != k.ring {
		return nil, ErrForeignRing
	}
	if e.Key != k.number {
		return nil, ErrUnknownKey
	}
	h := k.halfOf(stored[headerSize : headerSize+halfNonce])
	var room [256]byte
	value, err := h.aead.Open(dst, stored[headerSize+halfNonce:nonceEnd],
		stored[nonceEnd:len(stored)-checkSize], additional(room[:0], stored[:headerSize], name))
	switch {
	case err == nil:
		return value, nil
	case checked(stored):
		return nil, ErrMoved
	default:
		return nil, ErrAltered
	}
}

// halfOf finds or derives the key of a nonce's first half. Halves are random, so
// their first byte spreads them.
func (k *Key) halfOf(nonce []byte) *half {
	slot := &k.opening[nonce[0]%cached]
	if h := slot.Load(); h != nil && bytes.Equal(h.nonce[:], nonce) {
		return h
	}
	h := &half{nonce: [halfNonce]byte(nonce)}
	h.aead = k.xaes.derive(&h.nonce)
	slot.Store(h)
	return h
}
