package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etcdguard/etcdguard/audit/evidence"
	"github.com/etcdguard/etcdguard/etcdapi"
)

func open(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := Open(context.Background(), Config{Dir: dir, SegmentBytes: 1 << 20, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		Started: []string{"version", "test"}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type read struct {
	Seq          uint64
	Kind, What   string
	Of           *uint64
	Code, Reason string
	Note         string
	From, To     string
	Counts       []Count
}

// readAll reads all events, as any program could.
func readAll(t testing.TB, dir string) (all []read) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range bytes.Split(bytes.TrimRight(data, "\x00"), []byte("\n")) {
			if i == 0 || len(line) == 0 {
				continue
			}
			var e read
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			all = append(all, e)
		}
	}
	for i, e := range all {
		if e.Seq != uint64(i) {
			t.Fatalf("event %d has the number %d", i, e.Seq)
		}
	}
	return all
}

func kindsOf(events []read) string {
	var kinds []string
	for _, e := range events {
		kind := e.Kind
		if e.What != "" {
			kind += ":" + e.What
		}
		kinds = append(kinds, kind)
	}
	return strings.Join(kinds, " ")
}

func intent(key string) *Event {
	return &Event{Kind: Intent, Action: etcdapi.KVPut, Decision: Allowed,
		Access: []Access{{Action: etcdapi.KVPut, Keys: etcdapi.Key([]byte(key))}}}
}

func outcome(of uint64) *Event {
	return &Event{Kind: Outcome, Of: of, Answer: &Answer{Code: "OK", Revision: 7}}
}

func TestALogThatWasClosedSaysNothingOfACrash(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	for range 2 {
		l := open(t, dir)
		seq, err := l.Intend(intent("/a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Conclude(ctx, outcome(seq)); err != nil {
			t.Fatal(err)
		}
		if err := l.Close("the test says so"); err != nil {
			t.Fatal(err)
		}
	}
	const once = "system:started intent outcome system:stopped checkpoint"
	if got := kindsOf(readAll(t, dir)); got != once+" "+once {
		t.Errorf("the log has %s", got)
	}
}

// A child is killed after intents whose outcomes are not all known.
func TestAProcessThatWasKilledLeavesNoIntentOpen(t *testing.T) {
	dir := t.TempDir()
	if os.Getenv("AUDIT_TEST_DIR") != "" {
		die(t, os.Getenv("AUDIT_TEST_DIR"))
	}
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), "AUDIT_TEST_DIR="+dir)
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child was to be killed: %v\n%s", err, out)
	}
	l := open(t, dir)
	if err := l.Close("the test is over"); err != nil {
		t.Fatal(err)
	}
	events := readAll(t, dir)
	const want = "system:started intent intent outcome intent access outcome outcome gap system:started system:stopped checkpoint"
	if got := kindsOf(events); got != want && got != strings.Replace(want, " access", "", 1) { // a read may be lost
		t.Fatalf("the log has %s", got)
	}
	lost := map[uint64]bool{}
	for _, e := range events {
		if e.Code == Lost {
			lost[*e.Of] = true
		}
		if e.Kind == "gap" && (len(e.Counts) == 0 || e.Counts[0] != (Count{Code: "lost", N: 2})) {
			t.Errorf("the gap counts %+v", e.Counts)
		}
	}
	if len(lost) != 2 || !lost[1] || !lost[4] {
		t.Errorf("lost are %v, want the intents 1 and 4", lost)
	}
}

func die(t *testing.T, dir string) {
	l := open(t, dir)
	_, _ = l.Intend(intent("/a"))
	second, _ := l.Intend(intent("/b"))
	if err := l.Conclude(context.Background(), outcome(second)); err != nil {
		t.Fatal(err)
	}
	_, _ = l.Intend(intent("/c"))
	_ = l.Record(context.Background(), &Event{Kind: Read, Action: etcdapi.KVRange})
	p, _ := os.FindProcess(os.Getpid())
	_ = p.Kill()
	time.Sleep(time.Minute)
}

func TestAnIdleLogMakesNoCheckpoints(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for range 5 {
		l.checkpoint()
	}
	if err := l.Settle(context.Background(), &Event{Kind: Denied}); err != nil {
		t.Fatal(err)
	}
	l.checkpoint()
	l.checkpoint()
	if err := l.Settle(context.Background(), &Event{Kind: Witness, Note: "x"}); err != nil {
		t.Fatal(err)
	}
	l.checkpoint()
	if err := l.Close("x"); err != nil {
		t.Fatal(err)
	}
	if got := kindsOf(readAll(t, dir)); got != "system:started checkpoint denied checkpoint witness system:stopped checkpoint" {
		t.Errorf("the log has %s", got)
	}
}

