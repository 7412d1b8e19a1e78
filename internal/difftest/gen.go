package difftest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/proto"
)

// generator makes the requests of one epoch. What it makes depends on the seed
// and on what the answers of A have shown, and on nothing else.
type generator struct {
	rng     *rand.Rand
	r       *run
	w       *world
	theme   theme
	foreign bool // attach leases whose IDs the servers chose (stored bytes then differ)
	urls    int  // learners' URLs given out
}

func newGenerator(seed uint64, r *run) *generator {
	return &generator{
		rng:     rand.New(rand.NewPCG(seed, 0x657463646775)),
		r:       r,
		w:       &r.world,
		theme:   themeOf(seed),
		foreign: seed%2 == 0,
	}
}

// theme is what an epoch is mostly about: rare conditions (users switched on, an
// alarm raised, large values) are held for a while, so that everything else meets
// them.
type theme struct {
	name    string
	weights []weight
}

type weight struct {
	n    int
	make func(*generator)
}

var themes = []theme{
	{"mixed", weights(20, 25, 12, 12, 3, 0, 0, 0)},
	{"txn", weights(10, 60, 2, 3, 1, 0, 0, 0)},
	{"watch", weights(30, 20, 40, 3, 1, 0, 0, 0)},
	{"lease", weights(15, 15, 5, 40, 2, 0, 0, 0)},
	{"auth", weights(20, 20, 8, 8, 4, 25, 0, 0)},
	{"admin", weights(15, 10, 4, 4, 30, 0, 0, 0)},
	{"kv", weights(70, 10, 4, 4, 1, 0, 0, 0)},
	{"big", weights(15, 10, 8, 2, 1, 0, 0, 20)},
	{"alarm", weights(20, 20, 8, 8, 4, 0, 8, 0)},
	{"auth", weights(25, 25, 6, 6, 3, 15, 2, 0)},
}

func weights(kv, txn, watch, lease, admin, auth, alarm, big int) []weight {
	return []weight{
		{kv, (*generator).kv}, {txn, (*generator).txn}, {watch, (*generator).watch}, {lease, (*generator).lease},
		{admin, (*generator).admin}, {auth, (*generator).auth}, {alarm, (*generator).alarm}, {big, (*generator).big},
		{1, (*generator).strange},
	}
}

func themeOf(seed uint64) theme { return themes[seed%uint64(len(themes))] }

func (g *generator) step() {
	g.prepare()
	total := 0
	for _, w := range g.theme.weights {
		total += w.n
	}
	n := g.rng.IntN(total)
	for _, w := range g.theme.weights {
		if n -= w.n; n < 0 {
			w.make(g)
			return
		}
	}
}

// usersOnAt is the step of an auth epoch that switches etcd's own users on.
const usersOnAt = 60

// prepare does what chance would bring about too seldom.
func (g *generator) prepare() {
	switch {
	case g.theme.name == "admin" && g.r.step == 1:
		g.addLearner()
		g.addLearner() // one too many
	case g.theme.name == "auth" && g.r.step == 1:
		g.basicUsers()
	case g.theme.name == "auth" && g.r.step == usersOnAt:
		g.r.enableAuth()
		g.authenticateUsers()
		g.refusals()
	}
}

// send does one request, with some identity.
func (g *generator) send(rpc string, m proto.Message) answer {
	q := request{rpc: rpc, msgs: []proto.Message{m}, as: g.identity()}
	switch g.rng.IntN(12) {
	case 0:
		q.md = []string{"hasleader", "true"}
	case 1:
		q.md = []string{"client-api-version", "3.7.0", "x-unrelated", "yes"}
	}
	return g.r.do(q)
}

