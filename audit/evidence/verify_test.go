package evidence

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// cluster are three logs whose members have seen each other's checkpoints.
type cluster struct{ a, b, c *testLog }

func newCluster(t testing.TB) *cluster {
	t.Helper()
	cl := &cluster{newTestLog(t, 1), newTestLog(t, 2), newTestLog(t, 3)}
	for range 20 {
		for _, l := range []*testLog{cl.a, cl.b, cl.c} {
			l.fill(100)
			l.checkpoint()
		}
		cl.b.sees(cl.a)
		cl.c.sees(cl.a)
		cl.a.sees(cl.b)
	}
	cl.a.fill(200)
	cl.a.checkpoint()
	cl.b.sees(cl.a)
	cl.c.sees(cl.a)
	cl.a.stop()
	return cl
}

func check(t testing.TB, dir string, keys, witnesses []string) *Report {
	t.Helper()
	r, err := Verify(context.Background(), Config{Dir: dir, Keys: keys, Witnesses: witnesses})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestALogThatNobodyTouchedHolds(t *testing.T) {
	cl := newCluster(t)
	r := check(t, cl.a.dir, cl.a.signer.Public(), []string{cl.b.dir, cl.c.dir})
	if !r.Holds() || r.First != 0 || r.Size != cl.a.tree.Size() || r.Signed != r.Size-1 || r.Segments < 4 || r.Checkpoints < 20 {
		t.Fatalf("%+v", r)
	}
	for _, w := range r.Witnesses {
		if w.Checkpoints != 21 || w.Seen < r.Size-200 {
			t.Errorf("%+v of %d events", w, r.Size)
		}
	}
	if r.From.IsZero() || !r.To.Equal(cl.a.now) || r.Log != cl.a.signer.Origin() || len(r.Keys) != 1 || r.Keys[0].Trusted != "given" {
		t.Errorf("%+v", r)
	}
}

func remove(lines [][]byte, at int) [][]byte { return slices.Delete(lines, at, at+1) }

// doctored are all the ways in which a log was changed here, and what must be found. 700
// is an event in the middle of the second segment of two blocks (512 to 1023).
var doctored = []struct {
	name    string
	doctor  func(cl *cluster)
	config  func(cl *cluster, c *Config) // default: the key, no witness
	kind    FindingKind
	event   func(cl *cluster) int64 // that a finding of the kind must have in its span
	within  int64                   // the longest span that counts as located; default 1
	only    bool                    // nothing else is found
	segment bool                    // the finding names the segment of the event
}{
	{name: "a line deleted", doctor: func(cl *cluster) { cl.a.edit(700, remove) }, kind: Missing, only: true, segment: true},
	{name: "a line edited", doctor: func(cl *cluster) { cl.a.edit(700, edited) }, kind: Altered, within: BlockEvents, only: true, segment: true},
	{name: "a line edited where no hashes are beside it", doctor: func(cl *cluster) {
		cl.a.edit(700, edited)
		os.Remove(sidecarOf(cl.a.segmentOf(700)))
	}, kind: Altered, within: 150, only: true, segment: true},
	{name: "a line edited in the segment that is written", doctor: func(cl *cluster) { cl.a.edit(cl.a.first+10, edited) },
		kind: Altered, event: func(cl *cluster) int64 { return cl.a.first + 10 }, within: 150, only: true, segment: true},
	{name: "two lines in the wrong order", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte {
			lines[at], lines[at-1] = lines[at-1], lines[at]
			return lines
		})
	}, kind: Moved, segment: true},
	{name: "two lines in the wrong order, numbered anew", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte {
			one, two := lines[at-1], lines[at]
			lines[at-1] = bytes.Replace(two, []byte(`"seq":700`), []byte(`"seq":699`), 1)
			lines[at] = bytes.Replace(one, []byte(`"seq":699`), []byte(`"seq":700`), 1)
			return lines
		})
	}, kind: Altered, within: BlockEvents, segment: true},
	{name: "a line inserted", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte {
			return slices.Insert(lines, at, []byte("{\"what\":\"ever\"}\n"))
		})
	}, kind: Inserted, only: true, segment: true},
	{name: "an event inserted and the rest of the segment numbered anew", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte {
			lines = slices.Insert(lines, at, bytes.Clone(lines[at]))
			for i := at + 1; i < len(lines); i++ {
				lines[i] = bytes.Replace(lines[i], fmt.Appendf(nil, `"seq":%d`, 512+i-2), fmt.Appendf(nil, `"seq":%d`, 512+i-1), 1)
			}
			return lines
		})
	}, kind: Altered, within: BlockEvents, segment: true},
	{name: "a line duplicated", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte { return slices.Insert(lines, at, bytes.Clone(lines[at])) })
	}, kind: Duplicated, only: true, segment: true},
	{name: "many lines duplicated", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte {
			return slices.Insert(lines, at+1, slices.Clone(lines[at-99:at+1])...)
		})
	}, kind: Duplicated, within: 100, only: true, segment: true},
	{name: "a number that is not the line's", doctor: func(cl *cluster) { cl.a.edit(700, rewrite(`"seq":700`, `"seq":720`)) }, kind: Altered, only: true, segment: true},
	{name: "a number that no event can have", doctor: func(cl *cluster) { cl.a.edit(700, rewrite(`"seq":700`, `"seq":70000000`)) }, kind: Altered, only: true, segment: true},
	{name: "a line that is no JSON", doctor: func(cl *cluster) { cl.a.edit(700, rewrite("}\n", "\n")) }, kind: Invalid, only: true, segment: true},
	{name: "a line that is nothing", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte { lines[at] = []byte("\n"); return lines })
	}, kind: Invalid, only: true, segment: true},
	{name: "zero bytes in the text", doctor: func(cl *cluster) { cl.a.edit(700, rewrite(`"time":"2`, `"time":"`+"\x00")) }, kind: Invalid, only: true, segment: true},
	{name: "binary in place of lines", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte {
			return append(slices.Clone(lines[:at]), bytes.Repeat([]byte("\xff\n"), 20000))
		})
	}, kind: Invalid, within: 512, segment: true},
	{name: "a line without an end", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte {
			return append(slices.Clone(lines[:at]), bytes.Repeat([]byte("x"), 1<<20))
		})
	}, kind: Invalid, segment: true},
	{name: "time going back", doctor: func(cl *cluster) { cl.a.edit(700, rewrite(`"time":"2026-11-28T18`, `"time":"2026-11-28T17`)) }, kind: BadTime, segment: true},
	{name: "the tail of the log truncated, in its last checkpoint", doctor: func(cl *cluster) {
		cl.a.edit(cl.a.tree.Size()-1, func(lines [][]byte, at int) [][]byte { return lines[:at] })
	}, kind: Truncated, event: func(cl *cluster) int64 { return cl.a.tree.Size() - 1 }, only: true},
	{name: "the tail truncated, which a witness has seen", doctor: func(cl *cluster) {
		cl.a.edit(cl.a.tree.Size()-1, func(lines [][]byte, at int) [][]byte { return lines[:at-100] })
	}, config: byWitness, kind: Truncated, event: func(cl *cluster) int64 { return cl.a.tree.Size() - 90 }, within: 100, only: true},
	{name: "the tail truncated, and a checkpoint of it was kept", doctor: func(cl *cluster) {
		cl.a.edit(cl.a.tree.Size()-1, func(lines [][]byte, at int) [][]byte { return lines[:at-100] })
	}, config: byKeptCheckpoint, kind: Truncated, event: func(cl *cluster) int64 { return cl.a.tree.Size() - 2 }, within: 101, only: true},
	{name: "the last segments gone, but for the hashes", doctor: func(cl *cluster) {
		for n := int64(1024); n < cl.a.tree.Size(); n += 512 {
			os.Remove(cl.a.segmentOf(n))
		}
	}, kind: Truncated, event: func(*cluster) int64 { return 512 }, only: true},
	{name: "a segment in the middle gone", doctor: func(cl *cluster) { os.Remove(cl.a.segmentOf(700)) }, kind: Missing, within: 512, only: true},
	{name: "the end of a segment in the middle gone", doctor: func(cl *cluster) {
		cl.a.edit(700, func(lines [][]byte, at int) [][]byte { return lines[:at] })
	}, kind: Missing, within: 512, event: func(*cluster) int64 { return 1023 }, only: true},
	{name: "a header's tree altered", doctor: func(cl *cluster) {
		cl.a.edit(512, func(lines [][]byte, at int) [][]byte {
			i := bytes.Index(lines[0], []byte(`"tree":["`)) + 10
			lines[0][i] = "AB"[bytes.Count(lines[0][i:i+1], []byte("A"))]
			return lines
		})
	}, kind: BadHeader, event: func(*cluster) int64 { return 512 }, only: true, segment: true},
	{name: "the first header's tree altered", doctor: func(cl *cluster) {
		os.Remove(cl.a.segmentOf(0))
		cl.a.edit(512, func(lines [][]byte, at int) [][]byte {
			i := bytes.Index(lines[0], []byte(`"tree":["`)) + 10
			lines[0][i] = "AB"[bytes.Count(lines[0][i:i+1], []byte("A"))]
			return lines
		})
	}, kind: BadHeader, event: func(*cluster) int64 { return 512 }, only: true, segment: true},
	{name: "a header that is another segment's", doctor: func(cl *cluster) {
		cl.a.edit(512, func(lines [][]byte, at int) [][]byte {
			lines[0] = bytes.SplitAfter(text(cl.a.t, cl.a.segmentOf(1024)), []byte("\n"))[0]
			return lines
		})
	}, kind: BadHeader, event: func(*cluster) int64 { return 512 }, only: true, segment: true},
	{name: "a segment of another log", doctor: func(cl *cluster) {
		cl.a.must(os.WriteFile(cl.a.segmentOf(700), text(cl.a.t, cl.b.segmentOf(700)), 0o600))
	}, kind: BadHeader, event: func(*cluster) int64 { return 512 }, segment: true},
	{name: "a wrong hash beside a segment", doctor: func(cl *cluster) {
		name := sidecarOf(cl.a.segmentOf(700))
		data := text(cl.a.t, name)
		data[3] ^= 1
		cl.a.must(os.WriteFile(name, data, 0o600))
	}, kind: BadHashes, event: func(*cluster) int64 { return 512 }, within: BlockEvents, only: true},
	{name: "a hash too few beside a segment", doctor: func(cl *cluster) {
		cl.a.must(os.Truncate(sidecarOf(cl.a.segmentOf(700)), 32))
	}, kind: BadHashes, within: 512, only: true, segment: true},
	{name: "a forged checkpoint", doctor: forge(func(cl *cluster, note string) string {
		return strings.Replace(note, "\n", "\n1", 1)
	}), kind: Forged, event: someCheckpoint, segment: true},
	{name: "a checkpoint by another key under this log's name", doctor: forge(func(cl *cluster, text string) string {
		c, err := Unverified(text)
		cl.a.must(err)
		return strangersNote(cl.a.t, c)
	}), kind: Replaced, event: someCheckpoint, segment: true},
	{name: "a checkpoint that belongs elsewhere", doctor: forge(func(cl *cluster, _ string) string { return cl.a.newest }), kind: Forged, event: someCheckpoint, segment: true},
	{name: "an intent without an outcome", doctor: func(cl *cluster) {
		cl.a.add("system", `,"what":"started"`)
		cl.a.add("intent", "")
		cl.a.add("access", "")
		cl.a.add("system", `,"what":"started"`)
		cl.a.checkpoint()
	}, kind: NoOutcome, event: func(cl *cluster) int64 { return cl.a.tree.Size() - 4 }, only: true, segment: true},
	{name: "an outcome without an intent", doctor: func(cl *cluster) {
		cl.a.add("outcome", `,"of":0`)
		cl.a.checkpoint()
	}, kind: NoOutcome, event: func(cl *cluster) int64 { return cl.a.tree.Size() - 2 }, only: true, segment: true},
	{name: "a key that nobody introduced", doctor: func(cl *cluster) {
		other := newTestLog(cl.a.t, 9)
		f, err := os.OpenFile(filepath.Join(cl.a.dir, publicFile), os.O_APPEND|os.O_WRONLY, 0)
		cl.a.must(err)
		defer f.Close()
		_, err = f.WriteString(other.signer.Public()[0] + "\n")
		cl.a.must(err)
	}, kind: BadKey, event: func(*cluster) int64 { return 0 }, only: true},
	{name: "the log replaced as a whole", doctor: func(cl *cluster) {
		key := cl.a.signer
		cl.a = newTestLog(cl.a.t, 7)
		cl.a.fill(600)
		cl.a.stop()
		cl.c = &testLog{signer: key} // only for its key
	}, config: func(cl *cluster, c *Config) { c.Keys = cl.c.signer.Public() }, kind: Replaced, event: func(*cluster) int64 { return 0 }},
	{name: "the log replaced as a whole, and no key given", doctor: func(cl *cluster) {
		cl.a = newTestLog(cl.a.t, 7)
		cl.a.fill(600)
		cl.a.stop()
	}, config: func(cl *cluster, c *Config) { c.Keys, c.Witnesses = nil, []string{cl.b.dir} }, kind: Replaced, event: func(*cluster) int64 { return 0 }, only: true},
}

