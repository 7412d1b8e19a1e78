package journal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
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
	// and cut to its text; also for those that Open found complete and not cut. A crash
	// may come between the cut and the call.
	Closed func(Segment)

	// Failing is called, without the lock, when the journal failed, and with nil when
	// it works again: for each change, in order, some time after it. It may append.
	Failing func(error)

	Now func() time.Time // default time.Now
	Log *slog.Logger     // default slog.Default
}

const (
	// flushAfter is how long a line waits in memory, flushBytes how many bytes do.
	flushAfter = 50 * time.Millisecond
	flushBytes = 64 << 10

	// keepBytes bounds the memory for what is not on stable storage. Beyond it lines
	// wait for the sync that is under way.
	keepBytes = 16 << 20
)

// A Journal is open for writing. Its methods may be called concurrently.
type Journal struct {
	config Config
	disk   disk
	lock   *os.File
	step   int64 // what a segment has beyond SegmentBytes for the rest of a block, and grows by

	mu       sync.Mutex
	room     sync.Cond // on mu: what admit waits for may have changed
	segments []Segment // oldest first; the last is being written
	parts    []*part   // of segments, what may not be on stable storage; the last is being written
	closing  []*part   // complete and on stable storage, to be cut to their text
	ready    *spare    // the next segment; nil while it is being prepared
	turning  bool      // beginning it failed, and is part of working again
	full     error     // why there is none
	bound    int64     // bytes that may not expire
	next     uint64
	last     time.Time
	kept     int64 // bytes in parts
	failure  *FailedError
	taken    *FailedError // the same, for a line that was taken
	closed   bool

	tick  *time.Timer // flushes, and sees to it that nothing waits for ever
	armed bool
	group group
	news  []error // what Failing has not been told yet

	synced atomic.Uint64 // written under mu

	work       chan struct{} // there is some for the keeper
	told       chan struct{} // there is news for the herald
	stop       chan struct{} // nothing is to be waited for any more
	syncDone   chan struct{}
	keepDone   chan struct{}
	heraldDone chan struct{}
}

// A part is the end of a segment: from base on, in memory too, since after a failed
// sync nobody knows what of it the disk has, and the cache may say that it has it.
type part struct {
	file     file
	first    uint64
	buf      []byte
	base     int64 // offset in the file of buf
	written  int64 // offset in the file up to which buf was written
	capacity int64 // size of the file: zeros from the text on
	named    bool  // its name is on stable storage
}

func (p *part) name() string { return nameOf(p.first) }
func (p *part) end() int64   { return p.base + int64(len(p.buf)) }

// forget lets go of what is on stable storage.
func (p *part) forget(to int64) (freed int64) {
	n := to - p.base
	rest := p.buf[n:]
	if cap(p.buf) > 4<<20 && len(rest) < 1<<16 {
		p.buf = append(make([]byte, 0, 1<<17), rest...) // the burst is over
	} else {
		p.buf = p.buf[:copy(p.buf, rest)]
	}
	p.base = to
	return n
}

// Append takes a line. It is in memory, and in the file within 100 ms.
func (j *Journal) Append(e Entry) (seq uint64, err error) { return j.put(e, inMemory) }

// Write takes a line that is in the file on return: it survives the process.
func (j *Journal) Write(e Entry) (seq uint64, err error) { return j.put(e, inFile) }

// WriteAwaited is Write by a caller who will Await the line after doing something
// else: the sync begins meanwhile.
func (j *Journal) WriteAwaited(e Entry) (seq uint64, err error) { return j.put(e, awaited) }

type promise int

const (
	inMemory promise = iota
	inFile
	awaited
)