func (g *generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

func pick[T any](g *generator, from []T) T { return from[g.rng.IntN(len(from))] }

// universe is small, so that requests meet: keys that are prefixes of one another,
// that end in zero bytes, that are the neighbours of range ends, binary, long. What
// starts with \x00 is the guard's and not asked for; keys sorts before "m" are
// where a Txn that writes and deletes puts, the rest is where it deletes.
var universe = sortedKeys("\x01", "\x01\x00", "\x01etcdguard/ring", "a", "a\x00", "a\x00\x01", "ab", "aba", "abc", "b",
	"c/1", "c/2", "c/3", "c/4", "health", "compact_rev_key",
	"m", "n\xff", "n\xff\xff", "o", "registry/secrets/ns/a", "registry/secrets/ns/b", "registry/secrets/ns0", "sync",
	"\xc3\xa9", "\xff", "\xff\xff", "L"+string(bytes.Repeat([]byte("ong"), 120)), "z")

const halfway = "m"

func sortedKeys(keys ...string) []string {
	slices.Sort(keys)
	return keys
}

func (g *generator) key() []byte {
	if g.chance(3) {
		return nil
	}
	return g.realKey()
}

func (g *generator) realKey() []byte {
	if g.chance(60) { // crowd a few
		return []byte(universe[3+g.rng.IntN(8)])
	}
	return []byte(pick(g, universe))
}

// span is a key and a range_end in every spelling that etcd knows.
func (g *generator) span() (key, end []byte) {
	switch g.rng.IntN(12) {
	case 0, 1, 2, 3:
		return g.key(), nil
	case 4, 5, 6:
		a, b := g.realKey(), g.realKey()
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		return a, b // may be empty: a = b
	case 7:
		k := g.realKey()
		return k, append(bytes.Clone(k[:len(k)-1]), k[len(k)-1]+1) // wraps for \xff: then empty
	case 8:
		return g.key(), []byte{0}
	case 9:
		return []byte{0}, []byte{0}
	case 10:
		// Not [\x00, \x01): all of it is the guard's, and it says so.
		return []byte{0}, append(g.realKey(), 0)
	default:
		a, b := g.realKey(), g.realKey()
		if bytes.Compare(a, b) < 0 {
			a, b = b, a
		}
		return a, b
	}
}

// closedSpan is a proper interval, or a point, within lo ≤ key < hi.
func (g *generator) closedSpan(within []string) (key, end []byte) {
	i, j := g.rng.IntN(len(within)), g.rng.IntN(len(within))
	if i == j {
		return []byte(within[i]), nil
	}
	return []byte(within[min(i, j)]), []byte(within[max(i, j)])
}

// Marker begins most of the values that are sent, and nothing else: where it is found
// in an etcd's files, plaintext was stored. It is longer than chance.
const Marker = "plaintext that difftest sent: "

// smallValues are few, so that compares hit and sorts tie.
var smallValues = []string{"", "0", "1", "2", "v", "value", "\x00", "\xff\xfe", "a longer value, with some text in it",
	"\xe5eg", // what a sealed value begins with, cut short
}

func (g *generator) value() []byte {
	switch g.rng.IntN(20) {
	case 0:
		return g.bytes(1 + g.rng.IntN(2000))
	case 1, 2:
		return fmt.Appendf(nil, Marker+"%d", g.rng.IntN(50))
	case 3, 4, 5, 6:
		return []byte(pick(g, smallValues))
	default:
		return []byte(Marker + pick(g, smallValues))
	}
}

// bytes is n bytes, which begin with the Marker if there is room for it.
func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	begin := 0
	if n > len(Marker) {
		begin = copy(b, Marker)
	}
	for i := begin; i < n; i += 8 {
		v := g.rng.Uint64()
		for j := i; j < min(i+8, n); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
	return b
}

// nearFuture is how far ahead of the head a watch may start and still be reached.
const nearFuture = 4

// revision is a revision to read at: mostly none, often a recent one, sometimes
// one that is compacted, not there yet, or nonsense.
func (g *generator) revision() int64 {
	switch g.rng.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		return g.w.head - int64(g.rng.IntN(20))
	case 6:
		return g.w.head
	case 7:
		return g.w.head + 1 + int64(g.rng.IntN(3))
	case 8:
		return g.w.head + 1_000_000
	case 9:
		return g.w.compacted + int64(g.rng.IntN(3)) - 1
	case 10:
		return max(1, g.w.compacted-int64(g.rng.IntN(5)))
	case 11:
		return -1 - int64(g.rng.IntN(3))
	default:
		return 0
	}
}

// seenRevision is a revision to compare with or filter by.
func (g *generator) seenRevision() int64 {
	switch g.rng.IntN(6) {
	case 0:
		return 0
	case 1:
		return g.w.head
	default:
		return max(0, g.w.head-int64(g.rng.IntN(40)))
	}
}