func BenchmarkIntendAndConclude(b *testing.B) {
	l := open(b, b.TempDir())
	defer func() { _ = l.Close("done") }()
	ctx := context.Background()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		e := *intent("/registry/secrets/default/some-secret")
		o := *outcome(0)
		for pb.Next() {
			seq, err := l.Intend(&e)
			if err != nil {
				b.Error(err)
				return
			}
			o.Of = seq
			if err := l.Conclude(ctx, &o); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// What a log lacks is told as soon as it can be written again, and what was refused or
// let through meanwhile is counted.
func TestAGapIsTold(t *testing.T) {
	for _, serve := range []bool{false, true} {
		dir := t.TempDir()
		l := open(t, dir)
		l.config.ServeUnrecorded = serve
		broken := errors.New("broken")
		l.failed(broken)
		if err := l.Ready(); (err == nil) != serve {
			t.Errorf("serve %v: ready says %v", serve, err)
		}
		seq, err := l.Intend(intent("/a")) // the journal itself works
		if err != nil {
			t.Fatal(err)
		}
		l.owe(seq, Answer{Code: "Unavailable"})
		l.unrecord()
		l.failed(nil)
		if err := l.Ready(); err != nil {
			t.Error(err)
		}
		if err := l.Close("x"); err != nil {
			t.Fatal(err)
		}
		var gaps, outcomes int
		for _, e := range readAll(t, dir) {
			if e.Kind == "outcome" && *e.Of == seq && e.Code == "Unavailable" {
				outcomes++
			}
			for _, c := range e.Counts {
				if e.Kind == "gap" && c == (Count{Code: "unrecorded", N: 1}) {
					gaps++
				}
			}
		}
		if gaps != 1 || outcomes != 1 {
			t.Errorf("serve %v: %d gaps and %d outcomes that were owed", serve, gaps, outcomes)
		}
	}
}

func TestRevisionsThatNoEventExplainsAreTold(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	seq, err := l.Intend(intent("/a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Conclude(context.Background(), outcome(seq)); err != nil { // revision 7
		t.Fatal(err)
	}
	if err := l.journal.Close(); err != nil { // as if killed
		t.Fatal(err)
	}
	l, err = Open(context.Background(), Config{Dir: dir, SegmentBytes: 1 << 20, Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Revision: 9})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close("x"); err != nil {
		t.Fatal(err)
	}
	for _, e := range readAll(t, dir) {
		if e.Kind == "gap" {
			if e.From != "7" || e.To != "9" {
				t.Errorf("the gap is from %s to %s", e.From, e.To)
			}
			return
		}
	}
	t.Error("there is no gap")
}

// A log that runs for long has its proofs for what it still has, and nothing of the rest.
func TestOldSegmentsGoWithAllThatWasBesideThem(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(context.Background(), Config{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 512 << 10, MinFreeBytes: 1,
		Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	read := intent(strings.Repeat("k", 100))
	read.Kind = Read
	for i := range 12000 {
		if err := l.Record(context.Background(), read); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 { // let the journal close and expire segments
			if err := l.Settle(context.Background(), read); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	if err := l.Close("x"); err != nil {
		t.Fatal(err)
	}
	segments, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	hashes, _ := filepath.Glob(filepath.Join(dir, "*.hashes"))
	if len(segments) < 2 || len(segments) > 9 || filepath.Base(segments[0]) == "00000000000000000000.jsonl" {
		t.Fatalf("the segments are %q", segments)
	}
	if len(hashes) == 0 || len(hashes) > len(segments)+1 {
		t.Errorf("%d files of hashes beside %d segments", len(hashes), len(segments))
	}
	report, err := evidence.Verify(context.Background(), evidence.Config{Dir: dir})
	if err != nil || !report.Holds() {
		t.Errorf("%v, %+v", err, report.Findings[:min(1, len(report.Findings))])
	}
	l = open(t, dir) // which reads it all again
	if l.tree.First() == 0 {
		t.Error("the tree begins with events that have expired")
	}
	if err := l.Close("x"); err != nil {
		t.Fatal(err)
	}
}
