package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// ErrExpired is returned for lines that are in no segment any more.
var ErrExpired = errors.New("the lines have expired")

// A Line of a segment. Text has no line break, and is valid until the next line is asked for.
type Line struct {
	Seq    uint64
	Offset int64 // of its first byte in the file
	Text   []byte
}

// A Reader reads one segment, also while it is written. It is not for concurrent use,
// and has one place: a loop over its lines must not read others.
type Reader struct {
	file    io.ReaderAt
	close   func() error
	scan    *scanner
	first   uint64
	header  []byte
	next    uint64  // the line at the scanner's place
	offsets []int64 // of the lines first, first+Block, …, as far as they are known
	block   []byte  // what Block returned
	lines   [][]byte
}

// OpenSegment opens a segment. One whose header is not there yet is io.ErrUnexpectedEOF.
func OpenSegment(path string) (*Reader, error) {
	first, ok := firstOf(filepath.Base(path))
	if !ok {
		return nil, fmt.Errorf("%s: a segment has 20 digits and %s for a name", path, suffix)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := newReader(f, first, f.Close)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func newReader(f io.ReaderAt, first uint64, close func() error) (*Reader, error) {
	r := &Reader{file: f, close: close, scan: newScanner(f, 0), first: first}
	header, err := r.scan.next()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = checkHeader(header, first)
	}
	if err != nil {
		return nil, err
	}
	r.header = slices.Clone(header)
	r.next, r.offsets = first, []int64{r.scan.off}
	return r, nil
}

// Header is the header line.
func (r *Reader) Header() []byte { return r.header }

// First is the number of the first line.
func (r *Reader) First() uint64 { return r.first }

// Close closes the file.
func (r *Reader) Close() error { return r.close() }

// Lines gives the lines from number from on, to the end of the text as it is now. An
// error is the last thing that it gives.
func (r *Reader) Lines(from uint64) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		r.seek(from)
		for {
			line, err := r.step()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Line{}, err)
				return
			}
			if line.Seq >= from && !yield(line, nil) {
				return
			}
		}
	}
}

// seek goes to a line at or before seq: the last of which the place is known.
func (r *Reader) seek(seq uint64) {
	seq = max(seq, r.first)
	i := min((seq-r.first)/Block, uint64(len(r.offsets)-1))
	if known := r.first + i*Block; r.next > seq || r.next < known {
		r.next = known
		r.scan.seek(r.offsets[i])
	}
}

// step reads the next line, and remembers where blocks begin.
func (r *Reader) step() (Line, error) {
	at := r.scan.off
	text, err := r.scan.next()
	if err != nil {
		return Line{}, err
	}
	line := Line{Seq: r.next, Offset: at, Text: text}
	r.next++
	if n := r.next - r.first; n%Block == 0 && n/Block == uint64(len(r.offsets)) {
		r.offsets = append(r.offsets, r.scan.off)
	}
	return line, nil
}

// Block gives the lines from n*Block on, at most Block of them; fewer where the text
// ends, none where this segment does. They are valid until the next call.
func (r *Reader) Block(n uint64) ([][]byte, error) {
	from := n * Block
	if from < r.first {
		return nil, fmt.Errorf("line %d is not in the segment that begins with %d", from, r.first)
	}
	r.block, r.lines = r.block[:0], r.lines[:0]
	var ends [Block]int
	count := 0
	for line, err := range r.Lines(from) {
		if err != nil {
			return nil, err
		}
		r.block = append(r.block, line.Text...)
		ends[count] = len(r.block)
		if count++; count == Block {
			break
		}
	}
	begin := 0
	for _, end := range ends[:count] {
		r.lines = append(r.lines, r.block[begin:end:end])
		begin = end
	}
	return r.lines, nil
}

// Follow gives the lines of a directory from number from on, across segments, and waits
// for more: it looks every interval until ctx ends, or the loop does. An error is the
// last thing that it gives: ErrExpired for a line that is gone, what ended ctx, and what
// came of reading.
func Follow(ctx context.Context, dir string, from uint64, interval time.Duration) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		t := &tail{dir: dir, next: from}
		defer t.close()
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			more, err := t.read(yield)
			if err != nil {
				yield(Line{}, err)
			}
			if err != nil || !more {
				return
			}
			select {
			case <-ctx.Done():
				yield(Line{}, ctx.Err())
				return
			case <-tick.C:
			}
		}
	}
}

// A tail is a place in a directory.
type tail struct {
	dir  string
	next uint64
	r    *Reader // of the segment that has next, or will; nil while none is open
}

func (t *tail) close() {
	if t.r != nil {
		t.r.Close()
		t.r = nil
	}
}

// read gives what there is from t.next on. more says whether the loop wants more.
func (t *tail) read(yield func(Line, error) bool) (more bool, err error) {
	for {
		if t.r != nil {
			for line, err := range t.r.Lines(t.next) {
				if err != nil {
					return false, err
				}
				t.next = line.Seq + 1
				if !yield(line, nil) {
					return false, nil
				}
			}
		}
		// A segment gets its name when all lines before it are in their file. If there
		// is one that begins with next, then this one has been read to its end.
		moved, err := t.move()
		if err != nil || !moved {
			return true, err
		}
	}
}

// move opens the segment that has the next line, if it is another one.
func (t *tail) move() (bool, error) {
	segments, err := Segments(t.dir)
	if err != nil {
		return false, err
	}
	i := len(segments) - 1
	for i >= 0 && segments[i].First > t.next {
		i--
	}
	switch {
	case i < 0 && len(segments) > 0:
		return false, fmt.Errorf("line %d: %w: the first is %d", t.next, ErrExpired, segments[0].First)
	case i < 0, t.r != nil && t.r.first == segments[i].First:
		return false, nil
	}
	r, err := OpenSegment(segments[i].Path)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist) {
		return false, nil // not begun, or expired meanwhile: the next look tells
	}
	if err != nil {
		return false, err
	}
	t.close()
	t.r = r
	return true, nil
}
