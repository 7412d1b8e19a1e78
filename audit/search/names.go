package search

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// names numbers texts in the order in which they come, from 1; 0 is none.
type names struct {
	number map[string]int64
	list   []string
}

func (n *names) of(text []byte) int64 {
	if len(text) == 0 {
		return 0
	}
	if id, ok := n.number[string(text)]; ok {
		return id
	}
	if n.number == nil {
		n.number = map[string]int64{}
	}
	n.list = append(n.list, string(text))
	id := int64(len(n.list))
	n.number[n.list[id-1]] = id
	return id
}

// reach numbers what events reach: nothing is 0; then come single keys in their order,
// then ranges, then sets of several of both.
//
// Most events reach one key, and most keys share a beginning with others. So keys are
// sorted, and each is written as what differs from the one before.
type reach struct{ keys, ranges, sets names }

// While events are read, what they reach has numbers that tell the three apart.
const (
	aRange = 1 << 40
	aSet   = 1 << 41
)

func (r *reach) ofAccess(a *accessFacts) int64 {
	switch {
	case !a.keyed:
		return 0
	case a.oneKey() && len(a.key) > 0:
		return r.keys.of(a.key)
	}
	return r.ofRange(a.keys())
}

func (r *reach) ofRange(k Keys) int64 {
	b := binary.AppendUvarint(nil, uint64(len(k.Begin)))
	b = append(b, k.Begin...)
	if k.End != nil {
		b = append(append(b, 1), k.End...)
	} else {
		b = append(b, 0)
	}
	return r.ranges.of(b) | aRange
}

// of is the number of what an event reaches. scratch is used and returned.
func (r *reach) of(f *facts, scratch []int64) (int64, []int64) {
	if len(f.access) == 1 {
		return r.ofAccess(&f.access[0]), scratch
	}
	all := scratch[:0]
	for i := range f.access {
		if n := r.ofAccess(&f.access[i]); n != 0 && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	switch len(all) {
	case 0:
		return 0, all
	case 1:
		return all[0], all
	}
	slices.Sort(all)
	b := make([]byte, 0, 64)
	for _, n := range all {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return r.sets.of(b) | aSet, all
}

// pack writes all of it, and returns the final number for each that was given.
func (r *reach) pack() (packed packedReach, final func(int64) int64) {
	order := make([]int, len(r.keys.list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(r.keys.list[a], r.keys.list[b]) })
	rank := make([]int64, len(order)+1)
	last := ""
	for i, at := range order {
		rank[at+1] = int64(i + 1)
		key := r.keys.list[at]
		same := sharedPrefix(last, key)
		packed.keys = binary.AppendUvarint(packed.keys, uint64(same))
		packed.keys = binary.AppendUvarint(packed.keys, uint64(len(key)-same))
		packed.keys = append(packed.keys, key[same:]...)
		last = key
	}
	packed.Keys, packed.Ranges, packed.Sets = len(order), len(r.ranges.list), len(r.sets.list)
	final = func(n int64) int64 {
		switch {
		case n&aSet != 0:
			return n&^aSet + int64(packed.Keys+packed.Ranges)
		case n&aRange != 0:
			return n&^aRange + int64(packed.Keys)
		}
		return rank[n]
	}
	for _, text := range r.ranges.list {
		packed.ranges = append(binary.AppendUvarint(packed.ranges, uint64(len(text))), text...)
	}
	for _, text := range r.sets.list {
		var members []byte
		for b := []byte(text); len(b) > 0; {
			n, size := binary.Uvarint(b)
			members = binary.AppendUvarint(members, uint64(final(int64(n))))
			b = b[size:]
		}
		packed.sets = append(binary.AppendUvarint(packed.sets, uint64(len(members))), members...)
	}
	return packed, final
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// packedReach is reach as it is written.
type packedReach struct {
	Keys, Ranges, Sets int
	keys, ranges, sets []byte
}

var errBroken = errors.New("the index is broken")

// hits says of each number whether what it stands for reaches one of these keys.
func (p *packedReach) hits(k Keys) ([]bool, error) {
	hits := make([]bool, 1+p.Keys+p.Ranges+p.Sets)
	first, end := p.Keys+1, p.Keys+1 // the numbers of the keys are in their order: one stretch hits
	err := p.eachKey(func(n int, key []byte) bool {
		if first > p.Keys && bytes.Compare(key, k.Begin) >= 0 {
			first = n
		}
		if k.End != nil && bytes.Compare(key, k.End) >= 0 {
			end = n
			return false
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for i := first; i < end; i++ {
		hits[i] = true
	}
	n := p.Keys
	if err := eachText(p.ranges, p.Ranges, func(text []byte) error {
		n++
		r, err := readRange(text)
		hits[n] = err == nil && r.overlap(k)
		return err
	}); err != nil {
		return nil, err
	}
	return hits, eachText(p.sets, p.Sets, func(text []byte) error {
		n++
		for len(text) > 0 {
			member, size := binary.Uvarint(text)
			if size <= 0 || member >= uint64(len(hits)) {
				return errBroken
			}
			hits[n] = hits[n] || hits[member]
			text = text[size:]
		}
		return nil
	})
}

// eachKey calls yield with the number and the name of each single key, in order, until
// it returns false. The name is valid during the call.
func (p *packedReach) eachKey(yield func(n int, key []byte) bool) error {
	var key []byte
	b := p.keys
	for n := 1; n <= p.Keys; n++ {
		same, s1 := binary.Uvarint(b)
		b = b[max(s1, 0):]
		more, s2 := binary.Uvarint(b)
		b = b[max(s2, 0):]
		if s1 <= 0 || s2 <= 0 || same > uint64(len(key)) || more > uint64(len(b)) {
			return errBroken
		}
		key = append(key[:same], b[:more]...)
		b = b[more:]
		if !yield(n, key) {
			return nil
		}
	}
	return nil
}

// eachText calls yield with texts that have their length before them.
func eachText(b []byte, n int, yield func([]byte) error) error {
	for range n {
		length, size := binary.Uvarint(b)
		if size <= 0 || length > uint64(len(b)-size) {
			return errBroken
		}
		if err := yield(b[size : size+int(length)]); err != nil {
			return err
		}
		b = b[size+int(length):]
	}
	return nil
}

func readRange(text []byte) (Keys, error) {
	length, size := binary.Uvarint(text)
	if size <= 0 || length >= uint64(len(text)-size) {
		return Keys{}, errBroken
	}
	text = text[size:]
	k := Keys{Begin: text[:length]}
	if text[length] == 1 {
		k.End = text[length+1:]
	}
	return k, nil
}
