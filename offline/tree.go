package offline

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"
)

// bbolt follows what is in its pages without looking twice: in a file that was cut
// short, or altered, that goes round in circles until the memory is used up. So all
// pages that can be reached are looked at first: that they are in the file, are what
// they should be, hold what they say, and are reached once. (Layout: bbolt,
// internal/common/page.go; numbers are in the machine's own byte order.)
const (
	pageHeader  = 16 // id, flags (2), count (2), overflow (4)
	element     = 16 // leaf: flags, pos, ksize, vsize; branch: pos, ksize, id (8)
	branchFlag  = 1
	leafFlag    = 2
	bucketFlag  = 1
	bucketValue = 16 // root, sequence
)

type tree struct {
	file     io.ReaderAt
	pageSize int64
	pages    uint64 // in use
	seen     []uint64
	buffer   []byte
	next     []place
}

// place is a page that is to be looked at.
type place struct {
	id    uint64
	depth int // 0 in the tree of buckets, 1 in a bucket
}

// checkTree looks at every page that tx can reach.
func checkTree(ctx context.Context, file io.ReaderAt, size int64, tx *bolt.Tx, progress Progress) error {
	pageSize := int64(tx.DB().Info().PageSize)
	if tx.Size() > size || pageSize < 512 || tx.Size()%pageSize != 0 {
		return ErrDamaged // cut short
	}
	t := &tree{file: file, pageSize: pageSize, pages: uint64(tx.Size() / pageSize)}
	t.seen = make([]uint64, t.pages/64+1)
	if err := t.reach(uint64(tx.Cursor().Bucket().Root()), 0); err != nil {
		return err
	}
	for n := int64(0); len(t.next) > 0; n++ {
		last := t.next[len(t.next)-1]
		t.next = t.next[:len(t.next)-1]
		if err := t.look(last); err != nil {
			return err
		}
		if n%256 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			progress.say(n*pageSize, size)
		}
	}
	return nil
}

// reach notes a page to look at, which nothing else may point to. The first two are
// the metas.
func (t *tree) reach(id uint64, depth int) error {
	if id < 2 || id >= t.pages || !t.take(id) {
		return ErrDamaged
	}
	t.next = append(t.next, place{id, depth})
	return nil
}

// take marks a page, and reports whether it was not marked before.
func (t *tree) take(id uint64) bool {
	bit := uint64(1) << (id % 64)
	if t.seen[id/64]&bit != 0 {
		return false
	}
	t.seen[id/64] |= bit
	return true
}

func (t *tree) look(p place) error {
	var header [pageHeader]byte
	if _, err := t.file.ReadAt(header[:], int64(p.id)*t.pageSize); err != nil {
		return err
	}
	overflow := uint64(binary.NativeEndian.Uint32(header[12:]))
	if binary.NativeEndian.Uint64(header[:]) != p.id || overflow >= t.pages-p.id {
		return ErrDamaged
	}
	for i := range overflow { // what continues one page is no other
		if !t.take(p.id + 1 + i) {
			return ErrDamaged
		}
	}
	size := int64(overflow+1) * t.pageSize
	count := int64(binary.NativeEndian.Uint16(header[10:]))
	if pageHeader+count*element > size {
		return ErrDamaged
	}
	if need := int(pageHeader + count*element); cap(t.buffer) < need {
		t.buffer = make([]byte, need)
	}
	elements := t.buffer[:pageHeader+count*element]
	if _, err := t.file.ReadAt(elements, int64(p.id)*t.pageSize); err != nil {
		return err
	}
	content := io.NewSectionReader(t.file, int64(p.id)*t.pageSize, size)
	switch binary.NativeEndian.Uint16(header[8:]) {
	case branchFlag:
		if count == 0 {
			return ErrDamaged
		}
		return t.branch(elements, size, p.depth)
	case leafFlag:
		return t.leaf(elements, content, p.depth)
	}
	return ErrDamaged
}

func (t *tree) branch(page []byte, size int64, depth int) error {
	for at := int64(pageHeader); at < int64(len(page)); at += element {
		pos, key := uint32At(page, at), uint32At(page, at+4)
		if at+pos+key > size || pos < element {
			return ErrDamaged
		}
		if err := t.reach(binary.NativeEndian.Uint64(page[at+8:]), depth); err != nil {
			return err
		}
	}
	return nil
}

// leaf looks at the elements of a page; content is the page with its overflow.
func (t *tree) leaf(page []byte, content *io.SectionReader, depth int) error {
	for at := int64(pageHeader); at < int64(len(page)); at += element {
		pos, key, value := uint32At(page, at+4), uint32At(page, at+8), uint32At(page, at+12)
		if at+pos+key+value > content.Size() || pos < element {
			return ErrDamaged
		}
		isBucket := uint32At(page, at)&bucketFlag != 0
		switch {
		case depth == 0 && !isBucket:
			return ErrDamaged // in the tree of buckets there is nothing else
		case depth > 0 && isBucket:
			return fmt.Errorf("there is a bucket in a bucket: %w", errNoEtcd)
		case isBucket:
			if err := t.bucket(io.NewSectionReader(content, at+pos+key, value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket looks at a bucket's value: where its root is, or all of it if it is small.
func (t *tree) bucket(value *io.SectionReader) error {
	var head [bucketValue + pageHeader]byte
	if _, err := value.ReadAt(head[:bucketValue], 0); err != nil {
		return ErrDamaged
	}
	if root := binary.NativeEndian.Uint64(head[:]); root != 0 {
		return t.reach(root, 1)
	}
	if _, err := value.ReadAt(head[:], 0); err != nil {
		return ErrDamaged
	}
	count := int64(binary.NativeEndian.Uint16(head[bucketValue+10:]))
	if binary.NativeEndian.Uint16(head[bucketValue+8:]) != leafFlag || value.Size() < bucketValue+pageHeader+count*element {
		return ErrDamaged
	}
	page := make([]byte, pageHeader+count*element)
	if _, err := value.ReadAt(page, bucketValue); err != nil {
		return ErrDamaged
	}
	return t.leaf(page, io.NewSectionReader(value, bucketValue, value.Size()-bucketValue), 1)
}

func uint32At(b []byte, at int64) int64 { return int64(binary.NativeEndian.Uint32(b[at:])) }
