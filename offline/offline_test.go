package offline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

var ctx = context.Background()

// convert is what the verb does.
func convert(t *testing.T, in, out string, open Opener, skip bool) (*Report, error) {
	t.Helper()
	s, err := Open(ctx, in, nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	report, err := s.Survey(ctx, open, nil)
	if err != nil {
		return nil, err
	}
	return report, s.Write(ctx, out, open, report, skip, nil)
}

// history is a sealed cluster's: values under two keys, plaintext from before, a
// deletion, a lease, transactions, and the ring of etcdguard.
func history(o *keyring.Opened) (stored, opened []put) {
	one, two := o.Key(1), o.Key(2)
	both := func(p put, value []byte) {
		stored = append(stored, p)
		p.stored = value
		opened = append(opened, p)
	}
	reserved := func(p put) { stored = append(stored, p) }
	both(put{main: 2, key: "/old", created: 2, version: 1, stored: []byte("from before")}, []byte("from before"))
	reserved(put{main: 3, key: keyring.DocumentKey, created: 3, version: 1, stored: []byte("an earlier document")})
	both(put{main: 4, key: "/a", created: 4, version: 1, stored: sealed(one, "/a", "first")}, []byte("first"))
	both(put{main: 5, key: "/a", created: 4, version: 2, lease: 7, stored: sealed(two, "/a", "second")}, []byte("second"))
	reserved(put{main: 6, key: keyring.DocumentKey, created: 3, version: 2, stored: o.Document().Marshal()})
	reserved(put{main: 7, key: keyring.ReservedPrefix + "members/0000000000000001", created: 7, version: 1, lease: 7, stored: []byte("{}")})
	both(put{main: 8, sub: 0, key: "/b", created: 8, version: 1, stored: sealed(two, "/b", "in a transaction")}, []byte("in a transaction"))
	both(put{main: 8, sub: 1, key: "/empty", created: 8, version: 1, stored: sealed(two, "/empty", "")}, nil)
	reserved(put{main: 8, sub: 2, key: keyring.ReservedPrefix + "members/0000000000000001", deleted: true})
	both(put{main: 9, key: "/b", deleted: true}, nil)
	both(put{main: 10, key: "/nothing", created: 10, version: 1}, nil)
	both(put{main: 11, key: "\x00other", created: 11, version: 1, stored: []byte("not etcdguard's")}, []byte("not etcdguard's"))
	return stored, opened
}

func TestOpensWhatIsSealedAndLeavesTheRest(t *testing.T) {
	o := ring(t, keyring.Sealing)
	stored, opened := history(o)
	for name, in := range map[string]string{"a snapshot": snapshot(t, stored), "a copied database": database(t, stored)} {
		t.Run(name, func(t *testing.T) {
			before := read(t, in)
			out := filepath.Join(t.TempDir(), "out")
			report, err := convert(t, in, out, WithRing(o, false), false)
			check(t, err)
			expect(t, out, opened)
			restorable(t, out)
			if !bytes.Equal(read(t, in), before) {
				t.Error("the input was changed")
			}
			data := read(t, out)
			for _, gone := range []string{"\xe5eg\x01", "etcdguard/", "an earlier document"} {
				if bytes.Contains(data, []byte(gone)) {
					t.Errorf("%q is still in the output", gone)
				}
			}
			if report.Sealed != 4 || report.Plaintext != 3 || report.Deletions != 1 || report.Reserved != 4 || report.Records != 12 || report.Revision != 11 ||
				report.ByKey[1] != 1 || report.ByKey[2] != 3 || len(report.Unreadable) != 0 {
				t.Errorf("the report is %+v", report)
			}
		})
	}
}

// restorable: whole pages with their hash at the end, for this user only.
func restorable(t *testing.T, file string) {
	t.Helper()
	data := read(t, file)
	body := data[:len(data)-sha256.Size]
	if sum := sha256.Sum256(body); len(body)%4096 != 0 || !bytes.Equal(sum[:], data[len(body):]) {
		t.Errorf("%d bytes, or their hash is wrong", len(body))
	}
	info, err := os.Stat(file)
	check(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	check(t, err)
	return data
}

// TestManyTransactions: more than one batch, in order, nothing lost between them.
func TestManyTransactions(t *testing.T) {
	o := ring(t, keyring.Strict)
	var stored, opened []put
	for i := range int64(300) {
		p := put{main: i + 2, key: fmt.Sprintf("/key/%d", i%50), created: i%50 + 2, version: i/50 + 1}
		value := strings.Repeat(fmt.Sprint(i), 20_000)
		p.stored = sealed(o.Key(2), p.key, value)
		stored = append(stored, p)
		p.stored = []byte(value)
		opened = append(opened, p)
	}
	out := filepath.Join(t.TempDir(), "out")
	in := snapshot(t, stored)
	_, err := convert(t, in, out, WithRing(o, false), false)
	check(t, err)
	expect(t, out, opened)
	restorable(t, out)
}

func TestTheRingOfTheSnapshot(t *testing.T) {
	o := ring(t, keyring.Sealing)
	stored, _ := history(o)
	find := func(puts []put) (*keyring.Document, error) {
		s, err := Open(ctx, snapshot(t, puts), nil)
		check(t, err)
		defer s.Close()
		return s.Ring(ctx)
	}
	d, err := find(stored)
	if err != nil || !bytes.Equal(d.Marshal(), o.Document().Marshal()) {
		t.Errorf("found %v, %v", d, err)
	}
	if d, err := find(nil); err == nil || !strings.Contains(err.Error(), "give an export") {
		t.Errorf("without one: %v, %v", d, err)
	}
	gone := append(slices.Clone(stored), put{main: 12, key: keyring.DocumentKey, deleted: true})
	if d, err := find(gone); err == nil || !strings.Contains(err.Error(), "holds none") {
		t.Errorf("with a deleted one: %v, %v", d, err)
	}
}

// TestTheLastRevisionStays: without the reserved record that has it, etcd would give
// out the same revision again.
func TestTheLastRevisionStays(t *testing.T) {
	o := ring(t, keyring.Strict)
	a := put{main: 5, key: "/a", created: 5, version: 1, stored: sealed(o.Key(1), "/a", "value")}
	stored := []put{a, {main: 6, key: keyring.DocumentKey, created: 6, version: 1, stored: []byte("x")}, {main: 9, key: keyring.ReservedPrefix + "members/1", created: 9, version: 1, stored: []byte("y")}}
	out := filepath.Join(t.TempDir(), "out")
	_, err := convert(t, snapshot(t, stored), out, WithRing(o, false), false)
	check(t, err)
	a.stored = []byte("value")
	expect(t, out, []put{a, {main: 9, key: keyring.DocumentKey, deleted: true}})
}

// unreadable has values that do not open: of history, the newest, the newest before a
// deletion, and under a key that is not there.
func unreadable(o *keyring.Opened) (stored, skipped []put) {
	k := o.Key(2)
	foreign := seal.NewKey(seal.RingID{9}, 2, &[32]byte{1})
	missing := seal.NewKey(o.ID(), 77, &[32]byte{1})
	stored = []put{
		{main: 2, key: "/history", created: 2, version: 1, stored: sealed(k, "/elsewhere", "moved")},
		{main: 3, key: "/history", created: 2, version: 2, stored: sealed(k, "/history", "fine")},
		{main: 4, key: "/newest", created: 4, version: 1, stored: sealed(k, "/newest", "an old password")},
		{main: 5, key: "/newest", created: 4, version: 2, lease: 7, stored: sealed(foreign, "/newest", "a new one")},
		{main: 6, key: "/deleted", created: 6, version: 1, stored: sealed(missing, "/deleted", "x")},
		{main: 7, key: "/deleted", deleted: true},
		{main: 8, key: "/plaintext", created: 8, version: 1, stored: []byte("put there by hand")},
	}
	skipped = slices.Clone(stored)
	skipped[1].stored = []byte("fine")
	skipped[2].stored = []byte("an old password")
	skipped[3] = put{main: 5, key: "/newest", deleted: true}
	skipped[6] = put{main: 8, key: "/plaintext", deleted: true}
	return stored, skipped
}

func TestWhatDoesNotOpenIsNamedAndNothingWritten(t *testing.T) {
	o := ring(t, keyring.Strict)
	stored, _ := unreadable(o)
	dir := t.TempDir()
	report, err := convert(t, snapshot(t, stored), filepath.Join(dir, "out"), WithRing(o, false), false)
	var u *UnreadableError
	if !errors.As(err, &u) || u.Count != 4 {
		t.Fatalf("error %v", err)
	}
	empty(t, dir)
	var got []string
	for _, u := range report.Unreadable {
		got = append(got, fmt.Sprintf("%s %d %t %s", u.Key, u.Revision, u.Newest, u.Reason))
	}
	want := []string{
		"/history 2 false " + seal.ErrMoved.Error(),
		"/newest 5 true " + seal.ErrForeignRing.Error(),
		"/deleted 6 false " + seal.ErrUnknownKey.Error() + ": number 77",
		"/plaintext 8 true " + keyring.ErrPlaintext.Error(),
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
}

// TestSkippingBringsNothingBack: the password before the one that does not open is
// not the password again.
func TestSkippingBringsNothingBack(t *testing.T) {
	o := ring(t, keyring.Strict)
	stored, skipped := unreadable(o)
	out := filepath.Join(t.TempDir(), "out")
	_, err := convert(t, snapshot(t, stored), out, WithRing(o, false), true)
	check(t, err)
	expect(t, out, skipped)
	restorable(t, out)
}

func TestPlaintextInAStrictRing(t *testing.T) {
	stored := []put{{main: 2, key: "/a", created: 2, version: 1, stored: []byte("plain")}}
	for _, c := range []struct {
		phase  keyring.Phase
		accept bool
		opens  bool
	}{{keyring.Strict, false, false}, {keyring.Strict, true, true}, {keyring.Sealing, false, true}, {keyring.CanOpen, false, true}} {
		out := filepath.Join(t.TempDir(), "out")
		_, err := convert(t, snapshot(t, stored), out, WithRing(ring(t, c.phase), c.accept), false)
		if (err == nil) != c.opens {
			t.Errorf("in phase %v, accepted %t: %v", c.phase, c.accept, err)
		}
	}
}

func TestAnotherRingIsNotAHundredThousandLines(t *testing.T) {
	var stored []put
	for i := range int64(maxUnreadable + 1) {
		stored = append(stored, put{main: i + 2, key: "/a", created: 2, version: i + 1, stored: []byte("p")})
	}
	_, err := convert(t, snapshot(t, stored), filepath.Join(t.TempDir(), "out"), WithRing(ring(t, keyring.Strict), false), true)
	if !errors.Is(err, errTooMany) {
		t.Errorf("error %v", err)
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		t.Errorf("%s was left", e.Name())
	}
}

func TestTheOutputIsNeverOverwritten(t *testing.T) {
	o := ring(t, keyring.Sealing)
	stored, _ := history(o)
	in := snapshot(t, stored)
	dir := t.TempDir()
	there, link := filepath.Join(dir, "there"), filepath.Join(dir, "link")
	check(t, os.WriteFile(there, []byte("mine"), 0o644))
	check(t, os.Symlink(filepath.Join(dir, "nowhere"), link))
	for _, out := range []string{there, link, in} {
		if _, err := convert(t, in, out, WithRing(o, false), false); !errors.Is(err, errThere) {
			t.Errorf("onto %s: %v", out, err)
		}
		if _, err := newFile(out); !errors.Is(err, errThere) { // before the work is done
			t.Errorf("begun onto %s: %v", out, err)
		}
	}
	if string(read(t, there)) != "mine" {
		t.Error("a file was overwritten")
	}
	if _, err := os.Lstat(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a link was followed")
	}
}

// TestAFileAppearsMeanwhile, with both ways of making one.
func TestAFileAppearsMeanwhile(t *testing.T) {
	for name, make := range map[string]func(string) (*file, error){"without a name": newFile, "hidden": newHidden} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			f, err := make(out)
			check(t, err)
			defer f.Close()
			_, err = f.WriteString("plaintext")
			check(t, err)
			check(t, os.WriteFile(out, []byte("mine"), 0o600))
			if err := f.place(); !errors.Is(err, errThere) {
				t.Errorf("placed: %v", err)
			}
			check(t, os.Remove(out))
			check(t, f.place())
			check(t, f.Close())
			if string(read(t, out)) != "plaintext" {
				t.Error("it is not what was written")
			}
			check(t, os.Remove(out))
			empty(t, dir)
		})
	}
}

