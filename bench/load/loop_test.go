package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	var hundred []time.Duration
	for i := 1; i <= 100; i++ {
		hundred = append(hundred, time.Duration(i))
	}
	for _, c := range []struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{
		{hundred, 0.50, 50},
		{hundred, 0.99, 99},
		{hundred[:99], 0.99, 99}, // 98.01 of 99: rounded up
		{hundred[:10], 0.99, 10},
		{hundred[:3], 0.50, 2},
		{hundred[:2], 0.50, 1},
		{hundred[:1], 0.50, 1},
		{hundred[:1], 0.99, 1},
	} {
		if got := quantile(c.sorted, c.q); got != c.want {
			t.Errorf("quantile %v of 1..%d is %d, want %d", c.q, len(c.sorted), got, c.want)
		}
	}
}

func TestDriveCountsTheWindowAndNothingElse(t *testing.T) {
	var edges, during atomic.Int64
	warm := make(chan struct{}, 1)
	work := func(context.Context) error {
		if edges.Load() > 0 {
			during.Add(1)
		}
		select {
		case warm <- struct{}{}:
		default:
		}
		time.Sleep(time.Millisecond)
		return nil
	}
	edge := func() {
		if edges.Load() == 0 {
			<-warm // hangs if nothing runs before the window opens
		}
		edges.Add(1)
	}
	sample, err := drive(t.Context(), []step{work, work}, 10, Pace{Window: 300 * time.Millisecond}, edge)
	if err != nil {
		t.Fatal(err)
	}
	if edges.Load() != 2 {
		t.Errorf("%d edges, want the opening and the closing one", edges.Load())
	}
	// A step begun in warm-up may end inside, one begun inside may end after.
	if slack := int64(2); int64(sample.Timed) > during.Load()+slack {
		t.Errorf("%d counted, %d ran", sample.Timed, during.Load())
	}
	if sample.Ops != 10*sample.Timed {
		t.Errorf("%d operations out of %d steps that count ten each", sample.Ops, sample.Timed)
	}
	if sample.P50 <= 0 || sample.P99 < sample.P50 {
		t.Errorf("p50 %v, p99 %v", sample.P50, sample.P99)
	}
}

func TestDriveFailsOnTheFirstWrongAnswer(t *testing.T) {
	wrong := errors.New("wrong answer")
	var left atomic.Int64
	left.Store(3)
	fails := func(context.Context) error {
		if left.Add(-1) == 0 {
			return wrong
		}
		return nil
	}
	waits := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	_, err := drive(t.Context(), []step{fails, waits}, 1, Pace{Window: time.Hour}, func() {})
	if !errors.Is(err, wrong) {
		t.Errorf("got %v, want the wrong answer", err)
	}
}

func TestDriveWithoutOperationsHasNoFigures(t *testing.T) {
	release := make(chan struct{})
	edges := 0
	slow := func(context.Context) error { <-release; return nil }
	_, err := drive(t.Context(), []step{slow}, 1, Pace{Window: time.Millisecond}, func() {
		if edges++; edges == 2 {
			close(release)
		}
	})
	if err == nil {
		t.Error("figures came out of nothing")
	}
}
