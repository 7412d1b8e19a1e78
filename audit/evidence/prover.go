package evidence

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrExpired: a proof needs events whose segments are not there any more.
var ErrExpired = errors.New("that part of the log has expired: a proof can only be made of events that are still on the disk")

// Prover makes proofs about a log as it was when Tree.Prover was called. It may be used
// by several goroutines, while the tree grows and after older events were forgotten, if
// its Lines may.
type Prover struct {
	retained
	lines Lines
}

// Lines reads events again: n of them from first on, their lines without line breaks.
// It is told only of events that were in the tree, and calls each once, in order.
type Lines func(first int64, n int, each func(line []byte)) error

// Prover is what proofs are made with, up to the present size. It holds no lock; call
// it under the one that Append is called under.
func (t *Tree) Prover(lines Lines) *Prover { return &Prover{t.reader(), lines} }

// Size is that of the newest tree that it can prove something about.
func (p *Prover) Size() int64 { return p.size }

// Root is that of the tree of the first size events.
func (p *Prover) Root(size int64) (tlog.Hash, error) {
	if err := p.covers(size); err != nil {
		return tlog.Hash{}, err
	}
	root, err := tlog.TreeHash(size, p)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("computing the root of %d events: %w", size, err)
	}
	return root, nil
}

// Inclusion proves that event n is in the tree of that size.
func (p *Prover) Inclusion(n, size int64) (tlog.RecordProof, error) {
	if err := p.covers(size); err != nil {
		return nil, err
	}
	if n < 0 || n >= size {
		return nil, fmt.Errorf("proving event %d: the tree has %d events, numbered from 0", n, size)
	}
	proof, err := tlog.ProveRecord(size, n, p)
	if err != nil {
		return nil, fmt.Errorf("proving event %d: %w", n, err)
	}
	return proof, nil
}

// Consistency proves that the tree of the first old events is the beginning of the one
// of the first size.
func (p *Prover) Consistency(old, size int64) (tlog.TreeProof, error) {
	if err := p.covers(size); err != nil {
		return nil, err
	}
	if old < 1 || old > size {
		return nil, fmt.Errorf("proving that %d events continue %d: there is no such proof", size, old)
	}
	proof, err := tlog.ProveTree(size, old, p)
	if err != nil {
		return nil, fmt.Errorf("proving that %d events continue %d: %w", size, old, err)
	}
	return proof, nil
}

func (p *Prover) covers(size int64) error {
	if size < 0 || size > p.size {
		return fmt.Errorf("proving something of a tree of %d events: the log has %d", size, p.size)
	}
	return nil
}

// ReadHashes is the tlog.HashReader that the proofs are made from.
func (p *Prover) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	below := blockCache{p: p, number: -1}
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		h, err := p.node(&below, index)
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	return hashes, nil
}

func (p *Prover) node(below *blockCache, index int64) (tlog.Hash, error) {
	level, n := tlog.SplitStoredHashIndex(index)
	if level < blockLevel {
		return below.node(level, n)
	}
	return p.upper(level, n)
}

// upper is the n'th complete subtree of a level that is at least 8.
func (p *Prover) upper(level int, n int64) (tlog.Hash, error) {
	begin, end := n<<level, (n+1)<<level
	switch {
	case end > p.size:
		return tlog.Hash{}, fmt.Errorf("the tree has %d events, not %d", p.size, end)
	case end <= p.first:
		return p.expired(level, n)
	case level == blockLevel && begin >= p.first:
		return p.block(n), nil
	}
	left, err := p.upper(level-1, 2*n)
	if err != nil {
		return tlog.Hash{}, err
	}
	right, err := p.upper(level-1, 2*n+1)
	if err != nil {
		return tlog.Hash{}, err
	}
	return tlog.NodeHash(left, right), nil
}

// expired is a subtree of events before the first that is retained. Only the maximal
// ones are known.
func (p *Prover) expired(level int, n int64) (tlog.Hash, error) {
	first := uint64(p.first)
	if first>>level&1 == 1 && uint64(n) == first>>level-1 {
		return p.before[bits.OnesCount64(first>>level)-1], nil
	}
	return tlog.Hash{}, fmt.Errorf("events %d to %d: %w", n<<level, (n+1)<<level-1, ErrExpired)
}

// blockCache has the leaves of one block: all that a proof needs below level 8 is in
// one or two, asked for one after the other.
type blockCache struct {
	p      *Prover
	number int64
	leaves []tlog.Hash
}

// node is the n'th complete subtree of a level below 8.
func (c *blockCache) node(level int, n int64) (tlog.Hash, error) {
	if block := n << level / BlockEvents; block != c.number {
		if err := c.read(block); err != nil {
			return tlog.Hash{}, err
		}
	}
	begin := int(n << level % BlockEvents)
	if begin+1<<level > len(c.leaves) {
		return tlog.Hash{}, fmt.Errorf("the tree has %d events, not %d", c.p.size, (n+1)<<level)
	}
	return subtree(c.leaves[begin : begin+1<<level]), nil
}

func (c *blockCache) read(block int64) error {
	first := block * BlockEvents
	if first < c.p.first {
		return fmt.Errorf("event %d: %w", first, ErrExpired)
	}
	n := int(min(BlockEvents, c.p.size-first))
	c.number, c.leaves = -1, c.leaves[:0]
	err := c.p.lines(first, n, func(line []byte) { c.leaves = append(c.leaves, tlog.RecordHash(line)) })
	if err != nil {
		return fmt.Errorf("reading events %d to %d: %w", first, first+int64(n)-1, err)
	}
	if len(c.leaves) != n {
		return fmt.Errorf("reading events %d to %d: got %d of them", first, first+int64(n)-1, len(c.leaves))
	}
	// What was read may have been changed on the disk since it was hashed first.
	if n == BlockEvents && subtree(c.leaves) != c.p.block(block) {
		return fmt.Errorf("reading events %d to %d: they are not what they were when they were written: etcdguard audit verify finds where", first, first+int64(n)-1)
	}
	c.number = block
	return nil
}

// subtree is the hash of a power of two of leaves.
func subtree(leaves []tlog.Hash) tlog.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	half := len(leaves) / 2
	return tlog.NodeHash(subtree(leaves[:half]), subtree(leaves[half:]))
}
