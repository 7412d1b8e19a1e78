package load

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pace says how long a workload runs.
type Pace struct {
	Warm   time.Duration // same load as in the window, not counted
	Window time.Duration // counted
}

// Sample is what one window saw.
type Sample struct {
	Ops     int           // operations that ended inside the window
	Elapsed time.Duration // the window as it really was
	P50     time.Duration
	P99     time.Duration
	// Timed is how many durations P50 and P99 stand on. It differs from Ops
	// where one timed step counts as many operations (an event that reaches
	// 1,000 watchers).
	Timed int
}

// step is one closed-loop client's next request: it returns when the answer is
// there and has been checked.
type step func(ctx context.Context) error

// The phases of a run, in order.
const (
	warming int32 = iota
	counting
	draining
)

// drive runs every client in a closed loop through warm-up and window. edge is
// called right before the window opens and right after it closes. Operations
// count when they end inside the window, wherever they began: in a steady state
// as many begin before it as end after it.
//
// After the window the clients finish what is under way, so that the server is
// idle when drive returns.
func drive(ctx context.Context, clients []step, weight int, pace Pace, edge func()) (Sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var phase atomic.Int32
	var clientsDone sync.WaitGroup
	durations := make([][]time.Duration, len(clients))
	for i, next := range clients {
		durations[i] = make([]time.Duration, 0, 4096)
		clientsDone.Go(func() {
			for phase.Load() != draining {
				began := time.Now()
				if err := next(ctx); err != nil {
					cancel(err)
					return
				}
				if phase.Load() == counting {
					durations[i] = append(durations[i], time.Since(began))
				}
			}
		})
	}

	sleep(ctx, pace.Warm)
	edge()
	opened := time.Now()
	phase.Store(counting)
	sleep(ctx, pace.Window)
	phase.Store(draining)
	elapsed := time.Since(opened)
	edge()

	drained := make(chan struct{})
	go func() { clientsDone.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(drainLimit):
		cancel(fmt.Errorf("%d clients: an answer is still missing %v after the window", len(clients), drainLimit))
		<-drained
	}
	if err := context.Cause(ctx); err != nil {
		return Sample{}, err
	}

	all := slices.Concat(durations...)
	if len(all) == 0 {
		return Sample{}, fmt.Errorf("no operation ended in %v: use a longer -window", elapsed)
	}
	slices.Sort(all)
	return Sample{
		Ops:     len(all) * weight,
		Elapsed: elapsed,
		P50:     quantile(all, 0.50),
		P99:     quantile(all, 0.99),
		Timed:   len(all),
	}, nil
}

// drainLimit bounds the wait for answers after the window. It is no
// expectation, only the point at which an answer counts as lost.
const drainLimit = time.Minute

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// quantile is the nearest-rank quantile of sorted: the smallest element that at
// least q of them do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	rank := int(q * float64(len(sorted)))
	if float64(rank) < q*float64(len(sorted)) {
		rank++
	}
	return sorted[max(rank, 1)-1]
}
