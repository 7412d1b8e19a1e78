package journal

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// operations are what a journal does, by the act on the disk that carries it out; in
// which lives the act occurs, and what callers may see when it goes wrong. open is the
// life that finds the segments of the one before.
var operations = []struct {
	name string
	act  act
	open bool  // it occurs while a journal is opened
	err  error // what callers see while it can't be done; nil if it can be done later
	too  error // and what they may see, too
}{
	{name: "a line is written", act: act{op: "write", on: "segment"}, err: ErrFailed},
	{name: "lines are synced", act: act{op: "datasync", on: "segment"}, err: ErrFailed},
	{name: "a segment gets its header", act: act{op: "header", on: prepared}, err: ErrFailed},
	{name: "a segment gets its name", act: act{op: "rename", on: "segment"}, err: ErrFailed},
	{name: "the name is synced", act: act{op: "sync", on: "directory"}, err: ErrFailed, too: ErrFull},
	{name: "a segment is cut", act: act{op: "truncate", on: "segment"}, too: ErrFull},
	{name: "a spare is made", act: act{op: "open", on: prepared}, err: ErrFull},
	{name: "a spare is filled", act: act{op: "zero", on: prepared}, err: ErrFull},
	{name: "a spare is synced", act: act{op: "datasync", on: prepared}, err: ErrFull},
	{name: "the room is looked at", act: act{op: "space"}, err: ErrFull},
	{name: "a segment expires", act: act{op: "remove", on: "segment"}, err: ErrFull},
	{name: "open lists the segments", act: act{op: "names"}, open: true},
	{name: "open looks at a segment", act: act{op: "stat", on: "segment"}, open: true},
	{name: "open opens a segment", act: act{op: "open", on: "segment"}, open: true},
	{name: "open reads a segment", act: act{op: "read", on: "segment"}, open: true},
	{name: "open removes the spare", act: act{op: "remove", on: prepared}, open: true},
	{name: "open clears what is after the text", act: act{op: "zero", on: "segment"}, open: true},
	{name: "open writes again what it read", act: act{op: "write", on: "segment"}, open: true},
	{name: "open syncs what it read", act: act{op: "datasync", on: "segment"}, open: true},
	{name: "open syncs the names", act: act{op: "sync", on: "directory"}, open: true},
}

// troubles are what can go wrong with an act.
var troubles = []struct {
	name  string
	fault fault
	end   func(d *simDisk) // what ends the process, if anything does
}{
	{name: "failed", fault: fault{err: syscall.EIO}},
	{name: "failed in the middle", fault: fault{err: syscall.EIO, short: true}},
	{name: "failed but took effect", fault: fault{err: syscall.EIO, took: true}},
	{name: "slow", fault: fault{delay: 3 * stallAfter}},
	{name: "disk full", fault: fault{err: syscall.ENOSPC}},
	{name: "read-only", fault: fault{err: syscall.EROFS}},
	{name: "killed before", fault: fault{}, end: (*simDisk).kill},
	{name: "killed after", fault: fault{err: syscall.EIO, took: true}, end: (*simDisk).kill},
	{name: "power lost before", fault: fault{}, end: func(d *simDisk) { d.kill(); d.powerFails() }},
	{name: "power lost after", fault: fault{err: syscall.EIO, took: true}, end: func(d *simDisk) { d.kill(); d.powerFails() }},
}

// TestEachOperationAndEachTrouble has every trouble strike every operation, at several
// occurrences of it, and lets it last for a while. However it goes, what was answered for
// is there afterwards, and the journal goes on.
func TestEachOperationAndEachTrouble(t *testing.T) {
	for _, o := range operations {
		for _, trouble := range troubles {
			t.Run(o.name+"/"+trouble.name, func(t *testing.T) {
				struck := 0
				seen := map[error]bool{}
				for at := range 2 {
					s := strike{act: o.act, after: 5 * at, fault: trouble.fault, end: trouble.end, open: o.open}
					synctest.Test(t, func(t *testing.T) { s.run(t) })
					if s.hit {
						struck++
					}
					maps.Copy(seen, s.seen)
				}
				if struck == 0 {
					t.Fatal("it never struck")
				}
				for err := range seen {
					if !o.open && trouble.end == nil && err != o.err && err != o.too {
						t.Errorf("a caller saw: %v", err)
					}
				}
				lasting := trouble.end == nil && trouble.fault.delay == 0
				if trouble.fault.took && o.act.op == "remove" {
					lasting = false // it is gone when it is tried again
				}
				if o.err != nil && lasting && !seen[o.err] {
					t.Errorf("no caller saw %v", o.err)
				}
			})
		}
	}
}