func (j *Journal) put(e Entry, must promise) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.admit(); err != nil {
		return 0, err
	}
	if err := j.place(); err != nil {
		return 0, err
	}
	p := j.part()
	now := j.config.Now()
	if now.Before(j.last) {
		now = j.last
	}
	start := len(p.buf)
	buf := e.AppendTo(p.buf, j.next, now)
	line := buf[start:]
	if err := checkLine(line); err != nil {
		return 0, err
	}
	buf = append(buf, '\n')
	if err := j.fit(p, p.base+int64(len(buf))); err != nil {
		return 0, err
	}

	// From here on the line is taken, whatever happens.
	j.kept += int64(len(buf) - start)
	p.buf = buf
	seq := j.next
	j.next++
	j.last = now
	if j.config.Observe != nil {
		j.config.Observe(seq, line)
	}
	if !j.armed {
		j.armed = true
		j.tick.Reset(flushAfter)
	}
	switch {
	case must != inMemory:
		if err := j.flushWithOthers(p, p.end()); err != nil {
			return seq, err
		}
	case p.end()-p.written >= flushBytes:
		if err := j.flush(); err != nil {
			return seq, err
		}
	}
	if must == awaited {
		j.announce()
	}
	return seq, nil
}

// flushWithOthers brings the text up to end to the file. Whoever can run now goes first,
// and may have a line, too: a write costs more than all else here, and etcd answers
// many requests at once. Alone, it costs a tenth of a microsecond.
func (j *Journal) flushWithOthers(p *part, end int64) error {
	j.mu.Unlock()
	runtime.Gosched()
	j.mu.Lock()
	switch {
	case p.written >= end: // one of them wrote it
		return nil
	case j.failure != nil:
		return j.taken
	}
	return j.flush() // p is the part still: a segment begins only once all before is written
}

func checkLine(line []byte) error {
	switch {
	case len(line) == 0 || len(line) > MaxLine:
		return fmt.Errorf("a line has %d bytes, and may have 1 to %d", len(line), MaxLine)
	case bytes.IndexByte(line, '\n') >= 0 || bytes.IndexByte(line, 0) >= 0:
		return errors.New("a line has a line break or a zero byte in it")
	}
	return nil
}

// part is what is being written.
func (j *Journal) part() *part { return j.parts[len(j.parts)-1] }

// admit waits until there is room for a line, in memory and in a segment, and says why
// there will be none.
func (j *Journal) admit() error {
	for {
		switch {
		case j.closed:
			return ErrClosed
		case j.failure != nil:
			return j.failure
		case j.kept >= keepBytes:
			j.group.overdue = true
			j.group.hurry()
		case j.late():
			j.wakeKeeper()
		default:
			return nil
		}
		j.room.Wait()
	}
}

// late says that the last segment went on to twice its size because the next is still
// being prepared. No more, or it would leave no room for another: the last can't expire.
func (j *Journal) late() bool {
	return j.next%Block == 0 && j.ready == nil && j.full == nil && j.part().end() >= 2*j.config.SegmentBytes
}

// flush writes what waits in memory.
func (j *Journal) flush() error {
	p := j.part()
	data := p.buf[p.written-p.base:]
	if len(data) == 0 {
		return nil
	}
	if _, err := p.file.WriteAt(data, p.written); err != nil {
		// Some of it may be in the file. All of it will be, at the same place.
		return j.fail(fmt.Errorf("writing %s: %w", p.name(), err))
	}
	p.written += int64(len(data))
	return nil
}

// fit makes sure that the file reaches to end, so that a line that is taken has room. A
// disk that is full is felt here or by the keeper, and nowhere else.
func (j *Journal) fit(p *part, end int64) error {
	for end > p.capacity {
		n, err := p.file.WriteAt(make([]byte, j.step), p.capacity)
		switch {
		case noSpace(err):
			return fmt.Errorf("%w: %w", ErrFull, err)
		case err != nil:
			j.fail(fmt.Errorf("extending %s: %w", p.name(), err))
			return j.failure
		}
		p.capacity += int64(n)
		j.segments[len(j.segments)-1].Bytes = p.capacity
	}
	return nil
}

