package reseal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// Config says what Run is to do.
type Config struct {
	Store Store
	Ring  *keyring.Ring
	Range etcdapi.Range
	// Want is the form to bring values into. It must be the one in which the ring
	// writes: Run never decides by itself what is sealed.
	Want Form
	// Total is how many values are to be rewritten, by an Estimate; it is for the
	// progress alone.
	Total int64
	// Rate bounds the values rewritten in a second; 0 is DefaultRate. How many it
	// really is depends on what clients are to notice: see pacer.
	Rate int
	// Sizes, if not nil, are asked now and then; Run stops before the quota.
	Sizes func() Sizes
	// Report, if not nil, is told about the progress, about once in ReportEvery
	// (0: a second), from one goroutine at a time.
	Report      func(Progress)
	ReportEvery time.Duration

	unpaced bool // tests are in a hurry
}

// DefaultRate bounds the values rewritten in a second where nobody says otherwise.
const DefaultRate = 1000

// workers is how many rewrites are on their way at once. Each is a request of its
// own, at a revision of its own: a Txn with several would give several keys one
// revision, and a Kubernetes client that resumes a watch at a revision is not told
// of the rest of it.
const workers = 8

// Progress is how far a Run is.
type Progress struct {
	Seen      int64 `json:"seen"`      // values
	Rewritten int64 `json:"rewritten"` // by this Run
	Raced     int64 `json:"raced"`     // that a client, or another Run, brought into the form first
	Problems  int64 `json:"problems"`  // that can't be rewritten
	Total     int64 `json:"total"`     // to be rewritten, when it was estimated
	// PerSecond is the rate of the last seconds; Left the time that the rest takes at
	// that rate, 0 where that is not known.
	PerSecond float64       `json:"perSecond"`
	Left      time.Duration `json:"leftNanoseconds"`
	At        string        `json:"at,omitempty"` // the key that was read last
}

// Problem is a value that does not open, or can't be brought into the form.
type Problem struct {
	Key         []byte `json:"key"`
	ModRevision int64  `json:"modRevision"`
	Reason      string `json:"reason"`
}

// Result is what a Run did.
type Result struct {
	Progress
	First    []Problem `json:"firstProblems,omitempty"`
	Revision int64     `json:"revision"` // up to which it read
}

// ErrProblems: some values could not be brought into the form.
var ErrProblems = errors.New("some values could not be rewritten")

// errDirection: the ring went into another phase.
var errDirection = errors.New("the phase of sealing is not the one that this rewriting is for; see etcdguard seal status")

// Run brings every value of a range into a form. It stops at the first error that is
// not the fault of one value, or when ctx ends; what it did so far stays, and a later
// Run goes on from there. The Result is there on errors, too.
func Run(ctx context.Context, c Config) (Result, error) {
	if c.Rate <= 0 {
		c.Rate = DefaultRate
	}
	if c.ReportEvery <= 0 {
		c.ReportEvery = time.Second
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{Config: c, cancel: cancel, pace: newPacer(float64(c.Rate)), todo: make(chan *mvccpb.KeyValue)}
	var working sync.WaitGroup
	for range workers {
		working.Go(func() { r.work(ctx) })
	}
	var watching sync.WaitGroup
	done := make(chan struct{})
	watching.Go(func() { r.watch(done) })
	_, to, err := walk(ctx, c.Store, c.Range, func(kvs []*mvccpb.KeyValue) error { return r.page(ctx, kvs) })
	close(r.todo)
	working.Wait()
	close(done)
	watching.Wait()
	// A worker's error is why the walk's context ended.
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	result := Result{Progress: r.progress(), First: r.first, Revision: to}
	if err == nil && result.Problems > 0 {
		err = ErrProblems
	}
	return result, err
}

// run is a Run under way.
type run struct {
	Config
	cancel context.CancelCauseFunc
	pace   *pacer
	todo   chan *mvccpb.KeyValue

	seen, rewritten, raced, problems atomic.Int64
	meter                            meter

	mu    sync.Mutex
	first []Problem
	at    []byte
}

func (r *run) page(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	for _, kv := range kvs {
		r.seen.Add(1)
		if r.Want.has(kv.Value) {
			continue
		}
		if !r.unpaced {
			if err := r.pace.wait(ctx); err != nil {
				return err
			}
		}
		select {
		case r.todo <- kv:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r.mu.Lock()
	r.at = kvs[len(kvs)-1].Key
	r.mu.Unlock()
	return nil
}

func (r *run) work(ctx context.Context) {
	for kv := range r.todo {
		if ctx.Err() != nil {
			continue // until the walk has noticed
		}
		if err := r.rewrite(ctx, kv); err != nil {
			r.cancel(err)
		}
	}
}

// watch reports, and stops before the database is full.
func (r *run) watch(done <-chan struct{}) {
	tick := time.NewTicker(r.ReportEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if r.Sizes != nil {
			if s := r.Sizes(); s.Quota > 0 && s.File > s.Quota/100*stopAt {
				r.cancel(fmt.Errorf("the database has reached %d %% of its quota: compact and defragment, then run this again; what was rewritten stays", stopAt))
				return
			}
		}
		r.meter.mark(time.Now(), r.rewritten.Load())
		if r.Report != nil {
			r.Report(r.progress())
		}
	}
}

// stopAt is how much of the quota may be full while a Run goes on, in percent. It is
// above fullAt, so that a Run that was let begin ends.
const stopAt = 90

func (r *run) progress() Progress {
	r.mu.Lock()
	at := string(r.at)
	r.mu.Unlock()
	p := Progress{Seen: r.seen.Load(), Rewritten: r.rewritten.Load(), Raced: r.raced.Load(),
		Problems: r.problems.Load(), Total: r.Total, PerSecond: r.meter.perSecond(), At: at}
	if rest := p.Total - p.Rewritten - p.Raced - p.Problems; rest > 0 && p.PerSecond > 0 {
		p.Left = time.Duration(float64(rest) / p.PerSecond * float64(time.Second)).Round(time.Second)
	}
	return p
}

func (r *run) problem(kv *mvccpb.KeyValue, reason string) {
	r.problems.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.first) < Examples {
		r.first = append(r.first, Problem{Key: kv.Key, ModRevision: kv.ModRevision, Reason: reason})
	}
}
