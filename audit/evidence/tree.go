package evidence

import (
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// BlockEvents is how many events one hash of level 8 stands for. Those hashes are what
// a tree keeps of its past; what is below them is read again from the segments.
const BlockEvents = 1 << blockLevel

const blockLevel = 8

// chunk is a number of level-8 hashes that are allocated together, so that a tree grows
// without moving what it has: that would be a pause on the request path.
type chunk [1024]tlog.Hash

// Tree is the Merkle tree of a log that is being written. Its zero value is that of an
// empty one. It is not safe for use by several goroutines; what Prover returns is.
type Tree struct {
	size     int64
	frontier [63]tlog.Hash // by level; those of the bits that are set in size count

	// Of the part that is retained. The first hash in blocks that counts is number
	// skip, and count are all.
	first       int64
	before      []tlog.Hash
	blocks      []*chunk
	skip, count int64
}

// NewTree is the tree of a log whose events before first, a multiple of BlockEvents,
// are not there any more: frontier, the hashes of the maximal complete subtrees of
// those, largest first, is all that it has of them.
func NewTree(first int64, frontier []tlog.Hash) (*Tree, error) {
	switch {
	case first < 0 || first%BlockEvents != 0:
		return nil, fmt.Errorf("restoring the tree: %d is no multiple of %d events", first, BlockEvents)
	case len(frontier) != bits.OnesCount64(uint64(first)):
		return nil, fmt.Errorf("restoring the tree: %d events have %d subtrees, not %d", first, bits.OnesCount64(uint64(first)), len(frontier))
	}
	t := &Tree{size: first, first: first, before: slices.Clone(frontier)}
	rest := uint64(first)
	for _, h := range frontier {
		level := bits.Len64(rest) - 1
		t.frontier[level] = h
		rest &^= 1 << level
	}
	return t, nil
}

// Append adds an event, its line without the line break.
func (t *Tree) Append(line []byte) { t.add(0, tlog.RecordHash(line)) }

// appendHash is Append for who has hashed the line.
func (t *Tree) appendHash(leaf tlog.Hash) { t.add(0, leaf) }

// AppendBlock adds BlockEvents events by their level-8 hash, at a multiple of that.
func (t *Tree) AppendBlock(h tlog.Hash) error {
	if t.size%BlockEvents != 0 {
		return fmt.Errorf("appending a block to the tree: it has %d events, no multiple of %d", t.size, BlockEvents)
	}
	t.add(blockLevel, h)
	return nil
}

// add puts a complete subtree of that level at the end.
func (t *Tree) add(level int, h tlog.Hash) {
	if level == blockLevel {
		t.keep(h)
	}
	added := int64(1) << level
	for ; t.size>>level&1 == 1; level++ {
		h = tlog.NodeHash(t.frontier[level], h)
		if level+1 == blockLevel {
			t.keep(h)
		}
	}
	t.frontier[level] = h
	t.size += added
}

func (t *Tree) keep(block tlog.Hash) {
	at := t.count % int64(len(chunk{}))
	if at == 0 {
		t.blocks = append(t.blocks, new(chunk))
	}
	t.blocks[len(t.blocks)-1][at] = block
	t.count++
}

// Size is the number of events.
func (t *Tree) Size() int64 { return t.size }

// First is the first event of the part that proofs can be made of.
func (t *Tree) First() int64 { return t.first }

// Root is the hash of the whole tree.
func (t *Tree) Root() tlog.Hash {
	if t.size == 0 {
		root, _ := tlog.TreeHash(0, nil)
		return root
	}
	level := bits.TrailingZeros64(uint64(t.size))
	root := t.frontier[level]
	for level++; t.size>>level != 0; level++ {
		if t.size>>level&1 == 1 {
			root = tlog.NodeHash(t.frontier[level], root)
		}
	}
	return root
}

// Frontier are the hashes of the maximal complete subtrees, largest first: what the
// header of a segment that begins here holds.
func (t *Tree) Frontier() []tlog.Hash {
	frontier := make([]tlog.Hash, 0, bits.OnesCount64(uint64(t.size)))
	for level := bits.Len64(uint64(t.size)) - 1; level >= 0; level-- {
		if t.size>>level&1 == 1 {
			frontier = append(frontier, t.frontier[level])
		}
	}
	return frontier
}

// Forget drops what was kept of events before first, where a segment begins: those
// before it have expired.
func (t *Tree) Forget(first int64) error {
	if first < t.first || first > t.size || first%BlockEvents != 0 {
		return fmt.Errorf("forgetting the events before %d: the tree has %d to %d, and begins at a multiple of %d", first, t.first, t.size, BlockEvents)
	}
	r := t.reader()
	before, err := NewTree(t.first, t.before)
	if err != nil {
		return err
	}
	for at := t.first; at < first; at += BlockEvents {
		before.add(blockLevel, r.block(at/BlockEvents))
	}
	skip := t.skip + (first-t.first)/BlockEvents
	chunks := skip / int64(len(chunk{}))
	gone := chunks * int64(len(chunk{}))
	t.first, t.before = first, before.Frontier()
	t.blocks, t.skip, t.count = t.blocks[chunks:], skip-gone, t.count-gone
	return nil
}

// retained is what a tree kept up to a moment: it doesn't change while the tree grows.
type retained struct {
	size, first int64
	before      []tlog.Hash
	blocks      []*chunk
	skip        int64
}

func (t *Tree) reader() retained { return retained{t.size, t.first, t.before, t.blocks, t.skip} }

// block is the hash of events n*BlockEvents to the next such; it must be retained.
func (r *retained) block(n int64) tlog.Hash {
	n += r.skip - r.first/BlockEvents
	return r.blocks[n/int64(len(chunk{}))][n%int64(len(chunk{}))]
}
