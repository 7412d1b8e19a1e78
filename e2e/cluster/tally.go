package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Tally adds up the decisions of all members for as long as it runs, across
// restarts: a member that is killed takes its counters with it.
type Tally struct {
	members []*Member
	config  *tls.Config

	// reading is held from asking to storing: an older answer that is stored after a
	// newer one would look like the counters of a new process.
	reading sync.Mutex

	mu    sync.Mutex
	past  map[Decision]int            // of processes that are gone
	now   map[string]map[Decision]int // of those that run, by member
	reads int
}

// Count starts a Tally that reads every member once a second until the test ends.
// It needs a certificate that may read metrics.
func (c *Cluster) Count(t testing.TB) *Tally {
	t.Helper()
	tally := &Tally{members: c.Members, config: c.TLS(t, "monitor"), past: map[Decision]int{}, now: map[string]map[Decision]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for ctx.Err() == nil {
			for _, m := range tally.members {
				tally.Read(ctx, m) // a member that is down answers nothing
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { cancel(); group.Wait() })
	return tally
}

// Read takes the member's counters once, now.
func (t *Tally) Read(ctx context.Context, m *Member) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	t.reading.Lock()
	defer t.reading.Unlock()
	counts, err := m.Decisions(ctx, t.config)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reads++
	before := t.now[m.Name]
	for d, n := range before {
		if counts[d] < n { // counters only go back when their process is another
			for d, n := range before {
				t.past[d] += n
			}
			break
		}
	}
	t.now[m.Name] = counts
	return nil
}

// Total is every decision that was seen about a caller, by action and result.
func (t *Tally) Total(caller string) map[Decision]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := map[Decision]int{}
	add := func(counts map[Decision]int) {
		for d, n := range counts {
			if d.Caller == caller && n > 0 {
				total[d] += n
			}
		}
	}
	add(t.past)
	for _, counts := range t.now {
		add(counts)
	}
	return total
}

// Table prints decisions, one a line.
func Table(decisions map[Decision]int) string {
	var lines []string
	for d, n := range decisions {
		lines = append(lines, fmt.Sprintf("  %-16s %-28s %-9s %8d", d.Caller, d.Action, d.Result, n))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
