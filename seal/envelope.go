package seal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// A sealed value, version 1; numbers are big-endian:
//
//	 0   3  marker  e5 65 67: no UTF-8 text begins so, nor does an object of Kubernetes
//	 3   1  version 01
//	 4   8  ring    the ring's random id
//	12   4  key     the number of the data key in its ring
//	16   4  length  of the value, in bytes
//	20  24  nonce   of XAES-256-GCM
//	44   n  ciphertext
//	44+n 16 tag
//	60+n 4  check   CRC-32C of everything before
//
// The additional data is the first 20 bytes and then the name of the etcd key: a
// sealed value opens at its own key only. The check authenticates nothing, the tag
// does; it tells damage from displacement, and lets a reader without keys see damage.
const (
	versionAt  = 3
	ringAt     = 4
	keyAt      = 12
	lengthAt   = 16
	headerSize = 20
	halfEnd    = headerSize + halfNonce
	nonceEnd   = headerSize + nonceSize
	checkSize  = 4

	version1 = 1

	// Overhead is by how many bytes a sealed value is longer than the value.
	Overhead = nonceEnd + tagSize + checkSize
)

var marker = []byte{0xe5, 'e', 'g'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// RingID names a ring: the set of data keys of one cluster, for life. It is random,
// and not etcd's cluster id, which changes when a snapshot is restored.
type RingID [8]byte

func (id RingID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the id in hexadecimal.
func (id RingID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads an id in hexadecimal.
func (id *RingID) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(id)) {
		return fmt.Errorf("a ring id has %d hexadecimal digits, not %d", hex.EncodedLen(len(id)), len(text))
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// KeyNumber names a data key within its ring: 1, 2, 3 and so on, never used again.
type KeyNumber uint32

// Why a stored value does not open. Each has its own way out.
var (
	// ErrNotSealed: the bytes are not a sealed value: plaintext, as far as this
	// package can tell.
	ErrNotSealed = errors.New("is not sealed")
	// ErrVersion: sealed in a version of the format that this build does not know.
	ErrVersion = errors.New("is sealed in a version of the format that this etcdguard does not know")
	// ErrTruncated: bytes are missing at the end.
	ErrTruncated = errors.New("is cut short")
	// ErrForeignRing: sealed under a ring that is not this one: another cluster's.
	ErrForeignRing = errors.New("is sealed under another ring")
	// ErrUnknownKey: sealed under a data key that is not there.
	ErrUnknownKey = errors.New("is sealed under a data key that this ring does not have")
	// ErrAltered: its bytes are not those that were sealed.
	ErrAltered = errors.New("was altered after it was sealed")
	// ErrMoved: its bytes are whole, but were sealed for another key name, or with
	// another secret under the same ring and number; or somebody altered them and made
	// the check agree.
	ErrMoved = errors.New("was sealed for another key name, or altered on purpose")
)

// Envelope is what the bytes of a sealed value say without any key.
type Envelope struct {
	Ring  RingID
	Key   KeyNumber
	Size  int  // of the value inside
	Whole bool // the check agrees: not damaged by accident
}

// IsSealed reports whether stored begins as sealed values do, in any version.
func IsSealed(stored []byte) bool { return bytes.HasPrefix(stored, marker) }

// Parse reads what can be read without a key: ErrNotSealed, ErrVersion,
// ErrTruncated, or ErrAltered where there are more bytes than there should be. With
// the latter two, Ring and Key are what the header says, if that much is there.
// Nothing of it is authentic before the value has opened.
func Parse(stored []byte) (Envelope, error) {
	e, err := Header(stored)
	if err == nil {
		e.Whole = checked(stored)
	}
	return e, err
}

// Header is Parse without the check, which takes reading all of stored: for who opens
// it next, since Open checks. Whole is not set.
func Header(stored []byte) (e Envelope, err error) {
	if !IsSealed(stored) {
		return e, ErrNotSealed
	}
	if len(stored) > versionAt && stored[versionAt] != version1 {
		return e, ErrVersion
	}
	if len(stored) < headerSize {
		return e, ErrTruncated
	}
	e.Ring = RingID(stored[ringAt:keyAt])
	e.Key = KeyNumber(binary.BigEndian.Uint32(stored[keyAt:lengthAt]))
	size := binary.BigEndian.Uint32(stored[lengthAt:headerSize])
	switch there := int64(len(stored)) - Overhead; {
	case there < int64(size):
		return e, ErrTruncated
	case there > int64(size):
		return e, ErrAltered
	}
	e.Size = int(size)
	return e, nil
}

func checked(stored []byte) bool {
	body := stored[:len(stored)-checkSize]
	return binary.BigEndian.Uint32(stored[len(body):]) == crc32.Checksum(body, castagnoli)
}

// maxValue is what the length field holds; etcd's own limit is far below.
const maxValue = math.MaxUint32
