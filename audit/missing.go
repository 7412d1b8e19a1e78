package audit

import (
	"context"
	"log/slog"
	"time"
)

// owedOutcome is the end of a request whose intent is in the log.
type owedOutcome struct {
	intent uint64
	answer Answer
}

// mostOwed bounds what is owed while the log fails: no more requests can have been under
// way when it did.
const mostOwed = 1 << 16

// unrecord counts a request that is served without being on record, and refuse one that
// is not served for it.
func (l *Log) unrecord() {
	l.metrics.unrecorded.Inc()
	l.missing(func() { l.unrecorded++ })
}

func (l *Log) refuse() { l.missing(func() { l.refused++ }) }

func (l *Log) owe(intent uint64, a Answer) {
	l.missing(func() {
		if len(l.owed) < mostOwed {
			l.owed = append(l.owed, owedOutcome{intent, a})
		}
	})
}

// missing notes what the log lacks until account tells of it.
func (l *Log) missing(note func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failedAt.IsZero() {
		l.failedAt = time.Now()
	}
	note()
	l.owing.Store(true)
}

// failed is told by the journal when it fails, and with nil when it works again.
func (l *Log) failed(why error) {
	if why != nil {
		l.missing(func() {})
		l.failing.Store(&why)
		l.log.Error("the audit log can't be written", slog.Any("error", why), slog.Bool("serving-unrecorded", l.config.ServeUnrecorded))
		return
	}
	l.failing.Store(nil)
	if l.owing.CompareAndSwap(true, false) {
		l.account()
	}
}

// account writes what is owed since the log failed, and that it did.
func (l *Log) account() {
	l.mu.Lock()
	owed, refused, unrecorded, since := l.owed, l.refused, l.unrecorded, l.failedAt
	l.owed, l.refused, l.unrecorded, l.failedAt = nil, 0, 0, time.Time{}
	l.mu.Unlock()
	for i := range owed {
		_ = l.Record(context.Background(), &Event{Kind: Outcome, Of: owed[i].intent, Answer: &owed[i].answer})
	}
	gap := Event{Kind: Gap, Reason: "the log could not be written",
		From: since.UTC().Format(timeFormat), To: time.Now().UTC().Format(timeFormat),
		Counts: []Count{{Code: "refused", N: refused}, {Code: "unrecorded", N: unrecorded}}}
	if err := l.Settle(context.Background(), &gap); err != nil {
		l.missing(func() { // it failed again: what was to be told still is
			l.refused, l.unrecorded, l.failedAt = l.refused+refused, l.unrecorded+unrecorded, since
		})
		return
	}
	l.log.Info("the audit log can be written again", slog.Int64("refused", refused), slog.Int64("unrecorded", unrecorded))
}
