package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

var errLongLine = fmt.Errorf("a line is longer than %d bytes", MaxLine)

// A scanner reads whole lines. At the end of the text it says io.EOF, forgets what it
// holds of half a line, and may be asked again: there may be more by then.
type scanner struct {
	r        io.ReaderAt
	off      int64 // in r, of buf[from]
	buf      []byte
	from, to int // what was read and not yet given
}

func newScanner(r io.ReaderAt, off int64) *scanner {
	return &scanner{r: r, off: off, buf: make([]byte, 4*MaxLine)}
}

// next gives the line at the offset s.off, without its line break.
//
// The bytes are read while another process may write them, and come from a cache that
// promises no order. It does not matter: each of them is zero or what it will stay, so
// that a line break which no zero precedes has the whole line before it.
func (s *scanner) next() ([]byte, error) {
	for {
		held := s.buf[s.from:s.to]
		n := bytes.IndexByte(held, '\n')
		switch {
		case n >= 0 && bytes.IndexByte(held[:n], 0) < 0:
			if n > MaxLine {
				return nil, errLongLine
			}
			s.from += n + 1
			s.off += int64(n) + 1
			return held[:n], nil
		case bytes.IndexByte(held, 0) >= 0:
			s.from, s.to = 0, 0
			return nil, io.EOF
		case len(held) > MaxLine:
			return nil, errLongLine
		}
		s.to = copy(s.buf, held)
		s.from = 0
		n, err := s.r.ReadAt(s.buf[s.to:], s.off+int64(s.to))
		s.to += n
		if n == 0 {
			s.from, s.to = 0, 0
			if err == nil || errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			return nil, err
		}
	}
}

// seek goes to the line at off.
func (s *scanner) seek(off int64) { s.off, s.from, s.to = off, 0, 0 }

// extent is where the last byte of r that is not zero ends, or off if none is from off on.
func extent(r io.ReaderAt, off int64) (int64, error) {
	buf := make([]byte, 256<<10)
	end := off
	for {
		n, err := r.ReadAt(buf, off)
		if m := len(bytes.TrimRight(buf[:n], "\x00")); m > 0 {
			end = off + int64(m)
		}
		off += int64(n)
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return end, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
