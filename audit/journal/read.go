package journal

import (
	"context"
	"errors"
	"iter"
	"time"
)

// ErrExpired is returned for lines that are in no segment any more.
var ErrExpired = errors.New("the lines have expired")

// A Segment is a file of lines.
type Segment struct {
	Path    string
	First   uint64    // the number of its first line, in its name too
	Next    uint64    // the first of the segment after it; 0 for the last one, which may be being written
	Bytes   int64     // its size: that of its text, but for the last
	Changed time.Time // when it was last written
}

// Segments lists the segments of a directory in order. It needs no lock.
func Segments(dir string) ([]Segment, error) { panic("TODO") }

// A Line of a segment. Text has no line break, and is valid until the next line is asked for.
type Line struct {
	Seq    uint64
	Offset int64 // of its first byte in the file
	Text   []byte
}

// A Reader reads one segment, also while it is written. It is not for concurrent use.
type Reader struct{}

// OpenSegment opens a segment. A segment whose header is not yet written is
// io.ErrUnexpectedEOF.
func OpenSegment(path string) (*Reader, error) { panic("TODO") }

// Header is the header line.
func (r *Reader) Header() []byte { panic("TODO") }

// First is the number of the first line.
func (r *Reader) First() uint64 { panic("TODO") }

// Lines gives the lines from number from on, to the end of the text as it is now.
func (r *Reader) Lines(from uint64) iter.Seq2[Line, error] { panic("TODO") }

// Block gives the lines from n*Block on, at most Block of them, fewer where the text
// ends. They are valid until the next call.
func (r *Reader) Block(n uint64) ([][]byte, error) { panic("TODO") }

// Close closes the file.
func (r *Reader) Close() error { panic("TODO") }

// Follow gives the lines of a directory from number from on, across segments, and waits
// for more: it looks every interval until ctx ends, or the loop does. Its one error is
// the last thing that it gives; it is ErrExpired for a line that is gone.
func Follow(ctx context.Context, dir string, from uint64, interval time.Duration) iter.Seq2[Line, error] {
	panic("TODO")
}
