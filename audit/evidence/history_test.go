package evidence

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// only wants one finding, of that kind.
func only(t *testing.T, r *Report, kind FindingKind) Finding {
	t.Helper()
	if len(r.Findings) != 1 || r.Findings[0].Kind != kind {
		t.Fatalf("want one %s, got %+v", kind, r.Findings)
	}
	return r.Findings[0]
}

func remarked(t *testing.T, r *Report, text string) {
	t.Helper()
	if !slices.ContainsFunc(r.Remarks, func(s string) bool { return strings.Contains(s, text) }) {
		t.Errorf("no remark says %q: %q", text, r.Remarks)
	}
}

func TestAnOlderCopyThatWasPutBackIsFound(t *testing.T) {
	l, b := newTestLog(t, 1), newTestLog(t, 2)
	l.fill(700)
	l.checkpoint()
	b.sees(l)
	old := l.copyTo(t.TempDir())
	l.fill(300)
	l.checkpoint()
	b.sees(l)
	if r := check(t, l.dir, l.signer.Public(), []string{b.dir}); !r.Holds() {
		t.Fatalf("%+v", r.Findings)
	}
	if f := only(t, check(t, old, l.signer.Public(), []string{b.dir}), Truncated); f.Event < 700 || f.Event > 720 || f.Last < 1000 {
		t.Errorf("%+v", f)
	}
	// Alone, the copy can't be told from a log that was no longer written.
	if r := check(t, old, l.signer.Public(), nil); !r.Holds() {
		t.Errorf("%+v", r.Findings)
	} else {
		remarked(t, r, "nobody but its own key vouches")
	}
	// The log itself, kept somewhere else, is a witness too.
	only(t, check(t, old, l.signer.Public(), []string{l.dir}), Truncated)
}

// The owner of the node has the key: the log is rewritten and signed anew.
func TestAHistoryThatWasRewrittenWithTheKeyIsFoundByAWitness(t *testing.T) {
	build := func(other string) (l, b *testLog) {
		l, b = newTestLog(t, 1), newTestLog(t, 2)
		l.fill(300)
		l.checkpoint()
		b.sees(l)
		l.fill(200)
		l.add("denied", `,"reason":"`+other+`"`)
		l.fill(200)
		l.checkpoint()
		b.sees(l)
		l.fill(50)
		l.checkpoint()
		b.sees(l)
		return l, b
	}
	// Two runs of the same random numbers with one key.
	l, b := build("the truth")
	agreed := int64(301) // the first checkpoint is of so many events, at least
	forged := rewritten(t, l, 502, `the truth`, `something else`)
	if r := check(t, forged, l.signer.Public(), nil); !r.Holds() {
		t.Fatalf("the rewritten log is not even consistent in itself: %+v", r.Findings)
	}
	f := only(t, check(t, forged, l.signer.Public(), []string{b.dir}), ForkedLog)
	if f.Event <= 502 || f.Event > 730 || !strings.Contains(f.Text, "agrees up to event 3") {
		t.Errorf("%+v", f)
	}
	if r := check(t, l.dir, l.signer.Public(), []string{b.dir}); !r.Holds() || r.Witnesses[0].Seen < agreed {
		t.Errorf("%+v", r)
	}
}

// rewritten is a copy of a log in which a text was changed, and all that follows hashed
// and signed anew with its key.
func rewritten(t *testing.T, l *testLog, from int64, old, new string) string {
	t.Helper()
	var lines [][]byte
	err := ReadLines(l.dir)(0, 0, nil)
	l.must(err)
	paths, err := segmentPaths(l.dir)
	l.must(err)
	for _, p := range paths {
		all := bytes.Split(bytes.TrimSuffix(text(t, p), []byte("\n")), []byte("\n"))
		lines = append(lines, all[1:]...)
	}
	f := &testLog{t: t, dir: t.TempDir(), signer: l.signer, tree: &Tree{}, rnd: l.rnd, now: l.now, blocks: l.blocks}
	for _, name := range []string{keyFile, publicFile} {
		data, err := os.ReadFile(filepath.Join(l.dir, name))
		l.must(err)
		l.must(os.WriteFile(filepath.Join(f.dir, name), data, 0o600))
	}
	f.segment()
	for i, line := range lines {
		if f.tree.Size()-f.first >= f.blocks*BlockEvents {
			f.segment()
		}
		if int64(i) >= from && bytes.Contains(line, []byte(`"kind":"checkpoint"`)) {
			before, _, _ := bytes.Cut(line, []byte(`,"note":`))
			note, err := l.signer.Checkpoint(int64(i), f.tree.Root())
			l.must(err)
			line = fmt.Appendf(nil, `%s,"note":%s}`, before, asJSON(note))
		}
		line = bytes.Replace(line, []byte(old), []byte(new), 1)
		f.tree.Append(line)
		_, err := f.file.Write(append(slices.Clone(line), '\n'))
		l.must(err)
	}
	return f.dir
}

