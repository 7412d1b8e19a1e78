package search

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/audit/journal"
)

// everyRow reads a log in the plainest way there is: every line with encoding/json, in
// order, the first outcome that comes after an intent being its outcome.
func everyRow(t *testing.T, dir string) (rows []*Row) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(names) == 0 {
		t.Fatal("no segments", err)
	}
	seq := uint64(0)
	intents := map[uint64]*Row{}
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimRight(string(text), "\x00"), "\n")
		if i == 0 {
			if _, err := fmt.Sscanf(filepath.Base(name), "%d.jsonl", &seq); err != nil {
				t.Fatal(err)
			}
		}
		for _, line := range lines[1 : len(lines)-1] {
			e, err := decode([]byte(line))
			seq++
			if err != nil {
				continue
			}
			if e.Kind == kindOutcome && e.Of != nil {
				if row := intents[*e.Of]; row != nil {
					row.Outcome = e
					delete(intents, *e.Of)
					continue
				}
			}
			row := &Row{Event: e}
			rows = append(rows, row)
			if e.Kind == kindIntent {
				intents[e.Seq] = row
			}
		}
	}
	return rows
}

// ask is a random query of which something may come.
func ask(rnd *rand.Rand, rows []*Row) (q Query) {
	some := rows[rnd.IntN(len(rows))]
	for range 1 + rnd.IntN(3) {
		switch rnd.IntN(15) {
		case 0:
			q.Callers = []CallerIs{{"", pick(rnd, "kube-apiserver", "team-a", "7", "spiffe://example.org/team-a", "etcdguard-monitor", "who")}}
		case 1:
			q.Callers = []CallerIs{{pick(rnd, CallerFields...), pick(rnd, "admin", "etcdguard-admin", "42", "system:masters")}, {"name", "monitor"}}
		case 2:
			q.Actions = []string{pick(rnd, "KV.*", "KV.Txn", "KV.Put", "KV.Txn:Put", "KV.Txn:DeleteRange", "Auth.*", "Maintenance.Status", "*", "Watch.Watch")}
		case 3:
			q.Keys = &Keys{Begin: []byte("/team-a/4"), End: []byte("/team-a/5")}
		case 4:
			k := Prefix([]byte(pick(rnd, "/registry/secrets/", "/registry/secrets/ns-3/", "/team-a/", "/team-a/longer", "\x00\xff", "zzz", "/registry/pods/ns-7/object-with-a-name-1")))
			q.Keys = &k
		case 5:
			if len(some.Event.Access) > 0 {
				k, _ := some.Event.Access[0].Reach()
				k = OneKey(k.Begin)
				q.Keys = &k
			}
		case 6:
			q.Kinds = []string{pick(rnd, "intent", "outcome", "access", "denied", "gap", "summary", "system", "watch", "future")}
		case 7:
			q.Decisions = []string{pick(rnd, "allowed", "denied", "observed"), "limited"}
		case 8:
			q.Codes = []string{pick(rnd, "OK", "Lost", "Unavailable", "PermissionDenied", "Aborted")}
		case 9:
			q.Denied = true
		case 10:
			q.Failed = true
		case 11:
			q.Since = some.Event.Time
			if rnd.IntN(2) == 0 {
				q.Until = q.Since.Add(time.Duration(rnd.IntN(int(time.Minute))))
			}
		case 12:
			from := some.Last().Rev
			q.Revisions = &Span{from, from + int64(rnd.IntN(3))}
		case 13:
			from := int64(some.Last().Seq)
			q.Seqs = &Span{from, from + int64(rnd.IntN(30))}
		case 14:
			if some.Event.Caller != nil {
				q.Peer = some.Event.Caller.Peer
				if rnd.IntN(2) == 0 {
					q.Peer = hostOf(q.Peer)
				}
			}
		}
	}
	return q
}

func pick(rnd *rand.Rand, from ...string) string { return from[rnd.IntN(len(from))] }

// TestEveryQueryFindsWhatReadingEverythingDoes asks random questions of random logs: of
// the columns just made, of those kept, and of every line.
func TestEveryQueryFindsWhatReadingEverythingDoes(t *testing.T) {
	ctx := t.Context()
	asked, answered, both, gaps := 0, 0, 0, 0
	for seed := range uint64(2) {
		w := newWriter(t, t.TempDir(), seed, 150_000)
		w.odd = true
		w.some(t, 4000)
		w.flush(t)
		rows := everyRow(t, w.dir)
		rnd := rand.New(rand.NewPCG(seed, 2))
		records := []*Record{New(Config{Logs: []Log{{"", w.dir}}}), New(Config{Logs: []Log{{"", w.dir}}, NoIndex: true})}
		for range 100 {
			q := ask(rnd, rows)
			var want []*Row
			for _, row := range rows {
				if row.matches(&q) {
					want = append(want, row)
				}
			}
			asked++
			if len(want) > 0 {
				answered++
			}
			oldest, limit := rnd.IntN(2) == 0, rnd.IntN(3)*20
			for i, r := range records {
				if i == 1 && asked%5 != 0 {
					continue // it takes long
				}
				var got []*Row
				found, err := r.Find(ctx, q, Page{Limit: limit, OldestFirst: oldest}, func(row *Row) error { got = append(got, row); return nil })
				if err != nil {
					t.Fatal(err)
				}
				if found.Rows != len(want) {
					t.Fatalf("seed %d, %+v: %d rows, want %d", seed, q, found.Rows, len(want))
				}
				shown := slices.Clone(want)
				if !oldest {
					slices.Reverse(shown)
				}
				if limit > 0 {
					shown = shown[:min(limit, len(shown))]
				}
				if len(got) != len(shown) {
					t.Fatalf("seed %d, %+v: %d rows given, want %d", seed, q, len(got), len(shown))
				}
				for i := range got {
					if !sameRow(got[i], shown[i]) {
						t.Fatalf("seed %d, %+v: row %d is\n%s\nwant\n%s", seed, q, i, got[i].Event.Line, shown[i].Event.Line)
					}
					if got[i].Outcome != nil {
						both++
					}
					if got[i].Event.Kind == kindGap {
						gaps++
					}
				}
			}
		}
		all, err := journal.Segments(w.dir)
		if err != nil || len(all) < 5 {
			t.Fatal(len(all), err)
		}
		for _, s := range all {
			if _, err := os.Stat(besideIt(s.Path)); (err == nil) != (s.Next != 0) {
				t.Errorf("%s: index kept: %v", s.Path, err == nil)
			}
		}
	}
	if answered < asked/4 || both == 0 || gaps == 0 {
		t.Errorf("of %d questions %d had an answer, with %d intents and their outcomes and %d gaps: hardly a test", asked, answered, both, gaps)
	}
}

func sameRow(a, b *Row) bool {
	return bytes.Equal(a.Event.Line, b.Event.Line) && (a.Outcome == nil) == (b.Outcome == nil) &&
		(a.Outcome == nil || bytes.Equal(a.Outcome.Line, b.Outcome.Line))
}

func find(t *testing.T, r *Record, q Query, p Page) ([]*Row, Found) {
	t.Helper()
	var rows []*Row
	found, err := r.Find(context.Background(), q, p, func(row *Row) error { rows = append(rows, row); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return rows, found
}
