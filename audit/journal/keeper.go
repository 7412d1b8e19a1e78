package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	// lookAfter is how often the room on the disk is looked at, and what failed is
	// tried again.
	lookAfter = 5 * time.Second

	fillChunk = 1 << 20

	// A chunk is followed by a pause of so many times what it took, until half of the
	// segment before is used.
	fillPauses = 4
)

var (
	errStopped = errors.New("the journal is being closed")
	errLater   = errors.New("the oldest segment is not cut to its text yet")
)

// A spare is a segment that is prepared: zeros, on stable storage.
type spare struct {
	file   file
	size   int64
	header []byte // once a segment was to begin in it
	tried  bool   // to name it: it may have its name
}

// keeper is the goroutine that does what can be done at leisure: it cuts segments that
// are complete, lets the oldest expire, prepares the next, and warns.
func (j *Journal) keeper() {
	defer close(j.keepDone)
	defer func() {
		<-j.syncDone // which may have completed a segment
		j.cut()      // or the next Open does
	}()
	j.disk.Background()
	look := time.NewTicker(lookAfter)
	defer look.Stop()
	said := ""
	warned := 0
	for {
		err := j.cut()
		switch prepared := j.prepare(j.pause); {
		case errors.Is(prepared, errStopped):
			return
		case errors.Is(prepared, errLater) && err == nil:
			// Whoever syncs it wakes the keeper.
		case prepared != nil:
			err = errors.Join(err, prepared)
			j.setFull(err)
		}
		if text := fmt.Sprint(err); err != nil && text != said {
			said = text
			j.config.Log.Error("preparing the audit journal's next segment", slog.Any("error", err))
		} else if err == nil {
			said = ""
		}
		warned = j.warn(warned)
		select {
		case <-j.stop:
			return
		case <-j.work:
		case <-look.C:
		}
	}
}

func (j *Journal) wakeKeeper() {
	select {
	case j.work <- struct{}{}:
	default:
	}
}

// cut cuts complete segments to their text. They are on stable storage, and so is the
// next one with its header: a segment that is cut says that nothing is missing in it.
func (j *Journal) cut() error {
	for {
		j.mu.Lock()
		if len(j.closing) == 0 {
			j.mu.Unlock()
			return nil
		}
		p := j.closing[0]
		j.mu.Unlock()
		if err := errors.Join(p.file.Truncate(p.base), p.file.Datasync()); err != nil {
			return fmt.Errorf("cutting %s to its text: %w", p.name(), err)
		}
		p.file.Close()
		j.mu.Lock()
		j.closing = j.closing[1:]
		var closed Segment
		for i := range j.segments {
			if s := &j.segments[i]; s.First == p.first {
				s.Bytes, s.Changed = p.base, j.config.Now()
				closed = *s
			}
		}
		j.mu.Unlock()
		if j.config.Closed != nil {
			j.config.Closed(closed)
		}
	}
}

// prepare makes the next segment, if there is none.
//
// Zeros that were written and synced cost writing everything twice. Room that was only
// reserved (fallocate) would not do: the file system notes for each part of it that it
// was written, and fdatasync waits for that note. BenchmarkSync has both.
func (j *Journal) prepare(pause func(time.Duration) error) error {
	j.mu.Lock()
	have := j.ready != nil
	j.mu.Unlock()
	if have {
		return nil
	}
	size := j.config.SegmentBytes + j.step
	var s *spare
	err := j.makeRoom(size)
	if err == nil {
		s, err = j.fill(size, pause)
	}
	if err == nil {
		j.mu.Lock()
		j.ready, j.full = s, nil
		j.room.Broadcast()
		j.mu.Unlock()
	}
	return err
}

// setFull says why there will be no next segment, until there is one nonetheless.
func (j *Journal) setFull(why error) {
	if !errors.Is(why, ErrFull) {
		why = fmt.Errorf("%w: %w", ErrFull, why)
	}
	j.mu.Lock()
	j.full = why
	j.room.Broadcast()
	j.mu.Unlock()
}

func (j *Journal) fill(size int64, pause func(time.Duration) error) (_ *spare, err error) {
	f, err := j.disk.Open(prepared, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, fmt.Errorf("preparing a segment: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			j.disk.Remove(prepared) // what it takes is needed
		}
	}()
	zeros := make([]byte, min(size, fillChunk))
	for off := int64(0); off < size; {
		began := time.Now()
		n, err := f.WriteAt(zeros[:min(size-off, int64(len(zeros)))], off)
		if err == nil {
			err = f.Datasync()
		}
		if err != nil {
			return nil, fmt.Errorf("preparing a segment: %w", err)
		}
		off += int64(n)
		if err := pause(fillPauses * time.Since(began)); err != nil {
			return nil, err
		}
	}
	return &spare{file: f, size: size}, nil
}

// pause leaves the disk to others, unless the next segment is needed soon.
func (j *Journal) pause(d time.Duration) error {
	j.mu.Lock()
	if j.part().end() > j.config.SegmentBytes/2 {
		d = 0
	}
	j.mu.Unlock()
	select {
	case <-j.stop:
		return errStopped
	case <-time.After(d):
		return nil
	}
}