func TestWhatHasExpiredIsSaidAndIsNoFinding(t *testing.T) {
	cl := newCluster(t)
	for _, first := range []int64{0, 512} {
		os.Remove(cl.a.segmentOf(first))
		os.Remove(sidecarOf(cl.a.segmentOf(first)))
	}
	r := check(t, cl.a.dir, cl.a.signer.Public(), []string{cl.b.dir})
	if !r.Holds() || r.First != 1024 || r.Witnesses[0].Earlier == 0 || r.Witnesses[0].Checkpoints == 0 {
		t.Fatalf("%+v", r)
	}
	remarked(t, r, "events 0 to 1023 are not there any more")
}

func TestALogThatIsBeingWrittenHolds(t *testing.T) {
	l := newTestLog(t, 1)
	l.fill(700)
	l.checkpoint()
	l.add("intent", "")
	_, err := l.file.WriteString(`{"seq":7`) // half a line
	l.must(err)
	r := check(t, l.dir, nil, nil)
	if !r.Holds() || r.Signed >= r.Size || r.Keys[0].Trusted != "in the directory" {
		t.Fatalf("%+v", r)
	}
	remarked(t, r, "unfinished line")
	remarked(t, r, "in flight")
	remarked(t, r, "not signed yet")
	remarked(t, r, "the key was read from the directory itself")

	// What a segment that was prepared looks like, and one whose header is half there.
	for _, text := range []string{"", "\x00\x00\x00", `{"etcdgua` + "\x00\x00"} {
		l.must(os.WriteFile(l.segmentOf(1024), []byte(text), 0o600))
		if r := check(t, l.dir, nil, nil); !r.Holds() {
			t.Errorf("%q: %+v", text, r.Findings)
		}
	}
	// Right after one was closed.
	os.Remove(l.segmentOf(1024))
	l.must(os.WriteFile(l.segmentOf(512), make([]byte, 100), 0o600))
	if r := check(t, l.dir, nil, nil); !r.Holds() || r.Size != 512 {
		t.Errorf("%+v", r)
	}
}

func TestAKeyThatHandsOver(t *testing.T) {
	l := newTestLog(t, 1)
	l.fill(600)
	l.handOver()
	l.fill(600)
	l.handOver()
	l.fill(100)
	l.stop()
	all := l.signer.Public()
	if len(all) != 3 {
		t.Fatalf("keys: %q", all)
	}
	// Whichever key somebody kept, it vouches for the others, also when the events that
	// introduced them have expired.
	for _, expired := range []bool{false, true} {
		if expired {
			os.Remove(l.segmentOf(0))
			os.Remove(l.segmentOf(512))
		}
		for _, key := range all {
			r := check(t, l.dir, []string{key}, nil)
			if !r.Holds() || len(r.Keys) != 3 || r.Signed < 1200 {
				t.Errorf("with %s: %+v", key, r)
			}
		}
	}
	// Without the notes, nothing introduces the newest to who has the oldest.
	os.Remove(filepath.Join(l.dir, handoverFile))
	r := check(t, l.dir, all[:1], nil)
	if r.Holds() || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == Replaced || f.Kind == BadKey }) {
		t.Errorf("%+v", r.Findings)
	}
}

func TestAKeyIsNotAcceptedBecauseItStandsInTheDirectory(t *testing.T) {
	l := newTestLog(t, 1)
	old := l.signer.Public()
	l.fill(300)
	l.checkpoint()
	// Whoever took the directory over has no old key, and signs with one of their own.
	own := newTestLog(t, 5)
	for name, text := range map[string]string{publicFile: old[0] + "\n" + strings.Replace(own.signer.Public()[0], own.signer.Origin(), l.signer.Origin(), 1) + "\n"} {
		l.must(os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600))
	}
	note := strangersNote(t, Checkpoint{Origin: l.signer.Origin(), Size: l.tree.Size(), Root: l.tree.Root()})
	l.add("checkpoint", `,"note":`+asJSON(note))
	r := check(t, l.dir, old, nil)
	kinds := map[FindingKind]bool{}
	for _, f := range r.Findings {
		kinds[f.Kind] = true
	}
	if !kinds[Replaced] || !kinds[BadKey] {
		t.Errorf("%+v", r.Findings)
	}
}