// TestNothingIsLeftByWhoIsKilled: there is no name before the end.
func TestNothingIsLeftByWhoIsKilled(t *testing.T) {
	dir := t.TempDir()
	f, err := newFile(filepath.Join(dir, "out"))
	check(t, err)
	defer f.Close()
	if f.hidden != "" {
		t.Skip("this file system knows no files without a name")
	}
	empty(t, dir)
}

func TestStopsWhenAsked(t *testing.T) {
	o := ring(t, keyring.Sealing)
	stored, _ := history(o)
	s, err := Open(ctx, snapshot(t, stored), nil)
	check(t, err)
	defer s.Close()
	report, err := s.Survey(ctx, WithRing(o, false), nil)
	check(t, err)
	stopped, stop := context.WithCancel(ctx)
	stop()
	dir := t.TempDir()
	if err := s.Write(stopped, filepath.Join(dir, "out"), WithRing(o, false), report, false, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	empty(t, dir)
	if _, err := s.Survey(stopped, WithRing(o, false), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestWhatChangesMeanwhile: an opener that says something else the second time stands
// for a file that somebody writes to.
func TestWhatChangesMeanwhile(t *testing.T) {
	o := ring(t, keyring.Sealing)
	stored, _ := history(o)
	s, err := Open(ctx, snapshot(t, stored), nil)
	check(t, err)
	defer s.Close()
	report, err := s.Survey(ctx, WithRing(o, false), nil)
	check(t, err)
	dir := t.TempDir()
	fails := func(name, stored []byte) ([]byte, error) { return nil, seal.ErrAltered }
	if err := s.Write(ctx, filepath.Join(dir, "out"), fails, report, false, nil); !errors.Is(err, seal.ErrAltered) {
		t.Errorf("error %v", err)
	}
	report.Records++
	if err := s.Write(ctx, filepath.Join(dir, "out"), WithRing(o, false), report, false, nil); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("error %v", err)
	}
	empty(t, dir)
}

func TestARunningMembersFileIsRefused(t *testing.T) {
	in := database(t, nil)
	f, err := os.OpenFile(in, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	check(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	if _, err := Open(ctx, in, nil); !errors.Is(err, errInUse) {
		t.Errorf("error %v", err)
	}
}

func TestWhatIsNoSnapshot(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	check(t, syscall.Mkfifo(fifo, 0o600))
	short := filepath.Join(dir, "short")
	check(t, os.WriteFile(short, nil, 0o600))
	text := filepath.Join(dir, "text")
	check(t, os.WriteFile(text, bytes.Repeat([]byte("text"), 4096), 0o600))
	for _, in := range []string{fifo, short, text, dir, filepath.Join(dir, "none")} {
		if s, err := Open(ctx, in, nil); err == nil {
			s.Close()
			t.Errorf("%s was opened", in)
		} else if strings.Count(err.Error(), in) != 1 {
			t.Errorf("the error is %q", err)
		}
	}
}