func byWitness(cl *cluster, c *Config) { c.Witnesses = []string{cl.b.dir, cl.c.dir} }

func byKeptCheckpoint(cl *cluster, c *Config) {
	file := filepath.Join(cl.a.t.TempDir(), "kept")
	cl.a.must(os.WriteFile(file, []byte(cl.a.newest), 0o600))
	c.Witnesses = []string{file}
}

// rewrite replaces the first of the texts that is in the line.
func rewrite(oldnew ...string) func([][]byte, int) [][]byte {
	return func(lines [][]byte, at int) [][]byte {
		for i := 0; i < len(oldnew); i += 2 {
			if bytes.Contains(lines[at], []byte(oldnew[i])) {
				lines[at] = bytes.Replace(lines[at], []byte(oldnew[i]), []byte(oldnew[i+1]), 1)
				return lines
			}
		}
		panic(fmt.Sprintf("none of %q is in %s", oldnew, lines[at]))
	}
}

var edited = rewrite(`"KV.`, `"KX.`, `"code":"OK"`, `"code":"OL"`)

// someCheckpoint is the number of the first checkpoint event after 700.
func someCheckpoint(cl *cluster) int64 {
	lines := bytes.Split(text(cl.a.t, cl.a.segmentOf(700)), []byte("\n"))
	for i := 700 - 512 + 1; i < len(lines); i++ {
		if bytes.Contains(lines[i], []byte(`"kind":"checkpoint"`)) {
			return 512 + int64(i) - 1
		}
	}
	panic("no checkpoint after 700")
}

