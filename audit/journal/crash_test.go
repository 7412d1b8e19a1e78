package journal

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	schedules = flag.Int("journal.schedules", 30, "random schedules of writes, faults and crashes")
	firstSeed = flag.Uint64("journal.seed", 1, "the seed of the first")
)

// A ledger is what the owner of a journal knows of it, over all its lives.
type ledger struct {
	most    int64 // MaxBytes
	mu      sync.Mutex
	lines   []string // as they were observed
	written uint64   // lines before it are in the file: a Write returned
	awaited uint64   // lines before it are on stable storage: an Await returned
	failing bool     // what Failing said last
	failed  int      // how often it said so
	hear    func(error)
	wrong   []string // what should not have been
}

func (l *ledger) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) < 5 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

func (l *ledger) config() Config {
	var replayed uint64
	replaying := true
	return Config{
		Dir: "audit", SegmentBytes: 16 << 10, MaxBytes: l.most, MinFreeBytes: 1,
		Log: slog.New(slog.DiscardHandler),
		Header: func(buf []byte) []byte {
			l.mu.Lock()
			defer l.mu.Unlock()
			replaying = false
			return fmt.Appendf(buf, `"lines":%d`, len(l.lines))
		},
		Restore: func(header []byte, first uint64) error {
			replayed = first
			if want := fmt.Sprintf(`{"etcdguardAudit":1,"lines":%d,"first":%d,`, first, first); !slices.Equal(header[:len(want)], []byte(want)) {
				l.complain("restored from %d with the header %s", first, header)
			}
			return nil
		},
		Observe: func(seq uint64, line []byte) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if replaying && seq == replayed && seq < uint64(len(l.lines)) {
				if l.lines[seq] != string(line) {
					l.wrong = append(l.wrong, fmt.Sprintf("line %d was replayed as %q", seq, line))
				}
				replayed++
				return
			}
			if seq != uint64(len(l.lines)) {
				l.wrong = append(l.wrong, fmt.Sprintf("line %d was observed after %d lines", seq, len(l.lines)))
			}
			l.lines = append(l.lines, string(line))
		},
		Failing: func(err error) {
			l.mu.Lock()
			if hear := l.hear; hear != nil {
				defer hear(err) // without the lock
			}
			defer l.mu.Unlock()
			if (err != nil) == l.failing {
				l.wrong = append(l.wrong, fmt.Sprintf("Failing was told twice: %v", err))
			}
			if l.failing = err != nil; l.failing {
				l.failed++
			}
		},
	}
}

// life opens the journal of the platter, and compares all that is there with the ledger.
// powerFailed says what may be missing.
func (l *ledger) life(d *simDisk, powerFailed bool) (*Journal, error) {
	before := d.extents()
	c, err := l.config().checked()
	if err != nil {
		return nil, err
	}
	j, r, err := open(c, d)
	if err != nil {
		return nil, err
	}
	defer j.start()
	l.failing = false
	least := l.written
	if powerFailed {
		least = l.awaited
	}
	switch lines := uint64(len(l.lines)); {
	case r.Next < least:
		l.complain("%d lines are left, and %d were answered for", r.Next, least)
		return j, nil
	case r.Next > lines:
		l.complain("%d lines are left, and %d were taken", r.Next, lines)
		return j, nil
	}
	l.lines = l.lines[:r.Next]
	l.written, l.awaited = r.Next, r.Next
	if from, got := d.read(l); from > r.From || !slices.Equal(got, l.lines[from:]) {
		l.complain("%d lines are read from %d on, and not those that were taken, %d", len(got), from, r.Next)
	}
	if gone := before - d.extents(); r.DroppedBytes > gone+100 || r.DroppedBytes < gone-16*100 {
		// Less by the headers of segments that were not begun; more by a first header.
		l.complain("%d bytes are gone, %d were told", gone, r.DroppedBytes)
	}
	return j, nil
}

