package search

import (
	"context"
	"sync"
	"time"

	"github.com/etcdguard/etcdguard/audit/journal"
)

const (
	// lookEvery is how often a log is looked at for more.
	lookEvery = 200 * time.Millisecond

	// patience is how long an intent is held back for its outcome.
	patience = time.Second

	// mostHeld bounds the intents that wait for an outcome, which is then shown alone.
	mostHeld = 10_000
)

// Follow gives the rows that a query wants as they are written, from where found ended
// on, until ctx ends. A request comes when it was answered; one that was not for a second
// comes without, and once more when it is, as do those that Find gave without. Of several logs the rows come as they are seen.
func (r *Record) Follow(ctx context.Context, found Found, q Query, yield func(*Row) error) error {
	asked := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var mu sync.Mutex
	var logs sync.WaitGroup
	for _, log := range r.Logs {
		logs.Go(func() {
			f := follower{log: log.Name, q: &q, held: map[uint64]*held{}, yield: func(row *Row) error {
				mu.Lock()
				defer mu.Unlock()
				return yield(row)
			}}
			for _, row := range found.unanswered {
				if row.Log == log.Name {
					f.hold(row.Event, true)
				}
			}
			if err := f.follow(ctx, log.Dir, found.next[log.Dir]); err != nil {
				stop(err)
			}
		})
	}
	logs.Wait()
	if asked.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// follower puts the rows of one log together.
type follower struct {
	log   string
	q     *Query
	yield func(*Row) error

	held  map[uint64]*held // intents without an outcome
	order []*held          // the same, oldest first
}

type held struct {
	event *Event
	since time.Time
	shown bool
}

func (f *follower) follow(ctx context.Context, dir string, from uint64) error {
	lines := make(chan *Event)
	failed := make(chan error, 1)
	go func() {
		defer close(lines)
		for line, err := range journal.Follow(ctx, dir, from, lookEvery) {
			if err != nil {
				failed <- err
				return
			}
			e, err := decode(append([]byte(nil), line.Text...))
			if err != nil {
				continue // reading the log again counts it
			}
			select {
			case lines <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTicker(patience / 4)
	defer tick.Stop()
	for {
		select {
		case e, more := <-lines:
			if !more {
				err := f.overdue(time.Now().Add(2 * patience))
				select {
				case failure := <-failed:
					if ctx.Err() == nil {
						return failure
					}
				default:
				}
				return err
			}
			if err := f.take(e); err != nil {
				return err
			}
		case <-tick.C:
			if err := f.overdue(time.Now()); err != nil {
				return err
			}
		}
	}
}

// take puts an event into its row, and gives the row if it is whole.
func (f *follower) take(e *Event) error {
	row := &Row{Log: f.log, Event: e}
	switch {
	case e.Kind == kindIntent:
		f.hold(e, false)
		return nil
	case e.Kind == kindOutcome && e.Of != nil:
		if h := f.held[*e.Of]; h != nil {
			delete(f.held, *e.Of)
			row = &Row{Log: f.log, Event: h.event, Outcome: e}
		}
	}
	return f.give(row)
}

func (f *follower) hold(e *Event, shown bool) {
	h := &held{e, time.Now(), shown}
	f.held[e.Seq] = h
	f.order = append(f.order, h)
}

func (f *follower) give(row *Row) error {
	if !row.matches(f.q) {
		return nil
	}
	return f.yield(row)
}

// overdue gives the intents that have waited for too long, and forgets those that there
// are too many of.
func (f *follower) overdue(now time.Time) error {
	kept := f.order[:0]
	for i, h := range f.order {
		if f.held[h.event.Seq] != h {
			continue // answered
		}
		if !h.shown && now.Sub(h.since) >= patience {
			h.shown = true
			if err := f.give(&Row{Log: f.log, Event: h.event}); err != nil {
				return err
			}
		}
		if h.shown && len(f.order)-i > mostHeld {
			delete(f.held, h.event.Seq)
			continue
		}
		kept = append(kept, h)
	}
	clear(f.order[len(kept):])
	f.order = kept
	return nil
}
