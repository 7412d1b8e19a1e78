package etcdapi

import (
	"bytes"
	"fmt"
	"strconv"
)

// Kind says how much of the key space a Range names.
type Kind uint8

const (
	// None names no key: the request has no key range (LeaseGrant, Status).
	None Kind = iota
	// Point names the one key Begin.
	Point
	// Span names the keys from Begin up to, and without, End.
	Span
	// Tail names every key from Begin on; etcd writes it as range_end "\x00".
	Tail
)

// Range is a stretch of the key space in one normal form, so that two requests
// that reach the same keys are judged alike however they are spelled. etcd's own
// authorisation was wrong twice for want of it (CVE-2026-73499, CVE-2026-44283).
//
// The slices alias the request that the Range was made from.
type Range struct {
	Kind  Kind
	Begin []byte
	End   []byte // only for a Span; exclusive
}

// openEnd is etcd's spelling of "no upper bound" in range_end.
var openEnd = []byte{0}

// NewRange normalises key and range_end as etcd's KV and Watch services read
// them (server/etcdserver/txn/range.go, mvcc): no range_end is the one key,
// "\x00" is everything from key on, anything else is a half-open interval. An
// interval that holds no key (range_end ≤ key) stays a Span: it reaches nothing,
// but it is judged at Begin, and etcd is left to say what it says of it.
func NewRange(key, rangeEnd []byte) Range {
	switch {
	case len(rangeEnd) == 0:
		return Range{Kind: Point, Begin: key}
	case bytes.Equal(rangeEnd, openEnd):
		return Range{Kind: Tail, Begin: key}
	default:
		return Range{Kind: Span, Begin: key, End: rangeEnd}
	}
}

// Key is the Range of one key.
func Key(key []byte) Range { return Range{Kind: Point, Begin: key} }

// Empty reports whether r is an interval without a key in it.
func (r Range) Empty() bool {
	return r.Kind == None || r.Kind == Span && bytes.Compare(r.Begin, r.End) >= 0
}

// Clone is r with memory of its own, to be kept when the request is gone.
func (r Range) Clone() Range {
	r.Begin, r.End = bytes.Clone(r.Begin), bytes.Clone(r.End)
	return r
}

// String is for logs and explanations; key names are quoted as Go strings. Of long
// ones it shows the beginning: a key can be as long as a request, and anybody can
// be denied.
func (r Range) String() string {
	switch r.Kind {
	case None:
		return "-"
	case Point:
		return shown(r.Begin)
	case Tail:
		return "[" + shown(r.Begin) + ", ∞)"
	default:
		return "[" + shown(r.Begin) + ", " + shown(r.End) + ")"
	}
}

func shown(key []byte) string {
	const most = 256 // no key of Kubernetes is longer
	if len(key) > most {
		return fmt.Sprintf("%q… (%d bytes)", key[:most], len(key))
	}
	return strconv.Quote(string(key))
}

// PrefixEnd is the range_end that makes a Span of every key that starts with
// prefix; nil means that no such end exists (the prefix is empty or all 0xff)
// and a Tail is needed.
func PrefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