// extents is how many bytes the segments have up to the last that is not zero.
func (d *simDisk) extents() (n int64) {
	other := d.platter.attach()
	names, _ := other.Names()
	for _, name := range names {
		if kindOf(name) == "segment" {
			f, _ := other.Open(name, 0)
			end, _ := extent(f, 0)
			n += end
		}
	}
	return n
}

// read reads all lines as another process would, which sees no faults.
func (d *simDisk) read(l *ledger) (from uint64, lines []string) {
	other := d.platter.attach()
	segments, err := list(other, "")
	if err != nil {
		l.complain("%v", err)
		return 0, nil
	}
	for _, s := range segments {
		f, err := other.Open(nameOf(s.First), 0)
		if err != nil {
			l.complain("%v", err)
			return from, lines
		}
		r, err := newReader(f, s.First, f.Close)
		if err != nil {
			l.complain("%v", err)
			return from, lines
		}
		if len(lines) == 0 {
			from = s.First
		}
		if s.First != from+uint64(len(lines)) {
			l.complain("a segment begins with %d after %d lines from %d on", s.First, len(lines), from)
		}
		for line, err := range r.Lines(0) {
			if err != nil {
				l.complain("%v", err)
				return from, lines
			}
			lines = append(lines, string(line.Text))
		}
	}
	return from, lines
}

// write is one writer: it does what writers do until the journal is closed.
func (l *ledger) write(j *Journal, rng *rand.Rand, pad int) {
	for {
		if rng.IntN(4) == 0 {
			time.Sleep(time.Duration(rng.IntN(int(5 * time.Millisecond))))
		}
		e := entry{rng.IntN(pad)}
		var seq uint64
		var err error
		kind := rng.IntN(4)
		switch kind {
		case 0:
			_, err = j.Append(e)
		case 1:
			seq, err = j.Write(e)
		default:
			seq, err = j.WriteAwaited(e)
		}
		if err == nil && kind > 0 {
			l.mu.Lock()
			l.written = max(l.written, seq+1)
			l.mu.Unlock()
		}
		if err == nil && kind == 3 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(50))*time.Millisecond)
			err = j.Await(ctx, seq)
			cancel()
			if err == nil {
				l.mu.Lock()
				l.awaited = max(l.awaited, seq+1)
				l.mu.Unlock()
			}
		}
		switch {
		case err == nil, errors.Is(err, context.DeadlineExceeded):
		case errors.Is(err, ErrClosed):
			return
		case errors.Is(err, ErrFailed), errors.Is(err, ErrFull):
			time.Sleep(time.Duration(rng.IntN(int(200 * time.Millisecond))))
		default:
			l.complain("%v", err)
			return
		}
	}
}

var errnos = []error{syscall.EIO, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT}

// underLock are the acts for which the journal holds its lock, so that no time can pass.
func underLock(a act) bool {
	return a.on == "segment" && a.op != "datasync" || a.op == "header" || a.op == "names"
}

// randomFaults are bad times for a disk, now and then.
func randomFaults(seeds *rand.Rand) func(act) fault {
	rng := rand.New(rand.NewPCG(seeds.Uint64(), 2))
	var mu sync.Mutex
	rate := []float64{0, 0.001, 0.02, 0.3}[rng.IntN(4)]
	bad := false
	return func(a act) (f fault) {
		mu.Lock()
		defer mu.Unlock()
		if rng.Float64() < 0.02 {
			bad = !bad
		}
		if a.op == "datasync" || a.op == "sync" {
			f.delay = time.Duration(rng.IntN(int(3 * time.Millisecond)))
		}
		if !bad || rng.Float64() >= rate {
			return f
		}
		switch rng.IntN(4) {
		case 0:
			if f.yield = underLock(a); !f.yield {
				f.delay = time.Duration(rng.IntN(int(2 * stallAfter)))
			}
		case 1:
			f.err, f.took = errnos[rng.IntN(len(errnos))], true
		default:
			f.err, f.short = errnos[rng.IntN(len(errnos))], rng.IntN(2) == 0
		}
		return f
	}
}

