package atrest

import (
	"fmt"
	"io"
)

// What a page is for, by page number. A page that the walk does not come to stays
// unreached: it is free, or was never used.
const (
	unreached  = iota
	metaPage   // the first two
	listPage   // the list of free pages
	branchPage // read during the walk
	leafPage   // of the bucket number owner-leafPage; 0 is the root bucket
)

// maxBuckets is how many buckets are told apart; etcd has about ten.
const maxBuckets = 240

// reach is what can be reached from a meta page: one byte for each page of the file.
type reach struct {
	f        io.ReaderAt
	size     int64
	pageSize int
	owner    []uint8
	buckets  []string // by number
	exact    bool     // read every page's header, not only the first of siblings
	missing  int64    // pages that are beyond the end of the file
	wrong    int64    // pages that are not what leads to them says, or are reached twice

	page []byte           // for the page that is looked at
	head [pageHeader]byte // for the beginning of its first child
}

type visit struct {
	page   uint64
	bucket int
}

// keyBucket is where etcd keeps all keys and values, keyPage the owner of its leaves.
const (
	keyBucket = "key"
	keyPage   = leafPage + 1
)

// walk finds the reachable pages. All leaves of a bucket are equally deep, so only
// the first child of a branch page is looked at to know what its siblings are; the
// pass over all pages notices where that is wrong, and walks again, exactly.
func walk(f io.ReaderAt, size int64, m meta, exact bool) *reach {
	r := &reach{f: f, size: size, pageSize: m.pageSize, exact: exact, page: make([]byte, m.pageSize),
		owner: make([]uint8, size/int64(m.pageSize)), buckets: []string{"", keyBucket}}
	for i := range min(2, len(r.owner)) {
		r.owner[i] = metaPage
	}
	if m.freelist != noPage {
		r.mark(m.freelist, listPage)
	}
	stack := []visit{{m.root, 0}}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = r.enter(v, stack[:len(stack)-1])
	}
	return r
}

func (r *reach) mark(page uint64, as uint8) bool {
	switch {
	case page >= uint64(len(r.owner)):
		r.missing++
		return false
	case r.owner[page] != unreached:
		r.wrong++
		return false
	}
	r.owner[page] = as
	return true
}

// enter looks at one page and returns the stack with its children on it.
func (r *reach) enter(v visit, stack []visit) []visit {
	data := r.read(v.page, r.page)
	h, ok := r.header(v.page, data)
	if !ok {
		return stack
	}
	switch h.flags {
	case leafFlag:
		if r.mark(v.page, uint8(leafPage+v.bucket)) && (v.bucket == 0 || r.exact) {
			return r.subBuckets(v, r.run(v.page, h, data), stack)
		}
	case branchFlag:
		if r.mark(v.page, branchPage) {
			return r.children(v, h, r.run(v.page, h, data), stack)
		}
	default:
		r.wrong++
	}
	return stack
}

// read fills buf from the beginning of a page, or less of it at the end of the file
// and where the device cannot read.
func (r *reach) read(page uint64, buf []byte) []byte {
	if page >= uint64(len(r.owner)) {
		return nil
	}
	n, _ := r.f.ReadAt(buf, int64(page)*int64(r.pageSize))
	return buf[:n]
}

// header is what data, a page's beginning, says of it; only reachable pages are asked for.
func (r *reach) header(page uint64, data []byte) (h header, ok bool) {
	if len(data) < pageHeader {
		r.missing++
		return h, false
	}
	h = readHeader(data)
	if h.id != page {
		r.wrong++
		return h, false
	}
	return h, true
}

// run is a page with its overflow, as far as the file goes; data is the page.
func (r *reach) run(page uint64, h header, data []byte) []byte {
	pages := min(uint64(h.overflow)+1, uint64(len(r.owner))-page, uint64(maxRun/r.pageSize))
	if pages > 1 {
		if all := r.read(page, make([]byte, pages*uint64(r.pageSize))); len(all) > len(data) {
			return all
		}
	}
	return data
}

func (r *reach) children(v visit, h header, data []byte, stack []visit) []visit {
	count := int(h.count)
	if pageHeader+count*elementSize > len(data) {
		r.wrong++
		count = (len(data) - pageHeader) / elementSize
	}
	leaves := false
	for i := range count { // an element: position 4, key size 4, page 8
		child := le.Uint64(data[pageHeader+i*elementSize+8:])
		if i == 0 && !r.exact {
			first, ok := r.header(child, r.read(child, r.head[:]))
			leaves = ok && first.flags == leafFlag && v.bucket != 0
		}
		if leaves {
			r.mark(child, uint8(leafPage+v.bucket))
		} else {
			stack = append(stack, visit{child, v.bucket})
		}
	}
	return stack
}

// subBuckets finds the buckets in a leaf page. A small bucket lies within its
// element and has no pages.
func (r *reach) subBuckets(v visit, data []byte, stack []visit) []visit {
	eachElement(data, func(e element) {
		if e.flags&bucketLeaf == 0 || len(e.value) < bucketHeader {
			return
		}
		name := string(e.key)
		if v.bucket != 0 {
			name = fmt.Sprintf("%s/%s", r.buckets[v.bucket], name)
		}
		number := r.bucket(name)
		if root := le.Uint64(e.value); root != 0 {
			stack = append(stack, visit{root, number})
		}
	}, func([]byte) {})
	return stack
}

// bucket numbers a bucket by its name. Too many of them share the last number,
// whose bytes are searched like those of any bucket but the one of keys.
func (r *reach) bucket(name string) int {
	if len(name) > 64 {
		name = name[:64]
	}
	for i, known := range r.buckets {
		if i > 0 && known == name {
			return i
		}
	}
	if len(r.buckets) >= maxBuckets {
		return len(r.buckets) - 1
	}
	r.buckets = append(r.buckets, name)
	return len(r.buckets) - 1
}