// A strike is one trouble at one time.
type strike struct {
	act   act
	after int // occurrences of the act
	fault fault
	end   func(*simDisk)
	open  bool

	mu   sync.Mutex
	hit  bool
	over bool
	seen map[error]bool

	heard int // how often Failing said so
}

func (s *strike) faults(d *simDisk) func(act) fault {
	return func(a act) fault {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.over || a.op != s.act.op || a.on != s.act.on || a.count < s.after {
			return fault{}
		}
		first := !s.hit
		s.hit = true
		if s.end != nil && first {
			if s.fault.took {
				// The act is carried out, and nobody is told.
				go func() { time.Sleep(time.Nanosecond); s.end(d) }()
				return fault{}
			}
			s.end(d)
			return fault{}
		}
		f := s.fault
		if f.delay > 0 && (underLock(a) || !first) {
			f.delay, f.yield = 0, true
		}
		return f
	}
}

func (s *strike) run(t *testing.T) {
	s.seen = map[error]bool{}
	p := newPlatter(rand.New(rand.NewPCG(uint64(s.after), 7)))
	l := &ledger{most: 8 * 20 << 10}
	check := func() {
		t.Helper()
		if len(l.wrong) > 0 {
			t.Fatalf("after %d: %q", s.after, l.wrong)
		}
	}

	// A life before, which ends in the middle of a line.
	d := p.attach()
	j, err := l.life(d, false)
	if err != nil {
		t.Fatal(err)
	}
	s.writes(j, l, 400)
	d.faults = func(a act) fault {
		if a.op == "write" {
			return fault{err: syscall.EIO, short: true}
		}
		return fault{}
	}
	j.Write(entry{100})
	d.kill()
	j.Close()
	check()
	clear(s.seen)
	l.failed = 0

	// The life in which it strikes.
	d = p.attach()
	if s.open {
		d.faults = s.faults(d)
	}
	j, err = l.life(d, false)
	switch {
	case err != nil && !s.hit:
		t.Fatal(err)
	case err != nil:
		d.kill()
	default:
		if !s.open {
			d.mu.Lock()
			d.counts = map[act]int{}
			d.faults = s.faults(d)
			d.mu.Unlock()
		}
		s.writes(j, l, 1500)
		s.mu.Lock()
		s.over = true // and what was wrong is right again
		s.mu.Unlock()
		time.Sleep(20 * stallAfter)
		if s.end == nil {
			before := l.awaited
			s.writes(j, l, 300)
			if l.awaited <= before || j.Status().Failed != nil || j.Status().Full != nil {
				t.Fatalf("after %d: it does not work again: %+v", s.after, j.Status())
			}
		}
		if err := j.Close(); err == nil && s.end == nil {
			l.awaited = j.Next()
		} else if s.end == nil {
			t.Fatalf("after %d: %v", s.after, err)
		}
		s.heard = l.failed
		if lasting := s.end == nil && s.fault.delay == 0 && !s.fault.took; lasting && !s.open && s.heard > 1 {
			t.Errorf("after %d: Failing was told %d times of one trouble", s.after, s.heard)
		}
	}
	time.Sleep(4 * stallAfter)
	check()

	// And the one after it.
	powerFailed := s.end != nil
	d = p.attach()
	if j, err = l.life(d, powerFailed); err != nil {
		t.Fatalf("after %d: %v", s.after, err)
	}
	s.writes(j, l, 300)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	check()
	if l.failing {
		t.Error("Failing was told last that it fails")
	}
	if s.seen[ErrFailed] && s.end == nil && s.heard == 0 {
		t.Error("Failing was not told")
	}
}

// writes writes n lines, as often as it takes and not for ever, and awaits some of them.
func (s *strike) writes(j *Journal, l *ledger, n int) {
	note := func(err error) (ended bool) {
		for _, known := range []error{ErrFailed, ErrFull, ErrClosed} {
			if errors.Is(err, known) {
				s.seen[known] = true
			}
		}
		return errors.Is(err, errDead) || errors.Is(err, ErrClosed)
	}
	for i, trials := 0, 0; i < n && trials < 20; {
		seq, err := j.WriteAwaited(entry{i % 150})
		if err != nil {
			trials++
			if note(err) {
				return
			}
			time.Sleep(time.Second)
			continue
		}
		i++
		l.written = max(l.written, seq+1)
		if i%20 == 0 {
			time.Sleep(10 * time.Millisecond) // the keeper has its turn, too
			if err := j.Await(context.Background(), seq); err == nil {
				l.awaited = max(l.awaited, seq+1)
			} else if note(err) {
				return
			}
		}
	}
}