func TestAHandoverNeedsBothKeys(t *testing.T) {
	l, other := newTestLog(t, 1), newTestLog(t, 2)
	h, err := l.signer.Handover(7, l.tree.Root())
	l.must(err)
	text, signatures, _ := strings.Cut(h.Note, "\n\n")
	both := strings.SplitAfter(strings.TrimSpace(signatures), "\n")
	for i, signature := range both {
		k, err := newKeys(l.signer.Public())
		l.must(err)
		alone := text + "\n\n" + strings.TrimSpace(signature) + "\n"
		if err := k.learn(alone, other.signer.Public()); err == nil || len(k.list) != 1 {
			t.Errorf("signature %d alone introduces a key", i)
		}
		if err := k.learn(h.Note, nil); err != nil || len(k.list) != 2 {
			t.Errorf("both do not: %v", err)
		}
	}
}

func TestAKeyThatHandedOverSignsNoMore(t *testing.T) {
	l := newTestLog(t, 1)
	l.fill(100)
	before := l.signer
	l.handOver()
	l.fill(10)
	note, err := before.Checkpoint(l.tree.Size(), l.tree.Root())
	l.must(err)
	at := l.add("checkpoint", `,"note":`+asJSON(note))
	l.checkpoint()
	if f := only(t, check(t, l.dir, before.Public(), nil), Forged); f.Event != at {
		t.Errorf("%+v", f)
	}
}

func TestOneKeyThatHandsOverTwiceIsFound(t *testing.T) {
	l := newTestLog(t, 1)
	l.fill(100)
	stolen := l.signer
	l.handOver()
	l.fill(100)
	h, err := stolen.Handover(l.tree.Size(), l.tree.Root())
	l.must(err)
	at := l.add("signer", `,"note":`+asJSON(h.Note))
	l.checkpoint()
	if f := only(t, check(t, l.dir, stolen.Public(), nil), BadKey); f.Event != at {
		t.Errorf("%+v", f)
	}
}

func TestWhatWasExportedIsAWitness(t *testing.T) {
	cl := newCluster(t)
	var events, notes []byte
	for _, dir := range []string{cl.a.dir, cl.b.dir} {
		paths, err := segmentPaths(dir)
		cl.a.must(err)
		for _, p := range paths {
			for line := range bytes.Lines(text(t, p)) {
				if bytes.Contains(line, []byte(`"kind":"checkpoint"`)) && dir == cl.a.dir || bytes.Contains(line, []byte(`"kind":"witness"`)) && dir == cl.b.dir {
					events = append(events, line...)
				}
			}
		}
	}
	notes = append(notes, cl.b.newest...)
	notes = append(notes, cl.a.newest...)
	dir := t.TempDir()
	for name, data := range map[string][]byte{"events": events, "notes": notes} {
		path := filepath.Join(dir, name)
		cl.a.must(os.WriteFile(path, data, 0o600))
		r := check(t, cl.a.dir, nil, []string{path})
		if !r.Holds() || r.Witnesses[0].Seen != r.Size-1 {
			t.Errorf("%s: %+v %+v", name, r.Findings, r.Witnesses)
		}
	}
	path := filepath.Join(dir, "nothing")
	cl.a.must(os.WriteFile(path, []byte("hello\n"), 0o600))
	for _, witness := range []string{path, filepath.Join(dir, "not there"), t.TempDir()} {
		if _, err := Verify(context.Background(), Config{Dir: cl.a.dir, Witnesses: []string{witness}}); err == nil {
			t.Errorf("%s passes for a witness", witness)
		}
	}
}

func TestWhatCannotBeLookedAtIsAnError(t *testing.T) {
	l := newTestLog(t, 1)
	l.fill(3000)
	l.stop()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, try := range map[string]func() (*Report, error){
		"cancelled":    func() (*Report, error) { return Verify(ctx, Config{Dir: l.dir}) },
		"no directory": func() (*Report, error) { return Verify(context.Background(), Config{Dir: l.dir + "x"}) },
		"no segment":   func() (*Report, error) { return Verify(context.Background(), Config{Dir: t.TempDir()}) },
		"no key":       func() (*Report, error) { return Verify(context.Background(), Config{Dir: l.dir, Keys: []string{"x"}}) },
		"keys of two": func() (*Report, error) {
			return Verify(context.Background(), Config{Dir: l.dir, Keys: append(newTestLog(t, 2).signer.Public(), l.signer.Public()...)})
		},
		"no key at all": func() (*Report, error) {
			os.Remove(filepath.Join(l.dir, publicFile))
			return Verify(context.Background(), Config{Dir: l.dir})
		},
	} {
		if r, err := try(); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
