package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/etcdguard/etcdguard/bench/contender"
	"github.com/etcdguard/etcdguard/bench/load"
	"github.com/etcdguard/etcdguard/bench/report"
)

// resealName is what the measurement of resealing is called beside the workloads.
const resealName = "reseal"

const (
	// resealTurns are the windows with resealing of each load in a round. Before each,
	// and after the last, is one without.
	resealTurns = 2
	// leadIn is how long load and resealing run together before their window: the
	// member looks at what there is to do first, and then for its pace.
	leadIn = 10 * time.Second
	// resealQuota is more than any machine fills meanwhile.
	resealQuota = "--quota-backend-bytes=17179869184"
)

// resealLoads are those under which values are rewritten: one that competes for raft
// and the disk, and one for the processor.
var resealLoads = []string{"put", "get"}

// reseal measures, on a member of its own, how fast values are rewritten under a new
// data key, and what clients notice of it.
func (b *bench) reseal(ctx context.Context, round int, home string) (err error) {
	i := slices.IndexFunc(b.contenders, func(c contender.Contender) bool { return c.Name == contender.Guard })
	if i < 0 {
		return errors.New("there is no etcdguard")
	}
	guard := b.contenders[i]
	b.say(round, "%s: starting and filling", resealName)
	p, err := guard.Start(ctx, home, b.pki, resealQuota)
	if err != nil {
		return err
	}
	defer p.Stop()
	if err := errors.Join(load.Fill(ctx, b.target(p)), load.FillAtRest(ctx, b.target(p))); err != nil {
		return errors.Join(err, p.Alive())
	}
	if err := b.resealIdle(ctx, round, p); err != nil {
		return err
	}
	for _, w := range load.Workloads() {
		if slices.Contains(resealLoads, w.Name) {
			if err := b.resealUnder(ctx, round, w, guard, p); err != nil {
				return fmt.Errorf("under %s: %w", w.Name, err)
			}
		}
	}
	return nil
}

// resealIdle rewrites half of the values on a member that has nothing else to do.
func (b *bench) resealIdle(ctx context.Context, round int, p *contender.Process) error {
	if err := p.Rotate(ctx, b.pki.Client()); err != nil {
		return err
	}
	began := time.Now()
	n, err := p.Reseal(ctx, b.pki.Client(), load.AtRestPrefix+"0000", nil)
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("there was nothing to rewrite")
	}
	idle := report.ResealIdle{Round: round + 1, Values: n, Seconds: time.Since(began).Seconds()}
	b.figures.Reseal.Idle = append(b.figures.Reseal.Idle, idle)
	b.say(round, "%s: %d values in %.1f s, %.0f values/s, with nothing else to do", resealName, n, idle.Seconds, float64(n)/idle.Seconds)
	return nil
}

// resealUnder takes windows of one load in turns, without and with resealing.
func (b *bench) resealUnder(ctx context.Context, round int, w load.Workload, c contender.Contender, p *contender.Process) error {
	for turn := range 2*resealTurns + 1 {
		window := report.ResealWindow{Resealing: turn%2 == 1}
		var err error
		if window.Resealing {
			window.Measurement, window.PerSecond, err = b.resealWindow(ctx, round, w, c, p)
		} else {
			window.Measurement, err = b.sample(ctx, round, w, c, p, b.cfg.pace)
		}
		if err != nil {
			return errors.Join(err, p.Alive())
		}
		b.figures.Reseal.Windows = append(b.figures.Reseal.Windows, window)
		b.say(round, "%s: %4.0f values/s %s", resealName, window.PerSecond, figures(w, window.Measurement))
		time.Sleep(settle)
	}
	return nil
}

// resealWindow is a window during which values are rewritten, so many a second.
func (b *bench) resealWindow(ctx context.Context, round int, w load.Workload, c contender.Contender, p *contender.Process) (report.Measurement, float64, error) {
	if err := p.Rotate(ctx, b.pki.Client()); err != nil {
		return report.Measurement{}, 0, err
	}
	r := beginReseal(ctx, p, b.pki.Client())
	defer r.end()
	m, err := b.sample(ctx, round, w, c, p, load.Pace{Warm: leadIn, Window: b.cfg.pace.Window})
	if err != nil {
		return m, 0, err
	}
	closed := time.Now()
	rate, err := r.rate(closed.Add(-b.cfg.pace.Window), closed)
	return m, rate, err
}

// resealing is a call that goes on until it is ended.
type resealing struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu    sync.Mutex
	marks []mark
	err   error // why it ended by itself
}

// mark is how many values were rewritten by then.
type mark struct {
	at   time.Time
	done int64
}

func beginReseal(ctx context.Context, p *contender.Process, client *tls.Config) *resealing {
	ctx, cancel := context.WithCancel(ctx)
	r := &resealing{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		_, err := p.Reseal(ctx, client, load.AtRestPrefix, r.mark)
		if err == nil {
			err = errors.New("every value was rewritten before the window was over: there are too few")
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	}()
	return r
}

func (r *resealing) mark(done int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, mark{time.Now(), done})
}

// rate is how many values a second were rewritten between two moments, as far as the
// member has said. It is an error if it was not under way all the time.
func (r *resealing) rate(from, to time.Time) (float64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	within := slices.DeleteFunc(slices.Clone(r.marks), func(m mark) bool { return m.at.Before(from) || m.at.After(to) })
	if len(within) < 2 {
		return 0, fmt.Errorf("the member said %d times within the window how far the resealing is, want 2: use a longer -window", len(within))
	}
	first, last := within[0], within[len(within)-1]
	return float64(last.done-first.done) / last.at.Sub(first.at).Seconds(), nil
}

// end returns when the member rewrites nothing more.
func (r *resealing) end() {
	r.cancel()
	<-r.ended
}
