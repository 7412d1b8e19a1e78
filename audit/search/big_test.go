package search

import (
	"context"
	"flag"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/audit/journal"
)

var (
	bigDir    = flag.String("search.dir", "", "where the log of TestBigLog is, made if there is none; the test runs only with it")
	bigEvents = flag.Int("search.events", 10_000_000, "events in it")
)

// TestBigLog measures; it holds nothing to a time. Run it with
//
//	go test ./audit/search -run TestBigLog -v -search.dir /tmp/big
func TestBigLog(t *testing.T) {
	if *bigDir == "" {
		t.Skip("NOT RUN: a measurement, which wants -search.dir")
	}
	if all, _ := journal.Segments(*bigDir); len(all) == 0 {
		w := newWriter(t, *bigDir, 1, 64<<20)
		w.some(t, *bigEvents)
		w.flush(t)
	}
	all, err := journal.Segments(*bigDir)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for _, s := range all {
		size += s.Bytes
		_ = os.Remove(besideIt(s.Path))
	}
	t.Logf("%d segments, %d MB, %d CPUs", len(all), size>>20, runtime.GOMAXPROCS(0))
	r := New(Config{Logs: []Log{{"m1", *bigDir}}})
	timed := func(name string, do func() (int, error)) {
		begin := time.Now()
		n, err := do()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-44s %8d  %s", name, n, time.Since(begin).Round(time.Millisecond))
	}
	find := func(name string, q Query, p Page) {
		for range 2 {
			timed(name, func() (int, error) {
				found, err := r.Find(context.Background(), q, p, func(*Row) error { return nil })
				return found.Rows, err
			})
		}
	}
	newest := Page{Limit: 100}
	timed("all indexes built", func() (int, error) {
		f, err := r.Find(context.Background(), Query{Seqs: &Span{5, 5}}, newest, func(*Row) error { return nil })
		return f.Rows, err
	})
	key, prefix, secrets := OneKey([]byte("/team-a/77")), Prefix([]byte("/team-a/")), Prefix([]byte("/registry/secrets/"))
	one := OneKey([]byte("/registry/secrets/ns-1/object-with-a-name-77"))
	at := time.Date(2026, 11, 28, 6, 10, 0, 0, time.UTC)
	find("nothing asked", Query{}, newest)
	find("rare caller", Query{Callers: []CallerIs{{"", "backup"}}}, newest)
	find("caller that is not there", Query{Callers: []CallerIs{{"", "nobody-at-all"}}}, newest)
	find("frequent caller", Query{Callers: []CallerIs{{"", "kube-apiserver"}}}, newest)
	find("frequent caller, oldest", Query{Callers: []CallerIs{{"", "kube-apiserver"}}}, Page{Limit: 100, OldestFirst: true})
	find("rare key", Query{Keys: &key}, newest)
	find("one key of many", Query{Keys: &one}, newest)
	find("rare prefix", Query{Keys: &prefix}, newest)
	find("frequent prefix", Query{Keys: &secrets}, newest)
	find("who wrote secrets", Query{Keys: &secrets, Actions: []string{"KV.Put", "KV.Txn:Put", "KV.DeleteRange"}}, newest)
	find("denied", Query{Denied: true}, newest)
	find("failed", Query{Failed: true}, newest)
	find("Lost", Query{Codes: []string{"Lost"}}, newest)
	find("ten minutes", Query{Since: at, Until: at.Add(10 * time.Minute)}, newest)
	find("a revision", Query{Revisions: &Span{500_000, 500_000}}, newest)
	find("peer with port", Query{Peer: "10.0.2.1:40003"}, newest)
	find("Auth.*", Query{Actions: []string{"Auth.*"}}, newest)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("from the system: %d MB", m.Sys>>20)
}
