package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	// MaxLine is the length of the longest line, without its line break.
	MaxLine = 64 << 10

	// Block is the number of lines that stay together: a segment begins at a multiple
	// of it, and Reader.Block gives as many.
	Block = 256
)

var (
	// ErrFailed is what every call returns after a write or a sync failed, until what
	// was not on stable storage is there. The error is a *FailedError.
	ErrFailed = errors.New("the journal has failed")

	// ErrFull is returned when the segment is full and there is no room for another:
	// raise MaxBytes, free space, or let segments expire. The line was not taken.
	ErrFull = errors.New("the journal is full")

	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the journal is closed")

	// ErrLocked is returned by Open when another process writes the journal.
	ErrLocked = errors.New("another process writes the journal")
)

// FailedError says why and since when the journal fails.
type FailedError struct {
	Cause error
	Since time.Time

	// Taken says that the line of this call has its number and its place, has been
	// observed, and will be in the file when the journal works again.
	Taken bool
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("%v since %s: %v", ErrFailed, e.Since.UTC().Format(time.RFC3339), e.Cause)
}

func (e *FailedError) Unwrap() []error { return []error{ErrFailed, e.Cause} }

// An Entry is what becomes a line.
type Entry interface {
	// AppendTo appends the line without a line break to buf: at least one byte, at
	// most MaxLine, no line break and no zero byte among them. It is called under
	// the journal's lock, with times that never go back.
	AppendTo(buf []byte, seq uint64, at time.Time) []byte
}

// Config says where a journal is and what happens as it is written. All but Dir and
// Header has a default. Functions called under the lock must not call the journal.
type Config struct {
	// Dir is the directory, made if there is none.
	Dir string

	// SegmentBytes is the size at which a new segment begins; default 64 MiB.
	SegmentBytes int64

	// MaxBytes is what all segments may take; default 4 GiB, at least four segments.
	// For another segment the oldest expire.
	MaxBytes int64

	// MinFreeBytes is what stays free on the file system; default 256 MiB. No segment
	// expires for it: whoever can fill a disk must not be able to erase the journal.
	MinFreeBytes int64

	// Keep says that a closed segment, and so all after it, must not expire yet.
	// Default: all may. Called without the lock.
	Keep func(Segment) bool

	// Header appends the owner's members of a new segment's header to buf, without
	// braces: `"log":"…","tree":[…]`. Called under the lock; Observe was called for
	// all lines before the segment.
	Header func(buf []byte) []byte

	// Restore is called by Open, before Observe, with the header of the segment from
	// which it replays, and the number of that segment's first line. It is not called
	// for a new journal.
	Restore func(header []byte, first uint64) error

	// Observe is called for each line in order, under the lock, and by Open for the
	// lines that it replays. The line is valid during the call.
	Observe func(seq uint64, line []byte)

	// Closed is called, without the lock, when a segment is complete, on stable storage,
	// and cut to its text. After a crash it can be called again for a segment.
	Closed func(Segment)

	// Failing is called, without the lock, when the journal failed, and with nil when
	// it works again.
	Failing func(error)

	Now func() time.Time // default time.Now
	Log *slog.Logger     // default slog.Default
}

// Recovered is what Open found.
type Recovered struct {
	From uint64 // the first line that was replayed
	Next uint64 // the number that the next line gets

	// DroppedBytes counts what was cut away: half a line, and whatever had come to the
	// disk after a part that had not. No line for which Await returned is among it.
	DroppedBytes int64
}

// Open takes the directory's lock, finds the end of the text, and replays the lines of
// the last segment, or of the last few if a crash interrupted their closing.
func Open(c Config) (*Journal, Recovered, error) { panic("TODO") }

// A Journal is open for writing. Its methods may be called concurrently.
type Journal struct{}

// Append takes a line. It is in memory, and in the file within 100 ms.
func (j *Journal) Append(e Entry) (seq uint64, err error) { panic("TODO") }

// Write takes a line that is in the file on return: it survives the process.
func (j *Journal) Write(e Entry) (seq uint64, err error) { panic("TODO") }

// WriteAwaited is Write by a caller who will Await the line after doing something
// else: the sync begins meanwhile.
func (j *Journal) WriteAwaited(e Entry) (seq uint64, err error) { panic("TODO") }

// Await returns when the line seq and all before it are on stable storage.
func (j *Journal) Await(ctx context.Context, seq uint64) error { panic("TODO") }

// Sync returns when all lines taken so far are on stable storage.
func (j *Journal) Sync(ctx context.Context) error { panic("TODO") }

// Next is the number that the next line gets.
func (j *Journal) Next() uint64 { panic("TODO") }

// Synced is the number of lines on stable storage: those before it.
func (j *Journal) Synced() uint64 { panic("TODO") }

// Close brings everything to stable storage and gives the directory back. An error
// says that it could not.
func (j *Journal) Close() error { panic("TODO") }

// Status is the state of a journal, for health and metrics.
type Status struct {
	Next, Synced uint64

	Failed *FailedError // nil while it works
	Full   error        // why there will be no other segment; nil while there will

	Segments int   // files with lines
	Bytes    int64 // what they and the prepared one take
	Bound    int64 // the part of Bytes that may not expire
	MaxBytes int64
	Free     int64 // of the file system

	Waiting int64 // bytes in memory that are not in the file
	Kept    int64 // bytes in memory that are not known to be on stable storage

	Syncs    uint64        // since Open, failed ones included
	SyncTime time.Duration // of all of them
	LastSync time.Duration
}

// Status takes the lock for a moment.
func (j *Journal) Status() Status { panic("TODO") }
