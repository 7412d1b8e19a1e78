package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// entry is a line that says its own number, and something of a length that differs.
type entry struct{ pad int }

func (e entry) AppendTo(buf []byte, seq uint64, at time.Time) []byte {
	return append(buf, lineOf(seq, e.pad)...)
}

func lineOf(seq uint64, pad int) string {
	return fmt.Sprintf(`{"seq":%d,"pad":"%s"}`, seq, strings.Repeat(string(rune('a'+seq%26)), pad))
}

// text is a line as it is.
type text string

func (t text) AppendTo(buf []byte, _ uint64, _ time.Time) []byte { return append(buf, t...) }

// seqOf is the number that an entry's line says, if it is whole.
func seqOf(t testing.TB, line []byte) uint64 {
	t.Helper()
	digits, rest, ok := bytes.Cut(bytes.TrimPrefix(line, []byte(`{"seq":`)), []byte(`,"pad":"`))
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	if !ok || err != nil || string(line) != lineOf(seq, len(rest)-2) {
		t.Fatalf("no line of ours: %q", line)
	}
	return seq
}

// recorder is an owner that remembers what it was told.
type recorder struct {
	sync.Mutex
	from     uint64
	header   string
	observed []string
	closed   []uint64
	failing  []error
}

// config is one for small segments, owned by r.
func (r *recorder) config(dir string) Config {
	return Config{
		Dir: dir, SegmentBytes: 32 << 10, MaxBytes: 4 << 20, MinFreeBytes: 1,
		Header: func(buf []byte) []byte { return append(buf, `"log":"test"`...) },
		Restore: func(header []byte, first uint64) error {
			r.from, r.header = first, string(header)
			return nil
		},
		Observe: func(seq uint64, line []byte) {
			if seq != r.from+uint64(len(r.observed)) {
				panic(fmt.Sprintf("line %d was observed as number %d", seq, len(r.observed)))
			}
			r.observed = append(r.observed, string(line))
		},
		Closed: func(s Segment) {
			r.Lock()
			defer r.Unlock()
			r.closed = append(r.closed, s.First)
		},
		Failing: func(err error) {
			r.Lock()
			defer r.Unlock()
			r.failing = append(r.failing, err)
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

func mustOpen(t testing.TB, c Config) (*Journal, Recovered) {
	t.Helper()
	j, r, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return j, r
}

func mustWrite(t testing.TB, j *Journal, n, pad int) {
	t.Helper()
	for range n {
		if _, err := j.Write(entry{pad}); err != nil {
			t.Fatal(err)
		}
	}
}

// mustFill writes until there are n segments, and never ahead of the keeper.
func mustFill(t testing.TB, j *Journal, n int) {
	t.Helper()
	for range 200000 {
		j.steady()
		if j.Status().Segments >= n {
			return
		}
		mustWrite(t, j, 1, 40)
	}
	t.Fatalf("%+v", j.Status())
}

// steady waits until the keeper has done what it can.
func (j *Journal) steady() {
	for range 5000 {
		j.mu.Lock()
		done := (j.ready != nil || j.full != nil) && len(j.closing) == 0
		j.mu.Unlock()
		if done {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// readAll is what a reader finds in a directory.
func readAll(t testing.TB, dir string) (lines []string) {
	t.Helper()
	segments, err := Segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range segments {
		r, err := OpenSegment(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		n := s.First
		for line, err := range r.Lines(0) {
			if err != nil {
				t.Fatal(err)
			}
			if line.Seq != n {
				t.Fatalf("%s: line %d follows %d", s.Path, line.Seq, n-1)
			}
			n++
			lines = append(lines, string(line.Text))
		}
		if i < len(segments)-1 && n != s.Next {
			t.Fatalf("%s ends before %d, the next begins with %d", s.Path, n, s.Next)
		}
		r.Close()
	}
	return lines
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 5000 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("not after ten seconds: %s", what)
}

func TestWhatIsWrittenIsReadAcrossSegmentsAndOpens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	var want []string
	for round := range 3 {
		rec := &recorder{}
		j, r := mustOpen(t, rec.config(dir))
		if r.Next != uint64(len(want)) || r.DroppedBytes != 0 {
			t.Fatalf("round %d: %+v, and %d lines were written", round, r, len(want))
		}
		if got := want[r.From:]; !slices.Equal(rec.observed, got) {
			t.Fatalf("round %d: %d lines were replayed from %d", round, len(rec.observed), r.From)
		}
		if round > 0 && !strings.Contains(rec.header, `"log":"test"`) {
			t.Fatalf("restored from %q", rec.header)
		}
		for i := range 1000 {
			if i%50 == 0 {
				j.steady()
			}
			put := []func(Entry) (uint64, error){j.Append, j.Write, j.WriteAwaited}[i%3]
			seq, err := put(entry{i % 100})
			if err != nil || seq != uint64(len(want)) {
				t.Fatal(seq, err)
			}
			want = append(want, lineOf(seq, i%100))
			if i%3 == 2 && i%50 == 2 {
				if err := j.Await(t.Context(), seq); err != nil || j.Synced() <= seq {
					t.Fatal(j.Synced(), seq, err)
				}
			}
			if i%3 == 1 && i%70 == 1 {
				if got := readAll(t, dir); !slices.Equal(got, want) {
					t.Fatalf("round %d, line %d: %d lines are read, %d were written", round, i, len(got), len(want))
				}
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, dir); !slices.Equal(got, want) {
			t.Fatalf("round %d: %d lines are read, %d were written", round, len(got), len(want))
		}
	}
	segments, err := Segments(dir)
	if err != nil || len(segments) < 5 {
		t.Fatalf("%d segments, %v: this was to be about more than one", len(segments), err)
	}
	for _, s := range segments {
		if s.First%Block != 0 {
			t.Errorf("a segment begins with %d", s.First)
		}
		data, err := os.ReadFile(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		if s.Next != 0 && (!bytes.HasSuffix(data, []byte("\n")) || bytes.IndexByte(data, 0) >= 0) {
			t.Errorf("%s is closed, and not cut to its text", s.Path)
		}
		if info, _ := os.Stat(s.Path); info.Mode() != 0o600 {
			t.Errorf("%s: %v", s.Path, info.Mode())
		}
	}
}

func TestALineThatIsNoneIsRefusedAndLeavesNoTrace(t *testing.T) {
	rec := &recorder{}
	dir := t.TempDir()
	j, _ := mustOpen(t, rec.config(dir))
	defer j.Close()
	for _, bad := range []text{"", "a\nb", "a\n", "a\x00", text(strings.Repeat("x", MaxLine+1))} {
		if _, err := j.Write(bad); err == nil {
			t.Errorf("a line of %d bytes was taken", len(bad))
		}
	}
	for _, good := range []text{"x", text(strings.Repeat("y", MaxLine))} {
		if _, err := j.Write(good); err != nil {
			t.Error(err)
		}
	}
	if got := readAll(t, dir); len(got) != 2 || got[0] != "x" || len(got[1]) != MaxLine || len(rec.observed) != 2 {
		t.Errorf("%d lines, %d observed", len(got), len(rec.observed))
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	rec := &recorder{}
	c := rec.config(t.TempDir())
	clock := []time.Time{time.Unix(100, 0), time.Unix(50, 0), time.Unix(101, 0)}
	var times []time.Time
	created := true // the header asks once, and its segment once
	c.Now = func() time.Time {
		if created {
			return time.Unix(1, 0)
		}
		now := clock[0]
		clock = clock[1:]
		return now
	}
	j, _ := mustOpen(t, c)
	defer j.Close()
	created = false
	for range 3 {
		if _, err := j.Append(timed{&times}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []time.Time{time.Unix(100, 0), time.Unix(100, 0), time.Unix(101, 0)}; !slices.Equal(times, want) {
		t.Error(times)
	}
}

type timed struct{ times *[]time.Time }

func (e timed) AppendTo(buf []byte, seq uint64, at time.Time) []byte {
	*e.times = append(*e.times, at)
	return append(buf, 'x')
}

func TestOnlyOneWrites(t *testing.T) {
	dir := t.TempDir()
	j, _ := mustOpen(t, (&recorder{}).config(dir))
	if _, _, err := Open((&recorder{}).config(dir)); !errors.Is(err, ErrLocked) {
		t.Errorf("the second writer: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, _ = mustOpen(t, (&recorder{}).config(dir))
	j.Close()
}

func TestAClosedJournalSaysSo(t *testing.T) {
	dir := t.TempDir()
	j, _ := mustOpen(t, (&recorder{}).config(dir))
	seq, err := j.Append(entry{10})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Await(t.Context(), seq); err != nil {
		t.Errorf("what was taken before is there: %v", err)
	}
	if _, err := j.Write(entry{10}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := j.Close(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if got := readAll(t, dir); len(got) != 1 {
		t.Errorf("%d lines", len(got))
	}
}

func TestWhatIsAppendedIsSoonInTheFileAndSynced(t *testing.T) {
	dir := t.TempDir()
	j, _ := mustOpen(t, (&recorder{}).config(dir))
	defer j.Close()
	if _, err := j.Append(entry{10}); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, dir); len(got) != 0 {
		t.Errorf("it is there at once: then this test shows nothing")
	}
	eventually(t, "the line is in the file", func() bool { return len(readAll(t, dir)) == 1 })
	eventually(t, "the line is synced", func() bool { return j.Synced() == 1 })
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	j, _ := mustOpen(t, (&recorder{}).config(t.TempDir()))
	defer j.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	seq, err := j.Write(entry{10})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Await(ctx, seq); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := j.Await(t.Context(), seq+1); err == nil {
		t.Error("a line that there is not was awaited")
	}
	if err := j.Sync(t.Context()); err != nil || j.Synced() != 1 {
		t.Error(err)
	}
}

func TestManyWritersAndAFollower(t *testing.T) {
	dir := t.TempDir()
	rec := &recorder{}
	j, _ := mustOpen(t, rec.config(dir))
	const writers, each = 16, 400
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				seq, err := j.WriteAwaited(entry{(w * i) % 200})
				if err == nil && i%10 == 0 {
					err = j.Await(t.Context(), seq)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	var got []string
	for line, err := range Follow(t.Context(), dir, 0, time.Millisecond) {
		if err != nil {
			t.Fatal(err)
		}
		if seq := seqOf(t, line.Text); seq != line.Seq || seq != uint64(len(got)) {
			t.Fatalf("line %d comes as %d after %d lines", seq, line.Seq, len(got))
		}
		if got = append(got, string(line.Text)); len(got) == writers*each {
			break
		}
	}
	wg.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, rec.observed) {
		t.Error("what was followed is not what was observed")
	}
	if segments, _ := Segments(dir); len(segments) < 4 {
		t.Errorf("%d segments: this was to be about more", len(segments))
	}
}

func TestBlocksAndPlaces(t *testing.T) {
	dir := t.TempDir()
	rec := &recorder{}
	j, _ := mustOpen(t, rec.config(dir))
	defer j.Close()
	mustFill(t, j, 4)
	mustWrite(t, j, 300, 40)
	segments, err := Segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		r, err := OpenSegment(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		next := s.Next
		if next == 0 {
			next = j.Next()
		}
		data, err := os.ReadFile(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		// From the last on: each has to find its own place.
		for n := int64((next - 1) / Block); n >= int64(s.First/Block); n-- {
			from := uint64(n) * Block
			lines, err := r.Block(uint64(n))
			if err != nil || uint64(len(lines)) != min(Block, next-from) {
				t.Fatalf("block %d has %d lines: %v", n, len(lines), err)
			}
			for i, line := range lines {
				if seqOf(t, line) != from+uint64(i) {
					t.Fatalf("block %d, line %d: %s", n, i, line)
				}
			}
			for line, err := range r.Lines(from + 7) {
				if at := data[line.Offset:]; err != nil || line.Seq != from+7 || !bytes.HasPrefix(at, append(line.Text, '\n')) {
					t.Fatalf("line %d is not where it was said to be: %v", line.Seq, err)
				}
				break
			}
		}
		if lines, err := r.Block(next/Block + 1); err != nil || len(lines) != 0 {
			t.Errorf("a block after the end has %d lines: %v", len(lines), err)
		}
	}
	r, err := OpenSegment(segments[1].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Block(0); err == nil {
		t.Error("a block of another segment was read")
	}
}

func TestTheOldestExpireAndAFollowerIsTold(t *testing.T) {
	dir := t.TempDir()
	rec := &recorder{}
	c := rec.config(dir)
	c.MaxBytes = 5 * (c.SegmentBytes + c.step())
	c.Closed = func(s Segment) {
		if err := os.WriteFile(s.Hashes(), []byte("hashes"), 0o600); err != nil {
			t.Error(err)
		}
	}
	j, _ := mustOpen(t, c)
	defer j.Close()
	eventually(t, "the first segment expires", func() bool {
		mustWrite(t, j, 20, 50)
		segments, err := Segments(dir)
		return err == nil && segments[0].First > 0
	})
	eventually(t, "what lay beside it is gone", func() bool {
		hashes, _ := filepath.Glob(filepath.Join(dir, "*.hashes"))
		return len(hashes) > 0 && !slices.Contains(hashes, filepath.Join(dir, hashesOf(nameOf(0))))
	})
	if s := j.Status(); s.Bytes > c.MaxBytes || s.Full != nil {
		t.Errorf("%+v", s)
	}
	for _, err := range Follow(t.Context(), dir, 0, time.Millisecond) {
		if !errors.Is(err, ErrExpired) {
			t.Errorf("following from 0: %v", err)
		}
	}
}

func TestWhatMustBeKeptFillsTheJournalUntilItNeedNotBe(t *testing.T) {
	dir := t.TempDir()
	rec := &recorder{}
	var warnings lockedBuffer
	var mu sync.Mutex
	keep := true
	c := rec.config(dir)
	c.MaxBytes = 20 * (c.SegmentBytes + c.step())
	c.Log = slog.New(slog.NewTextHandler(&warnings, nil))
	c.Keep = func(Segment) bool {
		mu.Lock()
		defer mu.Unlock()
		return keep
	}
	j, _ := mustOpen(t, c)
	defer j.Close()
	var full error
	for range 100000 {
		j.steady()
		if _, full = j.Write(entry{50}); full != nil {
			break
		}
	}
	if !errors.Is(full, ErrFull) {
		t.Fatalf("all was taken, and kept: %v", full)
	}
	next := j.Next()
	if _, err := j.Append(entry{50}); !errors.Is(err, ErrFull) || j.Next() != next {
		t.Errorf("it was full a moment ago: %v", err)
	}
	if got := readAll(t, dir); uint64(len(got)) != next {
		t.Errorf("%d lines are there, %d were taken", len(got), next)
	}
	// What is in the segment is all there is: the last one is as full as it gets.
	s := j.Status()
	if p := j.part(); p.end() < c.SegmentBytes+c.step() || s.Full == nil {
		t.Errorf("the last segment has %d bytes, %v", p.end(), s.Full)
	}
	var warned []int // the stage that was reached each time
	for _, match := range regexp.MustCompile(`percent=(\d+) of="the audit journal's`).FindAllStringSubmatch(warnings.String(), -1) {
		percent, _ := strconv.Atoi(match[1])
		reached := slices.IndexFunc(stages, func(s int) bool { return s > percent })
		if reached < 0 {
			reached = len(stages)
		}
		warned = append(warned, stages[reached-1])
	}
	if !slices.Equal(warned, stages) { // a segment is about 5 %
		t.Errorf("warned at %v %%:\n%s", warned, warnings.String())
	}
	mu.Lock()
	keep = false
	mu.Unlock()
	j.wakeKeeper()
	eventually(t, "there is room again", func() bool { _, err := j.Write(entry{50}); return err == nil })
	if j.Status().Full != nil {
		t.Error(j.Status().Full)
	}
}

type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

func TestSpaceThatMustStayFreeIsNotTaken(t *testing.T) {
	c := (&recorder{}).config(t.TempDir())
	c.MinFreeBytes = 1 << 60
	if _, _, err := Open(c); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "must stay free") {
		t.Error(err)
	}
}

func TestAConfigurationThatMakesNoSenseIsRefused(t *testing.T) {
	for _, c := range []Config{{}, {Dir: "x", SegmentBytes: -1}, {Dir: "x", MaxBytes: 100 << 20}, {Dir: "x", MinFreeBytes: -1}} {
		if _, _, err := Open(c); err == nil {
			t.Errorf("%+v was opened", c)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("and left a directory")
	}
}

func TestASegmentWithoutAHeaderIsNotThereYet(t *testing.T) {
	for _, begun := range []string{"", "\x00\x00\x00\x00", `{"etcdguardAudit":1,"fir`, "{\"etcdguardAudit\":1,\"fi\x00\x00\"}\n"} {
		name := filepath.Join(t.TempDir(), nameOf(0))
		if err := os.WriteFile(name, []byte(begun), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSegment(name); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", begun, err)
		}
	}
}
