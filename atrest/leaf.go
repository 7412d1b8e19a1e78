package atrest

import (
	"bytes"
	"hash/maphash"
)

// storePage counts what is in a reachable leaf of the bucket of keys.
func (t *tally) storePage(data []byte) (ok bool) {
	end, ok := eachElement(data, t.storeElement, t.slack)
	t.slack(data[end:])
	return ok
}

func (t *tally) storeElement(e element) {
	rev, deleted, ok := readRevision(e.key)
	if !ok || e.flags != 0 {
		t.strange(e, inStore)
		return
	}
	kv, ok := readKeyValue(e.value, e.whole)
	if !ok {
		t.strange(e, inStore)
		return
	}
	r := revision{maphash.Bytes(t.seed, kv.key), rev, noCell, uint32(min(len(kv.value), 1<<31))}
	if !deleted {
		var kind Kind
		kind, r.cell = t.value(kv.key, kv.value, kv.whole, inStore)
		if kind == Plaintext {
			t.plaintext(kv.key, kv.value, finding{hash: r.hash, rev: r.rev, place: inStore})
		}
	}
	t.revisions = append(t.revisions, r)
}

// strange counts an element that is no revision of a key, and searches its bytes.
func (t *tally) strange(e element, p place) {
	if p == inStore {
		p = inHistory // nothing says that it is the newest of anything
	}
	t.fragment("", form{kind: Unknown, detail: detailNoValue}, p, len(e.value))
	t.carve(e.value, p)
}

// residuePage counts what is in a leaf that is reachable no longer. Its end may have
// been written over.
func (t *tally) residuePage(data []byte) {
	end, _ := eachElement(data, t.residueElement, t.slack)
	t.slack(data[end:])
}

func (t *tally) residueElement(e element) {
	rev, deleted, ok := readRevision(e.key)
	if !ok {
		t.slack(e.value) // another bucket's
		return
	}
	kv, ok := readKeyValue(e.value, e.whole)
	switch {
	case !ok:
		t.slack(e.value)
	case !deleted:
		t.residue(kv, rev)
	}
}

// residue counts a value that is no longer part of the data. What is in no known
// form is searched: half of it may be something else.
func (t *tally) residue(kv keyValue, rev uint64) {
	if len(kv.value) == 0 && !kv.whole {
		return // only the name is left
	}
	kind, _ := t.value(kv.key, kv.value, kv.whole, inResidue)
	switch kind {
	case Plaintext:
		t.plaintext(kv.key, kv.value, finding{rev: rev, place: inResidue})
	case Unknown, Damaged:
		t.carve(kv.value, inResidue)
	}
}

// plaintext notes a key whose value anybody can read, and what kinds of secrets are
// in the value.
func (t *tally) plaintext(key, value []byte, f finding) {
	if t.opts.Shapes {
		t.shapesIn(value, f.place)
	}
	if t.opts.Keys && len(t.found) < maxFindings {
		f.key = string(key)
		t.found = append(t.found, f)
	}
}

// otherPage counts the entries of a bucket that holds no values, and searches
// what is behind them.
func (t *tally) otherPage(bucket string, data []byte) (ok bool) {
	end, ok := eachElement(data, func(element) { t.entries[bucket]++ }, t.slack)
	t.slack(data[end:])
	return ok
}

// rootPage looks into the buckets that lie within the root bucket's leaf.
func (t *tally) rootPage(data []byte) (ok bool) {
	end, ok := eachElement(data, func(e element) {
		if e.flags&bucketLeaf == 0 || len(e.value) < bucketHeader {
			t.slack(e.value)
			return
		}
		if _, known := t.entries[string(e.key)]; !known && len(t.entries) < maxBuckets && len(e.key) <= 64 {
			t.entries[string(e.key)] = 0
		}
		inline := e.value[bucketHeader:]
		if le.Uint64(e.value) != 0 || len(inline) < pageHeader {
			t.slack(inline)
			return
		}
		if string(e.key) == keyBucket {
			t.storePage(inline)
		} else {
			t.otherPage(string(e.key), inline)
		}
	}, t.slack)
	t.slack(data[end:])
	return ok
}

// slack searches bytes that belong to nothing, unless they are all zero.
func (t *tally) slack(b []byte) {
	if !zero(b) {
		t.carve(b, inResidue)
	}
}

var zeros [4096]byte

// zero reports whether all of b is zero.
func zero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