// place begins the next segment, if this is where it can begin and the last one has its
// size. If none is prepared the last one goes on, up to the room that it has if there is
// no room for another.
func (j *Journal) place() error {
	end := j.part().end()
	switch {
	case j.next%Block != 0 || end < j.config.SegmentBytes:
		return nil
	case j.ready != nil:
		if err := j.flush(); err != nil {
			return j.failure
		}
		if err := j.turn(); err != nil {
			j.turning = true
			j.fail(err)
			return j.failure
		}
		return nil
	case end >= j.config.SegmentBytes+j.step:
		return j.full
	}
	return nil
}

// turn gives the prepared segment its header and its name. All lines before it are in
// their file, so that who sees the name knows that the segment before is complete.
//
//   - Killed before the rename: the prepared file is made anew.
//   - Killed after it: the segment has a header and no line, and is gone on with.
//   - Power lost: the sync that will answer for its first line also answers for the
//     segment before and for the name. If any of them did not come to the disk, Open
//     goes back to where the text is whole, and drops the rest.
//   - The rename failed, or failed but took effect: the same is tried until it works.
func (j *Journal) turn() error {
	s := j.ready
	if s.header == nil {
		s.header = append(appendHeader(nil, j.config.Header, j.next, j.config.Now()), '\n')
	}
	name := nameOf(j.next)
	if _, err := s.file.WriteAt(s.header, 0); err != nil {
		return fmt.Errorf("writing the header of %s: %w", name, err)
	}
	if err := j.disk.Rename(prepared, name); err != nil && !(s.tried && j.has(name)) {
		s.tried = true
		return fmt.Errorf("naming %s: %w", name, err)
	}
	if n := len(j.segments); n > 0 {
		j.segments[n-1].Next = j.next
	}
	j.segments = append(j.segments, Segment{
		Path: filepath.Join(j.config.Dir, name), First: j.next, Bytes: s.size, Changed: j.config.Now(),
	})
	size := int64(len(s.header))
	j.parts = append(j.parts, &part{file: s.file, first: j.next, buf: s.header, written: size, capacity: s.size})
	j.kept += size
	j.ready = nil
	j.wakeKeeper()
	return nil
}

func (j *Journal) has(name string) bool {
	names, err := j.disk.Names()
	return err == nil && slices.Contains(names, name)
}

// onTick brings to the file what waits, and has it synced if nobody else did.
func (j *Journal) onTick() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.armed = false
	if j.closed || j.failure != nil || j.kept == 0 {
		return // working again means that nothing waits
	}
	if j.flush() != nil {
		return
	}
	if time.Since(j.group.began) >= syncAfter {
		j.group.overdue = true
		j.group.hurry()
	}
	j.armed = true
	j.tick.Reset(flushAfter)
}

// Next is the number that the next line gets.
func (j *Journal) Next() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next
}

// Synced is the number of lines on stable storage: those before it.
func (j *Journal) Synced() uint64 { return j.synced.Load() }

// Close brings everything to stable storage and gives the directory back. An error
// says that it could not; the lines may be there nonetheless. The last segment keeps
// its zeros, for the next Open to go on in.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	j.closed = true
	j.tick.Stop()
	j.room.Broadcast()
	j.group.wake()
	j.mu.Unlock()

	close(j.stop)
	late := time.NewTimer(2 * stallAfter)
	defer late.Stop()
	for _, done := range []chan struct{}{j.syncDone, j.keepDone, j.heraldDone} {
		select {
		case <-done:
		case <-late.C:
			// Whoever hangs in the kernel still has the files, and the lock with them.
			return fmt.Errorf("closing the journal: the disk does not answer")
		}
	}
	for _, p := range append(j.parts, j.closing...) {
		p.file.Close()
	}
	if j.ready != nil {
		j.ready.file.Close()
	}
	if j.lock != nil {
		j.lock.Close()
	}
	if j.failure != nil {
		return fmt.Errorf("closing the journal: %w", j.failure)
	}
	return nil
}
