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
	edge

	// Of the part that is retained. The first hash in blocks that counts is number
	// skip, and count are all.
	first       int64
	before      []tlog.Hash
	blocks      []*chunk
	skip, count int64
}

// edge is what a tree needs in order to grow: the hashes of its maximal complete
// subtrees, by level. Those of the bits that are set in size count.
type edge struct {
	size   int64
	hashes [63]tlog.Hash
}

// newEdge is that of a tree of size events with these maximal complete subtrees,
// largest first.
func newEdge(size int64, frontier []tlog.Hash) (e edge, err error) {
	if size < 0 || len(frontier) != bits.OnesCount64(uint64(size)) {
		return e, fmt.Errorf("a tree of %d events has %d complete subtrees, not %d", size, bits.OnesCount64(uint64(size)), len(frontier))
	}
	e.size = size
	rest := uint64(size)
	for _, h := range frontier {
		level := bits.Len64(rest) - 1
		e.hashes[level] = h
		rest &^= 1 << level
	}
	return e, nil
}

// add puts a complete subtree of that level at the end. If this completes a block, its
// hash is returned.
func (e *edge) add(level int, h tlog.Hash) (block tlog.Hash, complete bool) {
	if level == blockLevel {
		block, complete = h, true
	}
	added := int64(1) << level
	for ; e.size>>level&1 == 1; level++ {
		h = tlog.NodeHash(e.hashes[level], h)
		if level+1 == blockLevel {
			block, complete = h, true
		}
	}
	e.hashes[level] = h
	e.size += added
	return block, complete
}

// Size is the number of events.
func (e *edge) Size() int64 { return e.size }

// Root is the hash of the whole tree.
func (e *edge) Root() tlog.Hash {
	if e.size == 0 {
		root, _ := tlog.TreeHash(0, nil)
		return root
	}
	level := bits.TrailingZeros64(uint64(e.size))
	root := e.hashes[level]
	for level++; e.size>>level != 0; level++ {
		if e.size>>level&1 == 1 {
			root = tlog.NodeHash(e.hashes[level], root)
		}
	}
	return root
}

// Frontier are the hashes of the maximal complete subtrees, largest first: what the
// header of a segment that begins here holds.
func (e *edge) Frontier() []tlog.Hash {
	frontier := make([]tlog.Hash, 0, bits.OnesCount64(uint64(e.size)))
	for level := bits.Len64(uint64(e.size)) - 1; level >= 0; level-- {
		if e.size>>level&1 == 1 {
			frontier = append(frontier, e.hashes[level])
		}
	}
	return frontier
}

// NewTree is the tree of a log whose events before first, a multiple of BlockEvents,
// are not there any more: frontier, the hashes of the maximal complete subtrees of
// those, largest first, is all that it has of them.
func NewTree(first int64, frontier []tlog.Hash) (*Tree, error) {
	if first%BlockEvents != 0 {
		return nil, fmt.Errorf("restoring the tree: %d is no multiple of %d events", first, BlockEvents)
	}
	e, err := newEdge(first, frontier)
	if err != nil {
		return nil, fmt.Errorf("restoring the tree: %w", err)
	}
	return &Tree{edge: e, first: first, before: slices.Clone(frontier)}, nil
}

// Append adds an event, its line without the line break.
func (t *Tree) Append(line []byte) {
	if block, complete := t.add(0, tlog.RecordHash(line)); complete {
		t.keep(block)
	}
}

// AppendBlock adds BlockEvents events by their level-8 hash, at a multiple of that.
func (t *Tree) AppendBlock(h tlog.Hash) error {
	if t.size%BlockEvents != 0 {
		return fmt.Errorf("appending a block to the tree: it has %d events, no multiple of %d", t.size, BlockEvents)
	}
	t.add(blockLevel, h)
	t.keep(h)
	return nil
}

func (t *Tree) keep(block tlog.Hash) {
	at := t.count % int64(len(chunk{}))
	if at == 0 {
		t.blocks = append(t.blocks, new(chunk))
	}
	t.blocks[len(t.blocks)-1][at] = block
	t.count++
}

// First is the first event of the part that proofs can be made of.
func (t *Tree) First() int64 { return t.first }

// Forget drops what was kept of events before first, where a segment begins: those
// before it have expired.
func (t *Tree) Forget(first int64) error {
	if first < t.first || first > t.size || first%BlockEvents != 0 {
		return fmt.Errorf("forgetting the events before %d: the tree has %d to %d, and begins at a multiple of %d", first, t.first, t.size, BlockEvents)
	}
	r := t.reader()
	before, err := newEdge(t.first, t.before)
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
