package atrest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// span is a page with its overflow, within a chunk.
type span struct {
	page  uint64
	owner uint8
	data  []byte
}

// pageReader hands out a file's pages in chunks that end with a page's overflow, so
// that workers need not know of each other.
type pageReader struct {
	f     io.ReaderAt
	size  int64 // of the pages; what is behind the last whole page is not among them
	reach *reach
	hash  hash.Hash // of all bytes, in order, or nil
	read  func(int64)

	mu   sync.Mutex
	page uint64 // the next one to hand out

	trouble    sync.Mutex
	unreadable int64
	ended      int64 // where the file did: at size, unless it shrank
}

// pageChunk is how much is read at a time: what stays in a processor's own cache until
// it was looked at.
const pageChunk = 256 << 10

// next fills buf with the next chunk and returns it as spans, none at the end. The
// buffer may grow.
func (p *pageReader) next(buf []byte, spans []span) ([]byte, []span) {
	p.mu.Lock()
	from, to := p.page, p.boundary()
	if p.hash != nil || to == from {
		defer p.mu.Unlock()
		return p.follow(buf, spans)
	}
	p.page = to
	p.mu.Unlock() // others read beside this one
	buf = p.fill(buf, from, int(to-from)*p.reach.pageSize)
	p.read(int64(len(buf)))
	p.cut(buf, from, &spans)
	return buf, spans
}

// boundary is the last page up to which a chunk can go without a look at what is in it:
// no page that can be reached is another's overflow.
func (p *pageReader) boundary() uint64 {
	owner := p.reach.owner
	to := p.page + uint64(pageChunk/p.reach.pageSize)
	if to >= uint64(len(owner)) {
		return uint64(len(owner))
	}
	for to > p.page && owner[to] == unreached {
		to--
	}
	return to
}

// follow reads a chunk and sees where the last span in it ends.
func (p *pageReader) follow(buf []byte, spans []span) ([]byte, []span) {
	for want := pageChunk; ; {
		buf = p.fill(buf, p.page, want)
		used, more := p.cut(buf, p.page, &spans)
		if more <= len(buf) || len(buf) < want {
			if p.hash != nil {
				p.hash.Write(buf[:used])
			}
			p.page += uint64(used / p.reach.pageSize)
			p.read(int64(used))
			return buf, spans
		}
		want = more
	}
}

// fill reads from a page on. Where the device cannot read, the bytes are zero and
// counted.
func (p *pageReader) fill(buf []byte, page uint64, want int) []byte {
	from := int64(page) * int64(p.reach.pageSize)
	want = int(min(int64(want), p.size-from))
	if want <= 0 {
		return buf[:0]
	}
	if cap(buf) < want {
		buf = make([]byte, want)
	}
	buf = buf[:want]
	n, err := p.f.ReadAt(buf, from)
	if err == nil {
		return buf
	}
	p.trouble.Lock()
	defer p.trouble.Unlock()
	if errors.Is(err, io.EOF) {
		p.ended = min(p.ended, from+int64(n))
		return buf[:n/p.reach.pageSize*p.reach.pageSize]
	}
	for at := 0; at < want; at += p.reach.pageSize {
		part := buf[at:min(at+p.reach.pageSize, want)]
		if n, err := p.f.ReadAt(part, from+int64(at)); n < len(part) && err != nil {
			clear(part[n:])
			p.unreadable += int64(len(part) - n)
		}
	}
	return buf
}

// cut finds the spans that end within buf, which begins with that page. If the first
// one does not, more is how many bytes it takes.
func (p *pageReader) cut(buf []byte, first uint64, spans *[]span) (used, more int) {
	*spans = (*spans)[:0]
	size := p.reach.pageSize
	for used < len(buf) {
		page := first + uint64(used/size)
		n := p.spanLength(page, buf[used:]) * size
		if n > len(buf)-used {
			if used > 0 {
				return used, 0
			}
			return 0, n
		}
		*spans = append(*spans, span{page, p.reach.owner[page], buf[used : used+n]})
		used += n
	}
	return used, 0
}

// spanLength is how many pages belong to the one that begins here.
func (p *pageReader) spanLength(page uint64, there []byte) int {
	h := readHeader(there)
	owner := p.reach.owner[page]
	if !h.plausible(page) || owner == metaPage {
		return 1
	}
	size := p.reach.pageSize
	most := maxRun
	if owner == unreached {
		most = maxFreeRun
	}
	last := min(uint64(h.overflow)+1, uint64(most/size), uint64(p.size/int64(size))-page)
	for n := uint64(1); n < last; n++ {
		// A reachable page is no overflow; behind a free one others may begin.
		if p.reach.owner[page+n] != unreached {
			return int(n)
		}
		if at := int(n) * size; owner == unreached && at+pageHeader <= len(there) && readHeader(there[at:]).plausible(page+n) {
			return int(n)
		}
	}
	return int(last)
}

