package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// testLog writes a log as docs/design/10-audit-log.md says, without a journal.
type testLog struct {
	t       testing.TB
	dir     string
	signer  *Signer
	tree    *Tree
	rnd     *rand.Rand
	now     time.Time
	blocks  int64 // a segment has so many
	file    *os.File
	path    string
	first   int64 // of the segment
	newest  string
	intents []int64
	padding string
	every   int // about how many events there is a checkpoint
}

func newTestLog(t testing.TB, seed uint64) *testLog {
	t.Helper()
	l := &testLog{
		t: t, dir: t.TempDir(), tree: &Tree{}, blocks: 2, every: 97, rnd: rand.New(rand.NewPCG(seed, 1)),
		now: time.Date(2026, 11, 28, 18, 0, 0, 0, time.UTC),
	}
	var err error
	l.signer, err = CreateSigner(l.dir)
	l.must(err)
	l.segment()
	l.add("system", `,"what":"started"`)
	return l
}

func (l *testLog) must(err error) {
	if err != nil {
		l.t.Helper()
		l.t.Fatal(err)
	}
}

func (l *testLog) segment() {
	first := l.tree.Size()
	if l.file != nil {
		l.must(l.file.Truncate(l.offset()))
		l.must(l.tree.Prover(nil).WriteHashes(l.path, l.first, first))
		l.must(l.file.Close())
	}
	l.first, l.path = first, filepath.Join(l.dir, fmt.Sprintf("%020d.jsonl", first))
	header := l.tree.AppendHeader([]byte(`{"etcdguardAudit":1,`), l.signer.Origin())
	header = fmt.Appendf(header, `,"first":%d,"created":%q}`+"\n", first, l.now.Format(time.RFC3339Nano))
	var err error
	l.file, err = os.Create(l.path)
	l.must(err)
	_, err = l.file.Write(header)
	l.must(err)
	l.must(l.file.Truncate(1 << 20)) // zeros ahead
}

func (l *testLog) offset() int64 {
	at, err := l.file.Seek(0, 1)
	l.must(err)
	return at
}

// add appends an event; rest are its members after kind.
func (l *testLog) add(kind, rest string) int64 {
	l.t.Helper()
	if l.tree.Size()-l.first >= l.blocks*BlockEvents {
		l.segment()
		if kind != "checkpoint" {
			l.checkpoint()
		}
	}
	l.now = l.now.Add(time.Duration(l.rnd.Int64N(int64(3 * time.Millisecond))))
	n := l.tree.Size()
	line := fmt.Appendf(nil, `{"seq":%d,"time":"%s","kind":"%s"%s}`, n, l.now.Format("2006-01-02T15:04:05.000000000Z"), kind, rest)
	l.tree.Append(line)
	_, err := l.file.Write(append(line, '\n'))
	l.must(err)
	return n
}

func (l *testLog) checkpoint() {
	l.t.Helper()
	// If the event begins a segment, this is of the same size all the same.
	text, err := l.signer.Checkpoint(l.tree.Size(), l.tree.Root())
	l.must(err)
	l.newest = text
	l.add("checkpoint", `,"note":`+asJSON(text))
}

func (l *testLog) handOver() {
	l.t.Helper()
	h, err := l.signer.Handover(l.tree.Size(), l.tree.Root())
	l.must(err)
	l.add("signer", `,"note":`+asJSON(h.Note))
	l.signer, err = h.Finish()
	l.must(err)
}

func asJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err)
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

// fill appends about n events: writes, in flight together, reads and denials, and a
// checkpoint now and then.
func (l *testLog) fill(n int64) {
	l.t.Helper()
	for end := l.tree.Size() + n; l.tree.Size() < end; {
		key := l.rnd.IntN(1000)
		switch {
		case l.rnd.IntN(l.every) == 0:
			l.checkpoint()
		case l.rnd.IntN(3) > 0 && len(l.intents) < 8:
			at := l.add("intent", fmt.Sprintf(`,"caller":{"name":"a","o":["ü"]},"action":"KV.Put","access":[{"action":"KV.Put","key":"/k/%d"}],"decision":"allowed","rule":"r"%s`, key, l.padding))
			l.intents = append(l.intents, at)
		case len(l.intents) > 0:
			i := l.rnd.IntN(len(l.intents))
			l.add("outcome", fmt.Sprintf(`,"of":%d,"code":"OK","rev":%d,"micros":90`, l.intents[i], key))
			l.intents = append(l.intents[:i], l.intents[i+1:]...)
		default:
			l.add("access", fmt.Sprintf(`,"action":"KV.Range","decision":"allowed","code":"OK","keys":%d`, key))
		}
	}
}

func (l *testLog) stop() {
	l.t.Helper()
	for _, n := range l.intents {
		l.add("outcome", fmt.Sprintf(`,"of":%d,"code":"OK"`, n))
	}
	l.intents = nil
	l.add("system", `,"what":"stopped"`)
	l.checkpoint()
}

// sees appends what this log's member has seen of another.
func (l *testLog) sees(other *testLog) {
	l.t.Helper()
	l.add("witness", fmt.Sprintf(`,"origin":%q,"result":"consistent","note":%s`, other.signer.Origin(), asJSON(other.newest)))
}

// text is a segment's, without what was filled ahead.
func text(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimRight(data, "\x00")
}

// edit changes the lines of the segment that an event is in. at is the place of the
// event among them.
func (l *testLog) edit(event int64, change func(lines [][]byte, at int) [][]byte) {
	l.t.Helper()
	first := event / (l.blocks * BlockEvents) * l.blocks * BlockEvents
	path := l.segmentOf(event)
	lines := bytes.SplitAfter(text(l.t, path), []byte("\n"))
	lines = change(lines[:len(lines)-1], int(event-first)+1)
	l.must(os.WriteFile(path, bytes.Join(lines, nil), 0o600))
}

func (l *testLog) segmentOf(event int64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d.jsonl", event/(l.blocks*BlockEvents)*l.blocks*BlockEvents))
}

// copyTo is the log's directory as it is now, somewhere else.
func (l *testLog) copyTo(dir string) string {
	l.t.Helper()
	l.must(os.CopyFS(dir, os.DirFS(l.dir)))
	return dir
}
