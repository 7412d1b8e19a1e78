package journal

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const syncTakes = time.Millisecond

// onSlowDisk runs do with a journal on a disk whose syncs take syncTakes. Time is the
// bubble's: it passes only while everybody waits, and so is exact.
func onSlowDisk(t *testing.T, do func(t *testing.T, j *Journal, l *ledger, d *simDisk)) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{most: 48 << 20}
		d := newPlatter(rand.New(rand.NewPCG(1, 2))).attach()
		j, err := l.life(d, false)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookAfter) // the next segment is prepared
		d.set(func(a act) (f fault) {
			if a.op == "datasync" {
				f.delay = syncTakes
			}
			return f
		})
		do(t, j, l, d)
		d.set(nil)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if len(l.wrong) > 0 {
			t.Fatal(l.wrong)
		}
	})
}

func (d *simDisk) set(faults func(act) fault) {
	d.mu.Lock()
	d.faults = faults
	d.mu.Unlock()
}

func TestALoneWriterWaitsForOneSync(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, j *Journal, _ *ledger, _ *simDisk) {
		for range 100 {
			before := j.Status().Syncs
			began := time.Now()
			seq, err := j.WriteAwaited(entry{50})
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Await(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != syncTakes || j.Status().Syncs != before+1 {
				t.Fatalf("it took %v and %d syncs", took, j.Status().Syncs-before)
			}
		}
	})
}

func TestTheSyncRunsWhileTheCallerDoesSomethingElse(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, j *Journal, _ *ledger, _ *simDisk) {
		seq, err := j.WriteAwaited(entry{50})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(syncTakes * 3 / 2)
		began := time.Now()
		if err := j.Await(t.Context(), seq); err != nil || time.Since(began) != 0 {
			t.Fatal(err, time.Since(began))
		}
	})
}

func TestOneSyncServesAllThatWait(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, j *Journal, _ *ledger, _ *simDisk) {
		const writers, each = 64, 20
		before := j.Status().Syncs
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range each {
					seq, err := j.WriteAwaited(entry{50})
					if err == nil {
						err = j.Await(t.Context(), seq)
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := j.Status().Syncs - before; n > 2*each+1 {
			t.Errorf("%d syncs for %d times %d writers", n, each, writers)
		}
	})
}

func TestASyncWaitsForCompanyUntilSomebodyWaitsForIt(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, j *Journal, _ *ledger, _ *simDisk) {
		announce := func(n int) (seq uint64) {
			for range n {
				var err error
				if seq, err = j.WriteAwaited(entry{50}); err != nil {
					t.Fatal(err)
				}
			}
			return seq
		}
		syncs := func() uint64 { synctest.Wait(); return j.Status().Syncs }
		// The first sync is for one; 31 come while it runs, and then have company for
		// 30 times companyEach since the first of them came.
		announce(1)
		time.Sleep(syncTakes / 2)
		before := syncs()
		last := announce(31)
		time.Sleep(30*companyEach - time.Microsecond)
		if n := syncs() - before; n != 1 {
			t.Fatalf("%d syncs, and one had begun", n)
		}
		time.Sleep(syncTakes - time.Microsecond)
		if j.Synced() > last {
			t.Fatal("the second began too early")
		}
		time.Sleep(2 * time.Microsecond)
		if n := syncs() - before; n != 2 || j.Synced() != last+1 {
			t.Fatalf("%d syncs, %d of %d lines", n, j.Synced(), last+1)
		}
		// Now somebody waits, and nobody for company any more.
		announce(1)
		time.Sleep(syncTakes / 2)
		last = announce(31)
		time.Sleep(syncTakes / 2)
		began := time.Now()
		if err := j.Await(t.Context(), last); err != nil || time.Since(began) != syncTakes {
			t.Fatal(err, time.Since(began))
		}
	})
}

func TestALineThatWasTakenIsToldFromOneThatWasNot(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, j *Journal, l *ledger, d *simDisk) {
		mustWrite(t, j, 3, 20)
		d.set(func(a act) (f fault) {
			if a.op == "write" {
				f.err, f.short = syscall.EIO, true
			}
			return f
		})
		var failed *FailedError
		seq, err := j.Write(entry{20})
		if !errors.As(err, &failed) || !failed.Taken || seq != 3 || !errors.Is(err, syscall.EIO) {
			t.Errorf("%d, %v", seq, err)
		}
		if _, err = j.Append(entry{20}); !errors.As(err, &failed) || failed.Taken {
			t.Error(err)
		}
		if err := j.Await(t.Context(), seq); !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
		if s := j.Status(); s.Failed == nil || s.Next != 4 {
			t.Errorf("%+v", s)
		}
		d.set(nil)
		time.Sleep(2 * retryMost)
		if err := j.Await(t.Context(), seq); err != nil {
			t.Error(err)
		}
		mustWrite(t, j, 1, 20)
		if _, got := d.read(l); !slices.Equal(got, l.lines) || len(got) != 5 {
			t.Errorf("%d lines are there", len(got))
		}
	})
}

func TestWhoeverIsToldThatItWorksAgainMayAppend(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, j *Journal, l *ledger, d *simDisk) {
		var told []error
		l.mu.Lock()
		l.hear = func(err error) {
			told = append(told, err)
			if err == nil {
				seq, err := j.Write(text("gap"))
				if err == nil {
					err = j.Await(context.Background(), seq)
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
		l.mu.Unlock()
		for range 3 {
			d.set(func(a act) (f fault) {
				if a.op == "datasync" {
					f.err = syscall.EIO
				}
				return f
			})
			if _, err := j.WriteAwaited(entry{20}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			d.set(nil)
			time.Sleep(2 * retryMost)
		}
		synctest.Wait()
		if len(told) != 6 || j.Next() != 6 || j.Synced() != 6 {
			t.Errorf("%v; %d lines", told, j.Synced())
		}
		for i, err := range told {
			if (err == nil) != (i%2 == 1) {
				t.Errorf("%v", told)
			}
		}
	})
}

func TestASyncThatDoesNotReturnIsAFailureUntilItDoes(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, j *Journal, l *ledger, d *simDisk) {
		d.set(func(a act) (f fault) {
			if a.op == "datasync" {
				f.delay = 4 * stallAfter
			}
			return f
		})
		seq, err := j.WriteAwaited(entry{20})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := j.Await(t.Context(), seq); !errors.Is(err, errStalled) || time.Since(began) != stallAfter {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if _, err := j.Write(entry{20}); !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
		d.set(nil)
		time.Sleep(4 * stallAfter)
		if err := j.Await(t.Context(), seq); err != nil {
			t.Error(err)
		}
		mustWrite(t, j, 1, 20)
	})
}

func TestMemoryIsBoundedWhileASyncIsSlow(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, j *Journal, _ *ledger, d *simDisk) {
		d.set(func(a act) (f fault) {
			if a.op == "datasync" && a.on == "segment" {
				f.delay = time.Second
			}
			return f
		})
		most := int64(0)
		for range 330 { // of 60 KB: more than there may be in memory
			if _, err := j.Append(entry{60000}); err != nil {
				t.Fatal(err)
			}
			most = max(most, j.Status().Kept)
		}
		if most > keepBytes+MaxLine+200 || most < keepBytes/2 {
			t.Errorf("%d bytes were kept", most)
		}
	})
}