// pageWorker looks at the pages of one file.
type pageWorker struct {
	*tally
	reach *reach
	free  Count // unreachable pages before the end of the used ones
	tail  Count // and behind
	end   uint64
	wrong int64

	inexact bool // a page is not as deep as its siblings
}

func (w *pageWorker) look(s span) {
	h := readHeader(s.data)
	ok := true
	switch {
	case s.owner == unreached:
		w.unreached(s, h)
	case s.owner == metaPage:
		w.slack(s.data[min(metaSize, len(s.data)):])
	case h.id != s.page:
		ok = false
	case s.owner == listPage && h.flags == freelistFlag:
		w.slack(s.data[listEnd(s.data, h):])
	case s.owner == branchPage && h.flags == branchFlag:
		w.slack(s.data[branchEnd(s.data, h):])
	case s.owner >= leafPage && h.flags == leafFlag:
		ok = w.leaf(s)
	case s.owner >= leafPage && h.flags == branchFlag:
		w.inexact, ok = true, false
	default:
		ok = false
	}
	if !ok {
		w.wrong++
		if s.owner != unreached && h.flags != leafFlag {
			w.slack(s.data)
		}
	}
}

func (w *pageWorker) leaf(s span) bool {
	switch s.owner {
	case leafPage:
		return w.rootPage(s.data)
	case keyPage:
		return w.storePage(s.data)
	}
	return w.otherPage(w.reach.buckets[s.owner-leafPage], s.data)
}

func (w *pageWorker) unreached(s span, h header) {
	if s.page < w.end {
		w.free.Values += int64(len(s.data) / w.reach.pageSize)
		w.free.Bytes += int64(len(s.data))
	} else {
		w.tail.Values += int64(len(s.data) / w.reach.pageSize)
		w.tail.Bytes += int64(len(s.data))
	}
	switch {
	case !h.plausible(s.page):
		w.slack(s.data)
	case h.flags == leafFlag:
		w.residuePage(s.data)
	case h.flags == branchFlag:
		w.slack(s.data[branchEnd(s.data, h):])
	case h.flags == freelistFlag:
		w.slack(s.data[listEnd(s.data, h):])
	}
}

// listEnd is where a list of free pages ends: its count, or 65535 and the count in
// its first number.
func listEnd(data []byte, h header) int {
	n, end := uint64(h.count), uint64(pageHeader)
	if h.count == 0xffff && len(data) >= pageHeader+8 {
		n, end = le.Uint64(data[pageHeader:]), end+8
	}
	if n > uint64(len(data))/8 || end+n*8 > uint64(len(data)) {
		return pageHeader
	}
	return int(end + n*8)
}

// branchEnd is where the last key of a branch page ends.
func branchEnd(data []byte, h header) int {
	end := pageHeader + int(h.count)*elementSize
	if end > len(data) {
		return pageHeader
	}
	after := end
	for i := range int(h.count) {
		at := pageHeader + i*elementSize
		keyEnd := uint64(at) + uint64(le.Uint32(data[at:])) + uint64(le.Uint32(data[at+4:]))
		if keyEnd > uint64(len(data)) || keyEnd < uint64(after) || keyEnd-uint64(after) > 64 {
			return after // keys of revisions have 17 bytes; what says more is searched
		}
		after = int(keyEnd)
	}
	return after
}

// someRevisions are handed on at a time, so that workers seldom wait for each other.
const someRevisions = 4096

// readPages runs workers over all pages and returns them with what they counted.
func readPages(ctx context.Context, p *pageReader, n int, end uint64, l *ledger, opts *Options, add func([]revision)) ([]*pageWorker, error) {
	workers := make([]*pageWorker, n)
	var all sync.WaitGroup
	for i := range workers {
		w := &pageWorker{tally: l.tally(opts), reach: p.reach, end: end}
		workers[i] = w
		all.Go(func() {
			var buf []byte
			var spans []span
			for ctx.Err() == nil {
				if buf, spans = p.next(buf, spans); len(spans) == 0 {
					break
				}
				for _, s := range spans {
					w.look(s)
				}
				if len(w.revisions) >= someRevisions {
					add(w.revisions)
					w.revisions = w.revisions[:0]
				}
			}
			add(w.revisions)
		})
	}
	all.Wait()
	return workers, ctx.Err()
}

// snapshotTrailer is the SHA-256 that `etcdctl snapshot save` puts behind a file.
const snapshotTrailer = sha256.Size

func trailerAgrees(h hash.Hash, f *os.File, at int64) (bool, error) {
	want := make([]byte, snapshotTrailer)
	if _, err := f.ReadAt(want, at); err != nil {
		return false, fmt.Errorf("reading the snapshot's checksum: %w", err)
	}
	return bytes.Equal(h.Sum(nil), want), nil
}