// schedule is some lives of one journal, each ended by a kill, by the power, or in peace.
func schedule(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		p := newPlatter(rand.New(rand.NewPCG(seed, 1)))
		l := &ledger{most: 16 << 20}
		powerFailed := false
		for life := range 2 + rng.IntN(4) {
			d := p.attach()
			if rng.IntN(3) == 0 {
				d.faults = randomFaults(rng) // it may not open then
			}
			j, err := l.life(d, powerFailed)
			if err != nil {
				d.kill()
				if powerFailed = powerFailed || rng.IntN(2) == 0; powerFailed {
					p.powerFails()
				}
				d = p.attach()
				if j, err = l.life(d, powerFailed); err != nil {
					t.Fatalf("seed %d, life %d: %v", seed, life, err)
				}
			}
			if rng.IntN(2) == 0 {
				faults := randomFaults(rng)
				d.mu.Lock()
				d.faults = faults
				d.mu.Unlock()
			}
			var writers sync.WaitGroup
			pad := []int{2, 80, 500, 4000}[rng.IntN(4)]
			for w := range 1 + rng.IntN(4) {
				writers.Go(func() { l.write(j, rand.New(rand.NewPCG(seed, uint64(100*life+w))), pad) })
			}
			time.Sleep(time.Duration(rng.IntN(int(1500 * time.Millisecond))))
			powerFailed = false
			switch rng.IntN(5) {
			case 0: // in peace, if the disk lets it
				if err := j.Close(); err == nil && j.Synced() != j.Next() {
					l.complain("closed, with %d of %d lines synced", j.Synced(), j.Next())
				} else if err == nil {
					l.mu.Lock()
					l.awaited = j.Next()
					l.mu.Unlock()
				}
				d.kill()
			case 1:
				d.kill()
				j.Close()
			default:
				d.kill()
				if powerFailed = true; rng.IntN(2) == 0 {
					j.Close()
					p.powerFails()
				} else {
					p.powerFails() // while syncs are on their way
					j.Close()
				}
			}
			writers.Wait()
			// What hangs in the disk comes back before the next life.
			time.Sleep(4 * stallAfter)
			if len(l.wrong) > 0 {
				t.Fatalf("seed %d, life %d: %q", seed, life, l.wrong)
			}
		}
		d := p.attach()
		j, err := l.life(d, powerFailed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		j.Close()
		if len(l.wrong) > 0 {
			t.Fatalf("seed %d, at the end: %q", seed, l.wrong)
		}
	})
}

func TestNothingThatWasAnsweredForIsLost(t *testing.T) {
	for i := range *schedules {
		seed := *firstSeed + uint64(i)
		if schedule(t, seed); t.Failed() {
			t.Fatalf("again with -journal.seed %d -journal.schedules 1", seed)
		}
	}
}

// The cache of the system says that all is on the disk, since a sync of the process
// before this one failed. Only writing it again brings it there.
func TestWhatAFailedSyncLeftIsWrittenAgainByTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatter(rand.New(rand.NewPCG(5, 6)))
		l := &ledger{most: 1 << 20}
		d := p.attach()
		j, err := l.life(d, false)
		if err != nil {
			t.Fatal(err)
		}
		d.set(func(a act) (f fault) {
			if a.op == "datasync" {
				f.err = syscall.EIO
			}
			return f
		})
		mustWrite(t, j, 100, 100)
		if err := j.Sync(t.Context()); !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
		d.kill()
		j.Close()

		d = p.attach()
		if j, err = l.life(d, false); err != nil {
			t.Fatal(err)
		}
		if j.Synced() != 100 {
			t.Fatalf("%d lines are there", j.Synced())
		}
		d.kill()
		p.powerFails()
		j.Close()

		d = p.attach()
		if j, err = l.life(d, true); err != nil {
			t.Fatal(err)
		}
		j.Close()
		if len(l.wrong) > 0 {
			t.Fatal(l.wrong)
		}
	})
}
