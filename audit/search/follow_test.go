package search

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/audit/journal"
)

// entry is an event for a journal: what follows its time.
type entry string

func (e entry) AppendTo(b []byte, seq uint64, at time.Time) []byte {
	return fmt.Appendf(b, `{"seq":%d,"time":"%s",%s}`, seq, at.UTC().Format("2006-01-02T15:04:05.000000000Z"), string(e))
}

func openJournal(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, _, err := journal.Open(journal.Config{Dir: dir, SegmentBytes: 32 << 10, MinFreeBytes: 1, Header: func(b []byte) []byte { return append(b, `"log":"x"`...) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil && !errors.Is(err, journal.ErrClosed) {
			t.Error(err)
		}
	})
	return j
}

func put(t *testing.T, j *journal.Journal, e entry) uint64 {
	t.Helper()
	seq, err := j.Write(e)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

const somebody = `"caller":{"name":"team-a","peer":"10.0.0.1:5"},"action":"KV.Put","decision":"allowed"`

// TestFollowSeesEveryRequestOnceAcrossSegments reads while a member writes: requests of
// two kinds, answered in another order than they came.
func TestFollowSeesEveryRequestOnceAcrossSegments(t *testing.T) {
	const before, after = 300, 2000
	dir := t.TempDir()
	j := openJournal(t, dir)
	for range before {
		put(t, j, `"kind":"access",`+somebody+`,"code":"OK"`)
	}
	r := New(Config{Logs: []Log{{"", dir}}})
	rows, found := find(t, r, Query{}, Page{Limit: 10})
	if len(rows) != 10 || rows[0].Event.Seq != before-1 || found.Rows != before {
		t.Fatalf("%d rows of %d, the first %d", len(rows), found.Rows, rows[0].Event.Seq)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	begun, err := journal.Segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := make(chan []uint64, 1)
	var total atomic.Int64 // of requests, once it is known
	go func() {
		var intents, waiting []uint64
		for i := 0; total.Load() == 0 && i < 50*after; i++ {
			if now, err := journal.Segments(dir); err == nil && i >= after && len(now) >= len(begun)+2 {
				total.Store(int64(len(intents) + 1)) // this one is the last
			}
			seq, err := j.Write(entry(`"kind":"intent",` + somebody))
			if err != nil {
				break
			}
			intents, waiting = append(intents, seq), append(waiting, seq)
			if i%3 == 2 || total.Load() != 0 { // the last comes first
				for _, of := range slices.Backward(waiting) {
					_, _ = j.Write(entry(fmt.Sprintf(`"kind":"outcome","of":%d,"code":"OK"`, of)))
				}
				waiting = nil
			}
			_, _ = j.Write(entry(`"kind":"access","caller":{"name":"other"},"action":"KV.Range","code":"OK"`))
		}
		if total.Load() == 0 {
			stop()
		}
		want <- intents
	}()

	var got []uint64
	err = r.Follow(ctx, found, Query{Callers: []CallerIs{{"name", "team-a"}}}, func(row *Row) error {
		if row.Event.Kind != kindIntent {
			t.Errorf("not asked for: %s", row.Event.Line)
		}
		if row.Outcome != nil && *row.Outcome.Of == row.Event.Seq { // on a busy machine one may come before its answer, too
			got = append(got, row.Event.Seq)
		}
		if n := total.Load(); n > 0 && int64(len(got)) == n {
			stop()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	intents := <-want
	slices.Sort(got)
	if total.Load() == 0 || !slices.Equal(got, intents) {
		t.Errorf("%d requests seen, %d written; rotated: %v", len(got), len(intents), total.Load() != 0)
	}
}

func TestARequestWithoutAnAnswerIsShownAndShownAgain(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	put(t, j, `"kind":"system","what":"started"`)
	r := New(Config{Logs: []Log{{"", dir}}})
	_, found := find(t, r, Query{}, Page{})
	intent := put(t, j, `"kind":"intent",`+somebody)
	var seen []bool
	done := errors.New("done")
	err := r.Follow(t.Context(), found, Query{Callers: []CallerIs{{"name", "team-a"}}}, func(row *Row) error {
		if row.Event.Seq != intent {
			t.Errorf("not asked for: %s", row.Event.Line)
		}
		seen = append(seen, row.Unanswered())
		if len(seen) == 1 {
			_, err := j.Write(entry(fmt.Sprintf(`"kind":"outcome","of":%d,"code":"Lost"`, intent)))
			return err
		}
		return done
	})
	if !errors.Is(err, done) || !slices.Equal(seen, []bool{true, false}) {
		t.Errorf("%v, unanswered: %v", err, seen)
	}
}

// TestALogThatIsWrittenIsSearched: the last segment ends in zeros, and grows between
// two searches.
func TestALogThatIsWrittenIsSearched(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	r := New(Config{Logs: []Log{{"", dir}}})
	for i := range 600 {
		put(t, j, `"kind":"access",`+somebody+`,"code":"OK"`)
		if i%60 == 0 {
			if _, found := find(t, r, Query{}, Page{Limit: 1}); found.Rows != i+1 {
				t.Fatalf("%d rows, want %d", found.Rows, i+1)
			}
		}
	}
}
