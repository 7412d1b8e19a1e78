package policy

import (
	"encoding/binary"
	"slices"
	"strings"
)

// table answers which rule covers a key and how far cover goes on from there. It
// never changes once made.
//
// A plain binary search over 100,000 rules compares some 17 keys and misses the
// processor's caches with most of them. So the table is a tree that never changes,
// 16 entries to a node: a node keeps what its keys begin with once, and of each
// only the eight bytes that follow, side by side. A look-up reads one node a level,
// and whole keys only where eight bytes do not tell.
type table struct {
	begins []string
	covers []cover
	levels [][]node // the lowest first; the highest is one node
}

// cover is what is known of a stretch of keys.
type cover struct {
	runEnd string // see segment
	rule   int32
}

const fanOut = 16

// node tells its entries apart. Entry i of node n, on any level, is the node (or
// segment) n*fanOut+i one level below.
type node struct {
	prefix string // that all its keys begin with
	next   [fanOut]uint64
	count  int
}

func newTable(claims []claim) *table {
	if len(claims) == 0 {
		return nil
	}
	t := &table{}
	for _, s := range packed(flatten(claims)) {
		t.begins = append(t.begins, s.begin)
		t.covers = append(t.covers, cover{s.runEnd, s.rule})
	}
	for keys := t.begins; ; {
		level := makeLevel(keys)
		t.levels = append(t.levels, level)
		if len(level) == 1 {
			return t
		}
		keys = everyNth(keys, fanOut)
	}
}

// packed moves the keys next to each other in memory, so that a look-up stays
// within few pages, and the memory of the file they came from can go.
func packed(segments []segment) []segment {
	var all strings.Builder
	for _, s := range segments {
		all.WriteString(s.begin)
		all.WriteString(s.runEnd)
	}
	rest := all.String()
	take := func(n int) (s string) {
		s, rest = rest[:n], rest[n:]
		return s
	}
	for i, s := range segments {
		segments[i].begin, segments[i].runEnd = take(len(s.begin)), take(len(s.runEnd))
	}
	return segments
}

func everyNth(keys []string, n int) []string {
	out := make([]string, 0, len(keys)/n+1)
	for i := 0; i < len(keys); i += n {
		out = append(out, keys[i])
	}
	return out
}

func makeLevel(keys []string) []node {
	level := make([]node, 0, (len(keys)+fanOut-1)/fanOut)
	for group := range slices.Chunk(keys, fanOut) {
		n := node{prefix: commonPrefix(group[0], group[len(group)-1]), count: len(group)}
		for i, k := range group {
			n.next[i] = eightBytes(k[len(n.prefix):])
		}
		level = append(level, n)
	}
	return level
}

// commonPrefix of the first and the last of sorted keys is that of all.
func commonPrefix(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return a[:i]
}

// eightBytes orders keys as far as eight bytes can; shorter keys are filled up
// with zeros, and so may tie with longer ones.
func eightBytes[K string | []byte](key K) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// at is what covers key, or nil. A nil table covers nothing.
func (t *table) at(key []byte) *cover {
	if t == nil {
		return nil
	}
	place, span := 0, 1 // span: segments below one entry of the level
	for range len(t.levels) - 1 {
		span *= fanOut
	}
	for l := len(t.levels) - 1; l >= 0; l-- {
		entry := t.last(&t.levels[l][place], place*fanOut, span, key)
		if entry < 0 {
			return nil // below all: on lower levels the first entry is what led here
		}
		place, span = place*fanOut+entry, span/fanOut
	}
	if c := &t.covers[place]; c.runEnd == "" || string(key) < c.runEnd {
		return c
	}
	return nil
}

// last is the last entry of n whose key is not above key, or -1.
func (t *table) last(n *node, first, span int, key []byte) int {
	p := len(n.prefix)
	if len(key) < p || string(key[:p]) != n.prefix {
		if string(key) < n.prefix {
			return -1
		}
		return n.count - 1
	}
	rest := eightBytes(key[p:])
	low := 0
	for low < n.count && n.next[low] < rest {
		low++
	}
	high := low
	for high < n.count && n.next[high] == rest {
		high++
	}
	for low < high { // a tie: whole keys decide
		middle := int(uint(low+high) >> 1)
		if string(key) < t.begins[(first+middle)*span] {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low - 1
}
