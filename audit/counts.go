package audit

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// counts is what was not written since the last summary.
type counts struct {
	mu    sync.Mutex
	since time.Time
	of    map[countKey]*Count
}

type countKey struct {
	caller, level string
	action        etcdapi.Action
	code          string
}

func (c *counts) add(k countKey, a *Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.of[k]
	if n == nil {
		if c.of == nil {
			c.of, c.since = map[countKey]*Count{}, time.Now()
		}
		n = &Count{Action: k.action.String(), Code: k.code, Level: k.level}
		c.of[k] = n
	}
	n.N++
	n.Keys += a.Keys
	n.Bytes += a.Bytes
}

func (c *counts) take() (since time.Time, of map[countKey]*Count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since, of = c.since, c.of
	c.of = nil
	return since, of
}

// summarize records what was only counted: an event for each caller.
func (l *Log) summarize(ctx context.Context) {
	since, of := l.counts.take()
	byCaller := map[string][]Count{}
	for k, n := range of {
		byCaller[k.caller] = append(byCaller[k.caller], *n)
	}
	for name, counts := range byCaller {
		slices.SortFunc(counts, func(a, b Count) int {
			return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Level, b.Level))
		})
		e := Event{Kind: Summary, Caller: NewCaller(Identity{Name: name}), Counts: counts,
			From: since.UTC().Format(timeFormat), To: time.Now().UTC().Format(timeFormat)}
		_ = l.Record(ctx, &e) // if the log fails it says so itself, with what is missing
	}
}
