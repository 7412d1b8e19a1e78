package atrest

import (
	"encoding/binary"
	"hash/fnv"
	"io"
)

// A page of bbolt, little-endian: id 8, flags 2, count 2, overflow 4; then elements.
// overflow is by how many pages the page is longer than one.
const (
	pageHeader  = 16
	elementSize = 16

	branchFlag   = 0x01
	leafFlag     = 0x02
	metaFlag     = 0x04
	freelistFlag = 0x10

	bucketLeaf   = 0x01 // in an element's flags: the value is a bucket
	bucketHeader = 16   // root 8, sequence 8

	// minPageSize and maxPageSize are what systems have had.
	minPageSize = 512
	maxPageSize = 64 << 10
	// maxRun bounds the memory for one page with its overflow.
	maxRun = 64 << 20
	// maxFreeRun does so for a free one, whose overflow is not to be trusted.
	maxFreeRun = 4 << 20
	noPage     = ^uint64(0)
)

var le = binary.LittleEndian

type header struct {
	id       uint64
	flags    uint16
	count    uint16
	overflow uint32
}

func readHeader(b []byte) header {
	return header{le.Uint64(b), le.Uint16(b[8:]), le.Uint16(b[10:]), le.Uint32(b[12:])}
}

// plausible reports whether a page could begin so at that place.
func (h header) plausible(at uint64) bool {
	if h.id != at {
		return false
	}
	switch h.flags {
	case branchFlag, leafFlag, freelistFlag:
		return true
	case metaFlag:
		return at < 2
	}
	return false
}

// meta is what a valid meta page says.
type meta struct {
	pageSize int
	root     uint64 // page of the root bucket
	freelist uint64 // or noPage
	end      uint64 // the first page that was never used
	txid     uint64
}

const (
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaSize    = pageHeader + 64
)

// readMeta reads a meta page from its beginning. It is valid if magic, version and
// checksum (FNV-1a of what is before) are right.
func readMeta(b []byte) (m meta, ok bool) {
	if len(b) < metaSize {
		return m, false
	}
	body := b[pageHeader:metaSize]
	if le.Uint32(body) != metaMagic || le.Uint32(body[4:]) != metaVersion {
		return m, false
	}
	sum := fnv.New64a()
	sum.Write(body[:56])
	if sum.Sum64() != le.Uint64(body[56:]) {
		return m, false
	}
	m = meta{int(le.Uint32(body[8:])), le.Uint64(body[16:]), le.Uint64(body[32:]), le.Uint64(body[40:]), le.Uint64(body[48:])}
	return m, validPageSize(m.pageSize)
}

func validPageSize(n int) bool {
	return n >= minPageSize && n <= maxPageSize && n&(n-1) == 0
}

// metas are the two meta pages of a file, as far as they are valid.
type metas struct {
	pageSize int
	valid    [2]bool
	meta     [2]meta
}

// newest is the meta page that counts.
func (m metas) newest() (meta, bool) {
	switch {
	case m.valid[0] && (!m.valid[1] || m.meta[0].txid >= m.meta[1].txid):
		return m.meta[0], true
	case m.valid[1]:
		return m.meta[1], true
	}
	return meta{}, false
}

// readMetas finds the meta pages, and the size of pages: from a meta page, or where
// both are broken from where pages begin.
func readMetas(f io.ReaderAt, size int64) (m metas) {
	buf := make([]byte, metaSize)
	read := func(i int, pageSize int) bool {
		if n, _ := f.ReadAt(buf, int64(i*pageSize)); n < metaSize {
			return false
		}
		got, ok := readMeta(buf)
		if ok && (got.pageSize == pageSize || i == 0) {
			m.meta[i], m.valid[i], m.pageSize = got, true, got.pageSize
			return true
		}
		return false
	}
	if read(0, 0) {
		read(1, m.pageSize)
		return m
	}
	for n := minPageSize; n <= maxPageSize; n *= 2 {
		if read(1, n) {
			return m
		}
	}
	m.pageSize = detectPageSize(f, size)
	return m
}

// detectPageSize takes the size for which most pages of the beginning, the middle
// and the end know where they are.
func detectPageSize(f io.ReaderAt, size int64) int {
	const look = 4 << 20
	votes := map[int]int{}
	buf := make([]byte, look)
	for _, from := range []int64{0, size / 2 &^ (maxPageSize - 1), max(0, size-look) &^ (maxPageSize - 1)} {
		n, _ := f.ReadAt(buf, from)
		for pageSize := minPageSize; pageSize <= maxPageSize; pageSize *= 2 {
			for at := 0; at+pageHeader <= n; at += pageSize {
				id := uint64(from+int64(at)) / uint64(pageSize)
				if id > 1 && readHeader(buf[at:]).plausible(id) {
					votes[pageSize]++
				}
			}
		}
	}
	best := 4096
	for pageSize := minPageSize; pageSize <= maxPageSize; pageSize *= 2 {
		if votes[pageSize] > votes[best] {
			best = pageSize
		}
	}
	return best
}

// looksLikeBolt reports whether a file is a bbolt file, broken or not.
func looksLikeBolt(f io.ReaderAt, size int64) bool {
	m := readMetas(f, size)
	if m.valid[0] || m.valid[1] {
		return true
	}
	buf := make([]byte, pageHeader)
	found := 0
	for id := uint64(2); id < 66; id++ {
		if n, _ := f.ReadAt(buf, int64(id)*int64(m.pageSize)); n == pageHeader && readHeader(buf).plausible(id) {
			found++
		}
	}
	return found > 2
}

// element is one element of a leaf page.
type element struct {
	flags      uint32
	key, value []byte
	whole      bool // the value's end is there
}

// eachElement calls do for the elements of a leaf page, in order, and returns where
// the last one ends. data is the page with its overflow, or as much as is there.
// Elements lie one behind the other; a page that says otherwise is read up to
// there, so that no byte is ever looked at twice. gap gets what lies between.
func eachElement(data []byte, do func(element), gap func([]byte)) (end int, ok bool) {
	count := int(le.Uint16(data[10:]))
	end = pageHeader + count*elementSize
	if end > len(data) {
		return pageHeader, false
	}
	for i := range count {
		at := pageHeader + i*elementSize
		e := data[at : at+elementSize]
		begin := uint64(at) + uint64(le.Uint32(e[4:]))
		keyEnd := begin + uint64(le.Uint32(e[8:]))
		valueEnd := keyEnd + uint64(le.Uint32(e[12:]))
		if begin < uint64(end) || keyEnd > uint64(len(data)) {
			return end, false
		}
		if begin > uint64(end) {
			gap(data[end:begin])
		}
		there := min(valueEnd, uint64(len(data)))
		do(element{le.Uint32(e), data[begin:keyEnd], data[keyEnd:there], valueEnd == there})
		end = int(there)
	}
	return end, true
}
