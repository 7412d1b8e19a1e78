package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"time"
)

// Recovered is what Open found.
type Recovered struct {
	From uint64 // the first line that was replayed
	Next uint64 // the number that the next line gets

	// DroppedBytes counts what was cut away: half a line, and whatever had come to the
	// disk after a part that had not. No line for which Await returned is among it.
	DroppedBytes int64
}

// Open takes the directory's lock, finds the end of the text, and replays the lines of
// the last segment, or of the last few if a crash interrupted their closing. What it
// replayed is on stable storage when it returns.
func Open(c Config) (*Journal, Recovered, error) {
	c, err := c.checked()
	if err != nil {
		return nil, Recovered{}, fmt.Errorf("opening the journal: %w", err)
	}
	if err := makeDir(c.Dir); err != nil {
		return nil, Recovered{}, fmt.Errorf("opening the journal: %w", err)
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, Recovered{}, fmt.Errorf("opening the journal: locking %s: %w", c.Dir, err)
	}
	j, r, err := open(c, dirDisk(c.Dir))
	if err != nil {
		lock.Close()
		return nil, Recovered{}, err
	}
	j.lock = lock
	j.start()
	return j, r, nil
}

// checked is c with its defaults, if it makes sense.
func (c Config) checked() (Config, error) {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 4 << 30
	}
	if c.MinFreeBytes == 0 {
		c.MinFreeBytes = 256 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	switch {
	case c.Dir == "":
		return c, errors.New("no directory")
	case c.SegmentBytes < 0 || c.MaxBytes < 0 || c.MinFreeBytes < 0:
		return c, errors.New("a size is negative")
	case c.MaxBytes < 4*(c.SegmentBytes+c.step()):
		return c, fmt.Errorf("%d bytes are too few for four segments of %d: raise the maximum, or make segments smaller", c.MaxBytes, c.SegmentBytes)
	}
	return c, nil
}

// step is the room in a segment for the block that is under way when its size is reached.
func (c Config) step() int64 { return min(1<<20, c.SegmentBytes/4+1) }

// open is Open, without lock, up to the point from which goroutines work.
func open(c Config, d disk) (_ *Journal, r Recovered, err error) {
	j := &Journal{
		config: c, disk: d, step: c.step(),
		group: group{coming: newRound(), kick: make(chan struct{}, 1)},
		work:  make(chan struct{}, 1), told: make(chan struct{}, 1), stop: make(chan struct{}),
		syncDone: make(chan struct{}), keepDone: make(chan struct{}), heraldDone: make(chan struct{}),
	}
	j.room.L = &j.mu
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening the journal: %w", err)
			for _, p := range j.parts {
				p.file.Close()
			}
			if j.ready != nil {
				j.ready.file.Close()
			}
		}
	}()

	// Whether a spare was filled to its end, who knows.
	if err := remove(d, prepared); err != nil {
		return nil, r, err
	}
	if j.segments, err = list(d, c.Dir); err != nil {
		return nil, r, err
	}
	if r, err = j.recover(); err != nil {
		return nil, r, err
	}
	if len(j.parts) == 0 {
		// A new journal. It begins with a segment that is filled, as all others are.
		if err := j.prepare(func(time.Duration) error { return nil }); err != nil {
			return nil, r, err
		}
		if err := j.turn(); err != nil {
			return nil, r, err
		}
	}
	if err := j.rewrite(); err != nil {
		return nil, r, err
	}
	j.tick = time.AfterFunc(math.MaxInt64, j.onTick)
	j.group.stall = time.AfterFunc(math.MaxInt64, j.onStall)
	j.tick.Stop()
	j.group.stall.Stop()
	return j, r, nil
}

func (j *Journal) start() {
	go j.syncer()
	go j.keeper()
	go j.herald()
}

// A found segment is what a crash may have left.
type found struct {
	file   file
	first  uint64
	size   int64
	header []byte // nil if it was torn: there is no whole line
	cut    bool   // it ends with its text: it and the next one's header were on stable storage
}

