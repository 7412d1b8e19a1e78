package codec

import (
	"sync"

	"google.golang.org/grpc/mem"
)

const (
	// pageSize is what a long message is cut into: it fits into a processor's cache
	// until gRPC has written it. In bytes.
	pageSize = 32 << 10

	// leafSize is a page for a message that is known to be short. In bytes.
	leafSize = pageSize / 8

	// referPages is the length from which a value in a long message is referred to
	// instead of copied: below, one more buffer on every step of the way costs more
	// than the copy. In bytes.
	referPages = 8 << 10
)

// pages puts a long message together from copies in pages that are used again, and
// from references to values that are long themselves.
type pages struct {
	out    mem.BufferSlice
	page   *[]byte // being filled
	from   *pagePool
	opener Opener // nil: values are shown as they are stored
}

// pagePool keeps pages of one size. Unlike gRPC's own pool it does not clear them: a
// page is as long as what was written into it.
type pagePool struct {
	size int
	free sync.Pool
}

var unusedPages, unusedLeaves = newPagePool(pageSize), newPagePool(leafSize)

func newPagePool(size int) *pagePool {
	return &pagePool{size: size, free: sync.Pool{New: func() any {
		b := make([]byte, 0, size)
		return &b
	}}}
}

// Get implements mem.BufferPool.
func (p *pagePool) Get(length int) *[]byte {
	if length > p.size {
		b := make([]byte, length)
		return &b
	}
	b := p.free.Get().(*[]byte)
	*b = (*b)[:length]
	return b
}

// Put implements mem.BufferPool.
func (p *pagePool) Put(b *[]byte) {
	if cap(*b) == p.size {
		p.free.Put(b)
	}
}

// room is where n more bytes can be appended. The result goes to wrote.
func (p *pages) room(n int) []byte {
	if p.page != nil && len(*p.page)+n > cap(*p.page) {
		p.finish()
	}
	if p.page == nil {
		p.page = p.from.Get(n)
		*p.page = (*p.page)[:0]
	}
	return *p.page
}

func (p *pages) wrote(b []byte) { *p.page = b }

// value appends v.
func (p *pages) value(v []byte) {
	if len(v) < referPages {
		p.wrote(append(p.room(len(v)), v...))
		return
	}
	p.finish()
	p.out = append(p.out, mem.SliceBuffer(v))
}

func (p *pages) finish() {
	if p.page == nil {
		return
	}
	if len(*p.page) > 0 {
		p.out = append(p.out, mem.NewBuffer(p.page, p.from))
	} else {
		p.from.Put(p.page)
	}
	p.page = nil
}

// messageOr is the message, unless there was an error.
func (p *pages) messageOr(err error) (*Message, error) {
	if err != nil {
		p.finish()
		p.out.Free()
		return nil, err
	}
	return &Message{data: p.out}, nil
}
