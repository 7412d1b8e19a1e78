package search

import (
	"context"
	"flag"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/audit/journal"
)

var (
	bigDir    = flag.String("search.dir", "", "where the log of TestBigLog… is, made if there is none; they run only with it")
	bigEvents = flag.Int("search.events", 10_000_000, "events in it")
)

// bigLog is a log of the size that matters, the same every time.
func bigLog(t *testing.T) (*Record, []journal.Segment) {
	t.Helper()
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
	}
	t.Logf("%d segments, %d MB, %d CPUs", len(all), size>>20, runtime.GOMAXPROCS(0))
	return New(Config{Logs: []Log{{"m1", *bigDir}}}), all
}

// timed says how long something took, and how much of the CPUs: on a busy machine that
// is what can be compared.
func timed(t *testing.T, name string, do func() (int, error)) {
	t.Helper()
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	begin, used := time.Now(), cpu()
	n, err := do()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%-30s %8d  %6d ms, %6d ms of CPU", name, n, time.Since(begin).Milliseconds(), (cpu() - used).Milliseconds())
}

// TestBigLogIndex and TestBigLogQueries measure; they hold nothing to a time. Run them
// with
//
//	go test ./audit/search -run TestBigLog -v -search.dir /tmp/big
func TestBigLogIndex(t *testing.T) {
	r, all := bigLog(t)
	for _, s := range all {
		_ = os.Remove(besideIt(s.Path))
	}
	timed(t, "all indexes built", func() (int, error) {
		f, err := r.Find(context.Background(), Query{Seqs: &Span{5, 5}}, Page{Limit: 100}, func(*Row) error { return nil })
		return f.Rows, err
	})
	size := int64(0)
	for _, s := range all[:len(all)-1] {
		info, err := os.Stat(besideIt(s.Path))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	t.Logf("they have %d MB", size>>20)
	memory(t)
}

func memory(t *testing.T) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	t.Logf("at most %d MB resident", u.Maxrss>>10)
}

func TestBigLogQueries(t *testing.T) {
	r, _ := bigLog(t)
	find := func(name string, q Query, p Page) {
		for range 2 {
			timed(t, name, func() (int, error) {
				found, err := r.Find(context.Background(), q, p, func(*Row) error { return nil })
				return found.Rows, err
			})
		}
	}
	newest := Page{Limit: 100}
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
	find("event 5000000", Query{Seqs: &Span{5_000_000, 5_000_000}}, newest)
	for _, since := range []time.Time{{}, at.Add(time.Hour)} {
		timed(t, "stats", func() (int, error) {
			s, err := r.Stats(context.Background(), Query{Since: since})
			return len(s.Uses), err
		})
	}
	memory(t)
}
