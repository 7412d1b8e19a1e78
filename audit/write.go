package audit

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/etcdguard/etcdguard/audit/journal"
	"github.com/etcdguard/etcdguard/etcdapi"
)

// NoIntent is the number of an intent that is not on record.
const NoIntent = ^uint64(0)

// of makes an event a line of the journal.
func (e *Event) of(l *Log) journal.Entry {
	e.clock = &l.clock
	return (*entry)(e)
}

type entry Event

func (e *entry) AppendTo(b []byte, seq uint64, at time.Time) []byte {
	return (*Event)(e).AppendTo(b, seq, e.clock.stamp(at))
}

// Ready is nil while requests may be served: unless the log can't be written, and no
// request is to go unrecorded.
func (l *Log) Ready() error {
	if l.config.ServeUnrecorded {
		return nil
	}
	if failing := l.failing.Load(); failing != nil {
		l.refuse()
		return *failing
	}
	return nil
}

// Intend records an intent, and returns its number. It is in the file then, and on its
// way to stable storage.
func (l *Log) Intend(e *Event) (intent uint64, err error) {
	seq, err := l.journal.WriteAwaited(e.of(l))
	if err == nil {
		l.wrote(e)
		return seq, nil
	}
	failed := (*journal.FailedError)(nil)
	taken := errors.As(err, &failed) && failed.Taken
	if l.config.ServeUnrecorded {
		if taken {
			return seq, nil
		}
		l.unrecord()
		return NoIntent, nil
	}
	if taken { // it will be in the log, and so what became of it has to be
		l.owe(seq, Answer{Code: "Unavailable"})
	}
	l.refuse()
	return NoIntent, err
}

// Await returns once the event is on stable storage.
func (l *Log) Await(ctx context.Context, seq uint64) error {
	if seq == NoIntent {
		return nil
	}
	return l.settled(l.journal.Await(ctx, seq))
}

// Conclude records the outcome of an intent, and returns once the intent is on stable
// storage.
func (l *Log) Conclude(ctx context.Context, e *Event) error {
	if e.Of == NoIntent {
		return nil
	}
	if _, err := l.journal.Write(e.of(l)); err != nil {
		failed := (*journal.FailedError)(nil)
		if !errors.As(err, &failed) || !failed.Taken {
			l.owe(e.Of, *e.Answer)
		}
		return l.settled(err)
	}
	l.wrote(e)
	return l.settled(l.journal.Await(ctx, e.Of))
}

// Settle records an event, and returns once it is on stable storage.
func (l *Log) Settle(ctx context.Context, e *Event) error {
	seq, err := l.journal.WriteAwaited(e.of(l))
	if err != nil {
		return l.unwritten(err)
	}
	l.wrote(e)
	return l.settled(l.journal.Await(ctx, seq))
}

// Record records an event; it is in the file within a moment.
func (l *Log) Record(_ context.Context, e *Event) error {
	if _, err := l.journal.Append(e.of(l)); err != nil {
		return l.unwritten(err)
	}
	l.wrote(e)
	return nil
}

// unwritten is what it means for a request that its event could not be written.
func (l *Log) unwritten(err error) error {
	if l.config.ServeUnrecorded {
		l.unrecord()
	} else {
		l.refuse()
	}
	return l.settled(err)
}

// settled is what an error of the journal means for a request.
func (l *Log) settled(err error) error {
	if l.config.ServeUnrecorded {
		return nil
	}
	return err
}

func (l *Log) wrote(e *Event) {
	if l.owing.CompareAndSwap(true, false) {
		go l.account()
	}
	// What members only tell each other is worth no checkpoint, or they would never
	// come to rest.
	if e.Kind != Witness && e.Kind != SignerKey {
		l.events.Add(1)
	}
	l.metrics.count(e.Kind)
}

// Act records something that etcdguard did itself; detail is names and values in turn.
func (l *Log) Act(what string, detail ...string) {
	e := Event{Kind: System, What: what, Detail: detail}
	if err := l.Record(context.Background(), &e); err != nil {
		l.log.Error("an act of etcdguard's own is not in the audit log", slog.String("what", what), slog.Any("error", err))
	}
}

// Count counts a request that is not written.
func (l *Log) Count(c *Caller, level string, action etcdapi.Action, a *Answer) {
	l.counts.add(countKey{c.name, level, action, a.Code}, a)
}