// makeRoom lets the oldest segments expire until size more bytes are within MaxBytes.
func (j *Journal) makeRoom(size int64) error {
	for {
		j.mu.Lock()
		used, n, ok := j.used(), len(j.segments), j.mayExpire(0)
		var oldest Segment
		if n > 0 {
			oldest = j.segments[0]
		}
		j.mu.Unlock()
		switch {
		case used+size <= j.config.MaxBytes:
			return j.freeFor(size)
		case !ok && n > 1:
			return errLater
		case !ok || j.keep(oldest):
			return fmt.Errorf("%w: segments that may not expire take %d of %d bytes", ErrFull, used, j.config.MaxBytes)
		}
		if err := j.expire(oldest); err != nil {
			return err
		}
	}
}

// freeFor says whether the file system has room for size more bytes.
func (j *Journal) freeFor(size int64) error {
	free, _, err := j.disk.Space()
	if err == nil && free-size < j.config.MinFreeBytes {
		err = fmt.Errorf("%w: %d bytes are free on the file system, and %d must stay free", ErrFull, free, j.config.MinFreeBytes)
	}
	return err
}

// used is what the segments take, and the prepared one.
func (j *Journal) used() (n int64) {
	for _, s := range j.segments {
		n += s.Bytes
	}
	if j.ready != nil {
		n += j.ready.size
	}
	return n
}

// mayExpire says whether segment i is complete, cut and so nobody's any more.
func (j *Journal) mayExpire(i int) bool {
	if i >= len(j.segments) {
		return false
	}
	first := j.parts[0].first
	if len(j.closing) > 0 {
		first = j.closing[0].first
	}
	return j.segments[i].First < first
}

func (j *Journal) keep(s Segment) bool { return j.config.Keep != nil && j.config.Keep(s) }

// expire removes the oldest segment, and what lies beside it first. The directory is
// synced before the next goes: those that are left have no gap, whatever crashes.
func (j *Journal) expire(s Segment) error {
	name := filepath.Base(s.Path)
	for _, name := range []string{hashesOf(name), name} {
		if err := remove(j.disk, name); err != nil {
			return fmt.Errorf("letting %s expire: %w", name, err)
		}
	}
	if err := j.disk.Sync(); err != nil {
		return fmt.Errorf("letting %s expire: %w", name, err)
	}
	j.mu.Lock()
	j.segments = j.segments[1:]
	j.mu.Unlock()
	return nil
}

// stages are the percentages at which the operator is warned, each once until it is
// below it again.
var stages = []int{80, 90, 95}

// warn says how much of what there is for the journal is taken by what can't expire, or
// by others, if that is a stage more than before.
func (j *Journal) warn(before int) int {
	j.mu.Lock()
	segments := append([]Segment(nil), j.segments...)
	expirable := 0
	for j.mayExpire(expirable) {
		expirable++
	}
	bound := j.used()
	j.mu.Unlock()
	for _, s := range segments[:expirable] {
		if j.keep(s) {
			break
		}
		bound -= s.Bytes
	}
	j.mu.Lock()
	j.bound = bound
	j.mu.Unlock()

	percent, of := int(100*bound/j.config.MaxBytes), "the audit journal's maximum"
	if free, total, err := j.disk.Space(); err == nil && total > j.config.MinFreeBytes {
		if p := int(100 * float64(total-free) / float64(total-j.config.MinFreeBytes)); p > percent {
			percent, of = p, "the file system"
		}
	}
	now := 0
	for _, s := range stages {
		// A stage that was reached is left a tenth below it: a segment that is cut, and
		// the next that is made, are no news.
		if percent >= s || s <= before && percent >= s-10 {
			now = s
		}
	}
	if now > before {
		j.config.Log.Warn("the audit journal will be full", slog.Int("percent", percent), slog.String("of", of))
	}
	return now
}

// Status is the state of a journal, for health and metrics.
type Status struct {
	Next, Synced uint64

	Failed *FailedError // nil while it works
	Full   error        // why there is no next segment; nil while there is, or will be

	Segments int   // files with lines
	Bytes    int64 // what they and the prepared one take
	Bound    int64 // the part of Bytes that may not expire
	MaxBytes int64
	Free     int64 // of the file system

	Waiting int64 // bytes in memory that are not in the file
	Kept    int64 // bytes in memory that are not known to be on stable storage

	Syncs    uint64        // since Open, without those that failed
	SyncTime time.Duration // of all of them
	LastSync time.Duration
}

// Status takes the lock for a moment.
func (j *Journal) Status() Status {
	free, _, _ := j.disk.Space() // unknown is none
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.part()
	return Status{
		Next: j.next, Synced: j.synced.Load(),
		Failed: j.failure, Full: j.full,
		Segments: len(j.segments), Bytes: j.used(), Bound: j.bound, MaxBytes: j.config.MaxBytes, Free: free,
		Waiting: p.end() - p.written, Kept: j.kept,
		Syncs: j.group.syncs, SyncTime: j.group.syncTime, LastSync: j.group.lastSync,
	}
}