// forge changes the note of a checkpoint.
func forge(change func(cl *cluster, note string) string) func(*cluster) {
	return func(cl *cluster) {
		cl.a.edit(someCheckpoint(cl), func(lines [][]byte, at int) [][]byte {
			before, note, ok := bytes.Cut(lines[at], []byte(`,"note":`))
			var text string
			if !ok || json.Unmarshal(bytes.TrimSuffix(note, []byte("}\n")), &text) != nil {
				panic("no note in " + string(lines[at]))
			}
			lines[at] = fmt.Appendf(nil, "%s,\"note\":%s}\n", before, asJSON(change(cl, text)))
			return lines
		})
	}
}

// strangersNote is a checkpoint signed by a key that only has the log's name.
func strangersNote(t testing.TB, c Checkpoint) string {
	t.Helper()
	private, _, err := note.GenerateKey(rand.Reader, c.Origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signNote(c, signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestEveryDoctoredLogIsFound(t *testing.T) {
	for _, d := range doctored {
		t.Run(d.name, func(t *testing.T) {
			cl := newCluster(t)
			d.doctor(cl)
			c := Config{Dir: cl.a.dir, Keys: cl.a.signer.Public()}
			if d.config != nil {
				d.config(cl, &c)
			}
			r, err := Verify(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			event, within := int64(700), max(1, d.within)
			if d.event != nil {
				event = d.event(cl)
			}
			found := false
			for _, f := range r.Findings {
				near := f.Event <= event && event <= f.Last && f.Last-f.Event < within
				if d.kind == Moved || d.kind == Duplicated || d.kind == Missing {
					near = near || event-2 <= f.Event && f.Event <= event+2
				}
				if f.Kind == d.kind && near && f.Text != "" && (!d.segment || f.Segment == filepath.Base(cl.a.segmentOf(event))) {
					found = true
				} else if d.only && f.Kind != d.kind {
					t.Errorf("also found: %+v", f)
				}
			}
			if !found {
				t.Errorf("not found: %s at event %d within %d; but: %+v", d.kind, event, within, r.Findings)
			}
			if len(r.Findings) > 120 {
				t.Errorf("%d findings of one change", len(r.Findings))
			}
			if d.within > 0 || d.only {
				t.Logf("%+v", r.Findings[0])
			}
		})
	}
}

// BenchmarkVerify reads a log of events as long as kube-apiserver's are.
func BenchmarkVerify(b *testing.B) {
	l := newTestLog(b, 1)
	l.blocks, l.every = 1<<9, 20_000 // ten seconds of 2,000 requests a second
	l.padding = `,"more":"` + strings.Repeat("x", 250) + `"`
	l.fill(400_000)
	l.stop()
	var bytes int64
	before := cpuTime(b)
	for b.Loop() {
		r, err := Verify(context.Background(), Config{Dir: l.dir, Keys: l.signer.Public()})
		if err != nil || !r.Holds() {
			b.Fatal(err, r)
		}
		bytes = r.Bytes
	}
	b.SetBytes(bytes)
	// Other work on the machine does not count in this.
	b.ReportMetric(float64(bytes)*float64(b.N)/(cpuTime(b)-before).Seconds()/1e6, "MB/cpu-s")
	b.ReportMetric(float64(l.tree.Size())*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(bytes)/float64(l.tree.Size()), "bytes/event")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
