package atrest

import (
	"hash/maphash"
	"sync"
)

// place is where a value lies.
type place uint8

const (
	inStore   place = iota // a revision in a reachable page; live or history, see newest
	inLive                 // the newest revision of a key that was not deleted
	inHistory              // an older revision, not compacted yet
	inLog                  // a record of a write-ahead log, or a raft snapshot
	inResidue              // free pages, slack, tails: no longer part of the data
	places
)

var placeNames = [places]string{"store", "live", "history", "log", "residue"}

// Count is a number of values and the bytes they take as stored.
type Count struct {
	Values int64 `json:"values"`
	Bytes  int64 `json:"bytes"`
}

func (c *Count) add(bytes int) { c.Values++; c.Bytes += int64(bytes) }

func (c *Count) plus(d Count) { c.Values += d.Values; c.Bytes += d.Bytes }

// group is what values are counted under: a prefix of keys, or for fragments whose
// key is gone, the kind of the object.
type group struct{ prefix, object string }

type cell struct {
	group int32
	form  form
}

// ledger numbers the groups and cells of a scan; all its workers share it.
type ledger struct {
	mu     sync.Mutex
	seed   maphash.Seed
	groups map[group]int32
	names  []group
	cells  map[cell]uint32
	list   []cell
	heads  map[string]string
}

// others is the group of what maxGroups leaves no room for.
var others = group{object: "(others)"}

// maxCells bounds the cells as maxGroups does the groups: rings and keys are read
// from bytes that nobody vouches for.
const maxCells = 4 * maxGroups

func newLedger() *ledger {
	l := &ledger{seed: maphash.MakeSeed(), groups: map[group]int32{}, cells: map[cell]uint32{}, heads: map[string]string{}}
	l.group(others)
	return l
}

func (l *ledger) group(g group) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.groups[g]
	if !ok {
		if len(l.names) >= maxGroups {
			return 0
		}
		n = int32(len(l.names))
		l.groups[g], l.names = n, append(l.names, g)
	}
	return n
}

func (l *ledger) cell(c cell) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.cells[c]
	if !ok {
		if len(l.list) >= maxCells { // keep what matters, the kind
			c = cell{0, form{kind: c.form.kind, detail: "of any kind"}}
			if n, ok = l.cells[c]; ok {
				return n
			}
		}
		n = uint32(len(l.list))
		l.cells[c], l.list = n, append(l.list, c)
	}
	return n
}

func (l *ledger) intern(head []byte) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.heads[string(head)]; ok {
		return s
	}
	if len(l.heads) >= maxGroups {
		return "k8s:enc:(others)::"
	}
	s := string(head)
	l.heads[s] = s
	return s
}

// tally is what one worker counts.
type tally struct {
	*ledger
	counts    [][places]Count
	shapes    map[string]*[places]Count
	entries   map[string]int64 // of buckets that hold no values
	revisions []revision
	opts      *Options
	found     []finding
	loose     int64 // bytes of residue in no known form

	lastGroup group
	lastIndex int32
	recent    [8]struct {
		cell cell
		n    uint32
	}
	lastHead string
}

func (l *ledger) tally(opts *Options) *tally {
	return &tally{ledger: l, opts: opts, shapes: map[string]*[places]Count{}, entries: map[string]int64{}, lastIndex: -1}
}

// groupOf numbers the group of a key.
func (t *tally) groupOf(key []byte) int32 {
	prefix := key[:prefixLength(key)]
	if t.lastIndex < 0 || t.lastGroup.prefix != string(prefix) || t.lastGroup.object != "" {
		t.lastGroup = group{prefix: string(prefix)}
		t.lastIndex = t.group(t.lastGroup)
	}
	return t.lastIndex
}

func (t *tally) cellOf(g int32, f form) uint32 {
	c := cell{g, f}
	recent := &t.recent[g%int32(len(t.recent))]
	if recent.cell != c || recent.cell.form.kind == "" {
		recent.cell, recent.n = c, t.cell(c)
	}
	return recent.n
}

func (t *tally) count(n uint32, p place, bytes int) {
	for int(n) >= len(t.counts) {
		t.counts = append(t.counts, [places]Count{})
	}
	t.counts[n][p].add(bytes)
}

// value counts the value of a key and tells its kind and cell.
func (t *tally) value(key, value []byte, whole bool, p place) (Kind, uint32) {
	var f form
	if isEtcdguards(key) {
		f = form{kind: Etcdguards}
	} else {
		f = classify(value, whole, t.head)
	}
	n := t.cellOf(t.groupOf(key), f)
	t.count(n, p, len(value))
	return f.kind, n
}

// head interns the prefix of an encrypted value; neighbours mostly have the same.
func (t *tally) head(b []byte) string {
	if t.lastHead != string(b) {
		t.lastHead = t.intern(b)
	}
	return t.lastHead
}

// fragment counts bytes whose key is gone.
func (t *tally) fragment(object string, f form, p place, bytes int) {
	t.count(t.cellOf(t.group(group{object: object}), f), p, bytes)
}

func (t *tally) shape(name string, p place, bytes int) {
	c := t.shapes[name]
	if c == nil {
		c = new([places]Count)
		t.shapes[name] = c
	}
	c[p].add(bytes)
}
