package evidence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// model is a log in memory, and tlog's own storage of its hashes.
type model struct {
	lines  [][]byte
	hashes []tlog.Hash
}

func (m *model) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = m.hashes[index]
	}
	return out, nil
}

func (m *model) append(t testing.TB, line []byte) {
	t.Helper()
	stored, err := tlog.StoredHashes(int64(len(m.lines)), line, m)
	if err != nil {
		t.Fatal(err)
	}
	m.lines, m.hashes = append(m.lines, line), append(m.hashes, stored...)
}

func (m *model) root(t testing.TB, size int64) tlog.Hash {
	t.Helper()
	root, err := tlog.TreeHash(size, m)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func (m *model) read(first int64, n int, each func([]byte)) error {
	for _, line := range m.lines[first : first+int64(n)] {
		each(line)
	}
	return nil
}

func modelOf(t testing.TB, size int) *model {
	t.Helper()
	m := &model{}
	for i := range size {
		m.append(t, fmt.Appendf(nil, `{"seq":%d}`, i))
	}
	return m
}

// The leaves and roots of RFC 6962's reference implementation, as Certificate
// Transparency's test vectors have them.
func TestTheTreeIsThatOfRFC6962(t *testing.T) {
	leaves := []string{"", "\x00", "\x10", "\x20\x21", "\x30\x31", "\x40\x41\x42\x43", "\x50\x51\x52\x53\x54\x55\x56\x57", "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	tree := &Tree{}
	for i, want := range roots {
		root := tree.Root()
		if got := fmt.Sprintf("%x", root[:]); got != want {
			t.Errorf("root of %d leaves: %s, want %s", i, got, want)
		}
		if i < len(leaves) {
			tree.Append([]byte(leaves[i]))
		}
	}
}

func TestRootsAndProofsAreThoseOfTlog(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const size = 3000
	m := modelOf(t, size)
	// From the beginning, and from each of these, as if all before had expired.
	for _, first := range []int64{0, 256, 512, 768, 1024, 1280, 2816} {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			tree := restored(t, m, first)
			for i := first; i < size; i++ {
				if tree.Size() != i || tree.Root() != m.root(t, i) {
					t.Fatalf("another root at %d", i)
				}
				tree.Append(m.lines[i])
			}
			p := tree.Prover(m.read)
			for range 300 {
				to := first + 1 + rnd.Int64N(size-first)
				if root, err := p.Root(to); err != nil || root != m.root(t, to) {
					t.Fatalf("root of %d: %v", to, err)
				}
				n := first + rnd.Int64N(to-first)
				checkInclusion(t, p, m, n, to, rnd)
				checkConsistency(t, p, m, max(1, n), to, rnd)
			}
		})
	}
}

