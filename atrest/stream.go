package atrest

import (
	"context"
	"errors"
	"hash"
	"io"
)

// chunkSize is how much of a stream is read at a time.
const chunkSize = 1 << 20

// stream reads a file from its beginning to its end through a window.
type stream struct {
	ctx  context.Context
	f    io.ReaderAt
	size int64
	hash hash.Hash // of all bytes read, or nil
	read func(int64)

	buf        []byte // the bytes from off on
	off        int64
	unreadable int64
}

// window returns the next n bytes without passing them, fewer at the end of the file.
// n is at most maxRun.
func (s *stream) window(n int) []byte {
	if len(s.buf) >= n {
		return s.buf[:n]
	}
	from := s.off + int64(len(s.buf))
	want := int(min(int64(max(n, chunkSize)-len(s.buf)), s.size-from))
	if want > 0 && s.ctx.Err() == nil {
		grown := make([]byte, 0, len(s.buf)+want)
		grown = append(grown, s.buf...)
		grown = grown[:len(s.buf)+want]
		fresh := grown[len(s.buf):]
		got, err := s.f.ReadAt(fresh, from)
		switch {
		case errors.Is(err, io.EOF):
			fresh = fresh[:got]
			s.size = from + int64(got) // it shrank
		case err != nil:
			clear(fresh[got:])
			s.unreadable += int64(len(fresh) - got)
		}
		if s.hash != nil {
			s.hash.Write(fresh)
		}
		s.read(int64(len(fresh)))
		s.buf = grown[:len(s.buf)+len(fresh)]
	}
	return s.buf[:min(n, len(s.buf))]
}

// pass goes forward by n bytes of the window.
func (s *stream) pass(n int) {
	s.buf = s.buf[n:]
	s.off += int64(n)
}

// carveAhead is how much is looked at behind a chunk to see the end of what begins in
// it: more than etcd's default limit for a request, 1.5 MiB.
const carveAhead = 2 << 20

// carveRest searches all that is left.
func (s *stream) carveRest(t *tally, p place) {
	for s.ctx.Err() == nil {
		b := s.window(chunkSize + carveAhead)
		if len(b) == 0 {
			return
		}
		limit := len(b)
		if s.off+int64(len(b)) < s.size {
			limit = min(chunkSize, len(b))
		}
		if zero(b[:limit]) {
			s.pass(limit)
			continue
		}
		s.pass(min(t.carveUpTo(b, limit, p), len(b)))
	}
}
