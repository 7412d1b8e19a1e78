package atrest

import "slices"

// revision is one revision of a key, as far as telling live from history takes it.
type revision struct {
	hash  uint64 // of the key's name
	rev   uint64 // main<<20 | sub; greater is newer
	cell  uint32 // noCell: a deletion
	bytes uint32
}

const (
	noCell    = ^uint32(0)
	maxNewest = 1 << 21 // 48 MiB
)

// newest finds the newest revision of each key in a fixed amount of memory. Keys
// are told apart by 64-bit hashes. When there are more keys than room, it keeps
// those of one share of the hashes; todo says which shares are left for further
// passes over the revisions.
type newest struct {
	slots []revision // open addressing; rev 0 is free
	used  int
	share share
	todo  []share

	fetched uint64 // of no meaning
}

// share is the hashes whose upper bits, as many as mask has, are value.
type share struct{ mask, value uint64 }

const shareShift = 40

func (s share) has(hash uint64) bool { return hash>>shareShift&s.mask == s.value }

// newNewest makes room for as many keys as fit into fileSize bytes, within reason.
func newNewest(fileSize int64) *newest {
	slots := 1 << 10
	for int64(slots) < fileSize/128 && slots < maxNewest {
		slots *= 2
	}
	n := &newest{slots: make([]revision, slots)}
	huge(n.slots)
	return n
}

// next goes to the next share, if one is left.
func (n *newest) next() bool {
	if len(n.todo) == 0 {
		return false
	}
	n.share, n.todo = n.todo[len(n.todo)-1], n.todo[:len(n.todo)-1]
	clear(n.slots)
	n.used = 0
	return true
}

func (n *newest) add(all []revision) {
	for group := range slices.Chunk(all, 16) {
		// Slots are all over memory: fetch those of a group at once, not one by one.
		for _, r := range group {
			n.fetched += n.slots[r.hash&uint64(len(n.slots)-1)].rev
		}
		for _, r := range group {
			if n.share.mask == 0 || n.share.has(r.hash) {
				n.put(r)
			}
		}
		if n.used > len(n.slots)/8*7 {
			n.halve()
		}
	}
}

func (n *newest) put(r revision) {
	mask := uint64(len(n.slots) - 1)
	for at := r.hash & mask; ; at = (at + 1) & mask {
		there := &n.slots[at]
		if there.rev == 0 {
			if n.used < len(n.slots)-1 { // one stays free, or searches would not end
				*there = r
				n.used++
			}
			return
		}
		if there.hash == r.hash {
			if r.rev > there.rev {
				*there = r
			}
			return
		}
	}
}

// halve keeps one half of the share and leaves the other to a pass of its own.
func (n *newest) halve() {
	wider := n.share.mask<<1 | 1
	if wider<<shareShift>>shareShift != wider { // hashes of one key in 2²⁴: not by chance
		return
	}
	n.todo = append(n.todo, share{wider, n.share.value | (wider &^ n.share.mask)})
	n.share.mask = wider
	kept := make([]revision, 0, n.used/2)
	for _, r := range n.slots {
		if r.rev != 0 && n.share.has(r.hash) {
			kept = append(kept, r)
		}
	}
	clear(n.slots)
	n.used = 0
	for _, r := range kept {
		n.put(r)
	}
}

// find returns the newest revision of the key with that hash, if its share is here.
func (n *newest) find(hash uint64) (uint64, bool) {
	if !n.share.has(hash) {
		return 0, false
	}
	mask := uint64(len(n.slots) - 1)
	for at := hash & mask; n.slots[at].rev != 0; at = (at + 1) & mask {
		if n.slots[at].hash == hash {
			return n.slots[at].rev, true
		}
	}
	return 0, false
}

// live adds what is live in this share to counts, by cell.
func (n *newest) live(counts [][places]Count) {
	for _, r := range n.slots {
		if r.rev != 0 && r.cell != noCell {
			counts[r.cell][inLive].add(int(r.bytes))
		}
	}
}

// finding is a key whose value is plaintext, for those who ask for names.
type finding struct {
	key   string
	hash  uint64
	rev   uint64
	place place
}

// settle tells live from history for the findings of this share.
func (n *newest) settle(all []finding) {
	for i, f := range all {
		if f.place != inStore {
			continue
		}
		if rev, ok := n.find(f.hash); ok {
			all[i].place = inHistory
			if rev == f.rev {
				all[i].place = inLive
			}
		}
	}
}

func sortFindings(all []finding) {
	slices.SortFunc(all, func(a, b finding) int {
		if a.key != b.key {
			if a.key < b.key {
				return -1
			}
			return 1
		}
		return int(a.place) - int(b.place)
	})
}