func restored(t *testing.T, m *model, first int64) *Tree {
	t.Helper()
	whole := &Tree{}
	for _, line := range m.lines[:first] {
		whole.Append(line)
	}
	tree, err := NewTree(first, whole.Frontier())
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func checkInclusion(t *testing.T, p *Prover, m *model, n, size int64, rnd *rand.Rand) {
	t.Helper()
	proof, err := p.Inclusion(n, size)
	if err != nil {
		t.Fatal(err)
	}
	root, leaf := m.root(t, size), tlog.RecordHash(m.lines[n])
	if err := tlog.CheckRecord(proof, size, root, n, leaf); err != nil {
		t.Fatalf("event %d of %d: %v", n, size, err)
	}
	if size > 1 {
		other := (n + 1) % size
		if tlog.CheckRecord(proof, size, root, n, tlog.RecordHash(m.lines[other])) == nil {
			t.Fatalf("the proof of event %d holds for event %d", n, other)
		}
	}
	tamper(t, proof, rnd, func(bad []tlog.Hash) error { return tlog.CheckRecord(bad, size, root, n, leaf) })
}

func checkConsistency(t *testing.T, p *Prover, m *model, old, size int64, rnd *rand.Rand) {
	t.Helper()
	proof, err := p.Consistency(old, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(proof, size, m.root(t, size), old, m.root(t, old)); err != nil {
		t.Fatalf("%d continues %d: %v", size, old, err)
	}
	tamper(t, proof, rnd, func(bad []tlog.Hash) error {
		return tlog.CheckTree(bad, size, m.root(t, size), old, m.root(t, old))
	})
}

// tamper turns one bit of a proof, leaves its last hash away, and adds one.
func tamper(t *testing.T, proof []tlog.Hash, rnd *rand.Rand, check func([]tlog.Hash) error) {
	t.Helper()
	if check(append(slices.Clone(proof), tlog.Hash{})) == nil {
		t.Fatal("a proof with a hash too many holds")
	}
	if len(proof) == 0 {
		return
	}
	if check(proof[:len(proof)-1]) == nil {
		t.Fatal("a proof with a hash too few holds")
	}
	bad := slices.Clone(proof)
	bad[rnd.IntN(len(bad))][rnd.IntN(tlog.HashSize)] ^= 1 << rnd.IntN(8)
	if check(bad) == nil {
		t.Fatal("a proof with another bit in it holds")
	}
}

func TestATreeGoesOnFromAnyFrontier(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	m := modelOf(t, 20*BlockEvents+17)
	whole := &Tree{}
	for _, line := range m.lines {
		whole.Append(line)
	}
	for range 20 {
		tree := restored(t, m, BlockEvents*rnd.Int64N(20))
		for tree.Size() < int64(len(m.lines)) {
			if blocks := (int64(len(m.lines)) - tree.Size()) / BlockEvents; blocks > 0 && rnd.IntN(2) == 0 && tree.Size()%BlockEvents == 0 {
				r := whole.reader()
				if err := tree.AppendBlock(r.block(tree.Size() / BlockEvents)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			tree.Append(m.lines[tree.Size()])
		}
		if tree.Root() != whole.Root() || !slices.Equal(tree.Frontier(), whole.Frontier()) {
			t.Fatalf("from %d on, the tree is another", tree.First())
		}
	}
}

func TestForgottenEventsCannotBeProvenAndTheRestCan(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	size := int64(len(chunk{})*BlockEvents + 3*BlockEvents + 5)
	m := modelOf(t, int(size))
	tree := &Tree{}
	for _, line := range m.lines {
		tree.Append(line)
	}
	early := tree.Prover(m.read)
	for first := int64(BlockEvents); first <= size; first += BlockEvents * (1 + rnd.Int64N(200)) {
		if err := tree.Forget(first); err != nil {
			t.Fatal(err)
		}
		p := tree.Prover(m.read)
		if _, err := p.Inclusion(first-1, size); !errors.Is(err, ErrExpired) {
			t.Fatalf("event %d is proven after it was forgotten: %v", first-1, err)
		}
		n := first + rnd.Int64N(size-first)
		checkInclusion(t, p, m, n, size, rnd)
		checkConsistency(t, p, m, n, size, rnd)
	}
	checkInclusion(t, early, m, 3, size, rnd) // what was handed out stays as it was
	for range 300 {
		tree.Append([]byte("more"))
	}
	if tree.Root() == m.root(t, size) {
		t.Error("the tree does not grow any more")
	}
}

func TestTreesThatCannotBeAreRefused(t *testing.T) {
	if _, err := NewTree(100, []tlog.Hash{{}, {}, {}}); err == nil {
		t.Error("a segment begins at 100")
	}
	if _, err := NewTree(768, []tlog.Hash{{}}); err == nil {
		t.Error("768 events have one subtree")
	}
	tree := &Tree{}
	tree.Append(nil)
	if err := tree.AppendBlock(tlog.Hash{}); err == nil {
		t.Error("a block is appended at 1")
	}
	if err := tree.Forget(BlockEvents); err == nil {
		t.Error("events are forgotten that never were")
	}
	p := tree.Prover(nil)
	for _, f := range []func() error{
		func() error { _, err := p.Root(2); return err },
		func() error { _, err := p.Inclusion(1, 1); return err },
		func() error { _, err := p.Inclusion(-1, 1); return err },
		func() error { _, err := p.Consistency(0, 1); return err },
		func() error { _, err := p.Consistency(2, 1); return err },
	} {
		if f() == nil {
			t.Error("something is proven of a tree that is not")
		}
	}
}

func TestEventsThatWereChangedSinceProveNothing(t *testing.T) {
	m := modelOf(t, 2*BlockEvents)
	tree := &Tree{}
	for _, line := range m.lines {
		tree.Append(line)
	}
	m.lines[7] = []byte("another")
	if _, err := tree.Prover(m.read).Inclusion(8, tree.Size()); err == nil {
		t.Error("a proof was made of events that were changed on the disk")
	}
}

func BenchmarkTreeAppend(b *testing.B) {
	for _, size := range []int{200, 400, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			line := make([]byte, size)
			tree := &Tree{}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				tree.Append(line)
			}
		})
	}
}

func BenchmarkConsistency(b *testing.B) {
	m := modelOf(b, 100_000)
	tree := &Tree{}
	for _, line := range m.lines {
		tree.Append(line)
	}
	p := tree.Prover(m.read)
	for b.Loop() {
		if _, err := p.Consistency(99_000, 100_000); err != nil {
			b.Fatal(err)
		}
	}
}