func (j *Journal) look(s Segment) (*found, error) {
	f, err := j.disk.Open(nameOf(s.First), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	o := &found{file: f, first: s.First, size: s.Bytes}
	if o.header, err = newScanner(f, 0).next(); errors.Is(err, io.EOF) {
		o.header = nil
		return o, nil
	}
	last := make([]byte, 1)
	if err == nil {
		err = checkHeader(o.header, s.First)
	}
	if err == nil {
		_, err = f.ReadAt(last, s.Bytes-1)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	o.cut = last[0] == '\n'
	return o, nil
}

// recover finds the end of what is whole. It goes back from the last segment to the
// first that may not be complete, and forward from there, line by line. Where a segment
// ends before the next one begins, or the next has no header, the power failed before
// the two were synced together: nobody was answered for what comes after, and it goes.
//
// It may be interrupted anywhere, and be done again: what it drops it would drop again,
// and before anything is appended rewrite syncs the segments and the directory.
func (j *Journal) recover() (r Recovered, err error) {
	var tail []*found
	defer func() {
		if err != nil {
			for _, o := range tail {
				o.file.Close()
			}
		}
	}()
	for i := len(j.segments) - 1; i >= 0; i-- {
		o, err := j.look(j.segments[i])
		if err != nil {
			return r, err
		}
		if o.cut && len(tail) > 0 {
			o.file.Close()
			if tail[0].header == nil {
				return r, damaged(j.segments[i+1].Path, "the segment before it was closed, so it had a header")
			}
			break
		}
		tail = append([]*found{o}, tail...)
	}
	if len(tail) == 0 {
		return r, nil
	}
	if first := tail[0]; first.header == nil {
		if first.first != 0 {
			return r, damaged(nameOf(first.first), "it is the first that there is, and has no header")
		}
		r.DroppedBytes, err = j.drop(tail)
		return r, err
	}

	r.From, r.Next = tail[0].first, tail[0].first
	if j.config.Restore != nil {
		if err := j.config.Restore(tail[0].header, r.From); err != nil {
			return r, fmt.Errorf("%s: %w", nameOf(r.From), err)
		}
	}
	for i, o := range tail {
		p, next, err := j.replay(o, r.Next)
		if err != nil {
			return r, fmt.Errorf("%s: %w", nameOf(o.first), err)
		}
		r.Next = next
		rest := tail[i+1:]
		if len(rest) > 0 && rest[0].first < next {
			return r, damaged(nameOf(o.first), "it has lines that the next one has, too")
		}
		if len(rest) > 0 && rest[0].first == next && rest[0].header != nil {
			j.parts = append(j.parts, p)
			continue
		}
		// This is the last. First what comes after it goes, and then it may go on.
		dropped, err := j.drop(rest)
		if err != nil {
			return r, err
		}
		garbage, err := blank(p)
		if err != nil {
			return r, fmt.Errorf("%s: %w", nameOf(o.first), err)
		}
		if err := remove(j.disk, hashesOf(nameOf(o.first))); err != nil {
			return r, err // they are of a segment that is complete
		}
		r.DroppedBytes += dropped + garbage
		j.parts = append(j.parts, p)
		break
	}
	for _, p := range j.parts {
		j.kept += int64(len(p.buf))
	}
	j.next = r.Next
	return r, nil
}

func damaged(name, why string) error {
	return fmt.Errorf("%s is damaged: %s. No crash does that: keep a copy, and move it out of the directory, and all segments after it", name, why)
}

// replay gives the lines of a segment to Observe. It keeps as much of its end as can
// have been on its way to the disk when the process before this one ended: that one may
// have seen a sync fail.
func (j *Journal) replay(o *found, next uint64) (*part, uint64, error) {
	s := newScanner(o.file, int64(len(o.header))+1)
	for {
		line, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		if j.config.Observe != nil {
			j.config.Observe(next, line)
		}
		next++
	}
	p := &part{file: o.file, first: o.first, written: s.off, capacity: o.size}
	p.base = max(0, s.off-keepBytes-MaxLine-1)
	p.buf = make([]byte, s.off-p.base)
	if _, err := o.file.ReadAt(p.buf, p.base); err != nil {
		return nil, 0, err
	}
	return p, next, nil
}

// blank makes zeros of what is after the text, so that it can't become part of a line.
func blank(p *part) (garbage int64, err error) {
	end, err := extent(p.file, p.end())
	if err != nil || end == p.end() {
		return 0, err
	}
	zeros := make([]byte, 1<<20)
	for off := p.end(); off < end; {
		n, err := p.file.WriteAt(zeros[:min(end-off, int64(len(zeros)))], off)
		if err != nil {
			return 0, err
		}
		off += int64(n)
	}
	return end - p.end(), nil
}

// drop removes segments that can't follow what is before them, the last first.
func (j *Journal) drop(tail []*found) (bytes int64, err error) {
	for i := len(tail) - 1; i >= 0; i-- {
		o := tail[i]
		text := int64(0)
		if o.header != nil {
			text = int64(len(o.header)) + 1 // which says nothing that is lost with it
		}
		end, err := extent(o.file, text)
		if err != nil {
			return 0, err
		}
		bytes += end - text
		name := nameOf(o.first)
		for _, name := range []string{hashesOf(name), name} {
			if err := remove(j.disk, name); err != nil {
				return 0, err
			}
		}
		o.file.Close()
		j.segments = j.segments[:len(j.segments)-1]
	}
	return bytes, nil
}
