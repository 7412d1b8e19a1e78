package reseal

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pacer decides how fast values are rewritten, so that clients keep at least nine
// tenths of their throughput.
//
// It can't see the clients, but it shares their way through raft and the disk: what
// its own writes wait, theirs wait. So it takes turns. For a fifth of each cycle it
// writes so little that it learns how long a write takes without it; for the rest it
// writes at its rate. Clients that wait for each answer lose as much throughput as
// their answers get slower, and so the rate goes down where writes take more than
// slower times as long while it works, and up where they take less.
type pacer struct {
	most float64 // values a second

	mu          sync.Mutex
	rate        float64 // values a second, in a busy phase
	next        time.Time
	cycle       time.Time       // when it began
	quiet, busy []time.Duration // of this cycle
	baselines   []time.Duration // medians of the last quiet phases
}

const (
	cycleTime = 2 * time.Second
	quietTime = cycleTime / 5
	// settleTime is what is left of the busy phase at the beginning of a quiet one.
	settleTime = quietTime / 4
	// slower is how much longer writes may take while values are rewritten.
	slower = 1.06
	// firstRate is where the rate begins, floor where it stays for progress' sake.
	firstRate = 50
	floor     = 20
	// quietRate is that of a quiet phase: enough to measure by.
	quietRate = 20
	// enough samples make a median worth anything.
	enough = 4
	// remembered baselines are compared with: one cycle's can be a bad one.
	remembered = 8
)

func newPacer(most float64) *pacer {
	return &pacer{most: most, rate: min(firstRate, most)}
}

// wait returns when the next value may be rewritten.
func (p *pacer) wait(ctx context.Context) error {
	if d := p.delay(time.Now()); d > 0 {
		return rest(ctx, d)
	}
	return ctx.Err()
}

// delay takes the next place and says how far away it is.
func (p *pacer) delay(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.cycle) >= cycleTime {
		p.endCycle()
		p.cycle = now
	}
	rate := p.rate
	if p.isQuiet(now) {
		rate = min(rate, quietRate)
	}
	if p.next.Before(now) {
		p.next = now // nobody saves up places
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(time.Second) / rate))
	return d
}

func (p *pacer) isQuiet(at time.Time) bool { return at.Sub(p.cycle) < quietTime }

// took tells how long a write took that began then.
func (p *pacer) took(began time.Time, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch since := began.Sub(p.cycle); {
	case since < settleTime: // still under the load of before
	case since < quietTime:
		p.quiet = append(p.quiet, d)
	default:
		p.busy = append(p.busy, d)
	}
}

// endCycle compares the phases of a cycle and sets the rate of the next.
func (p *pacer) endCycle() {
	quiet, busy := p.quiet, p.busy
	p.quiet, p.busy = nil, nil
	if len(quiet) < enough || len(busy) < enough {
		return
	}
	p.baselines = append(p.baselines, median(quiet))
	if len(p.baselines) > remembered {
		p.baselines = p.baselines[1:]
	}
	ratio := float64(median(busy)) / float64(max(1, median(slices.Clone(p.baselines))))
	// At most by a third up and by half down, and by less near the goal.
	p.rate *= min(1.3, max(0.5, 1+4*(slower-ratio)))
	p.rate = min(p.most, max(floor, p.rate))
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
