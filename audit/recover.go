package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"

	"github.com/etcdguard/etcdguard/audit/evidence"
	"github.com/etcdguard/etcdguard/audit/journal"
)

// found is what the events say that the journal replays when it is opened: how the
// process before ended.
type found struct {
	open     map[uint64]struct{} // intents without an outcome
	last     Kind
	what     string // of the last system event
	rev      int64  // the highest of an answer
	handover string // the note of the last signer event
	seen     []seen // of other logs, oldest first
	altered  error  // what is wrong with older segments
}

// seen is a witness event.
type seen struct {
	result evidence.Result
	note   string
}

func newFound() *found { return &found{open: map[uint64]struct{}{}} }

// see reads what matters of one event; one that can't be read is a matter of
// verification, not of opening.
func (f *found) see(line []byte) {
	if bytes.Contains(line, []byte(`,"kind":"checkpoint",`)) {
		return
	}
	var e struct {
		Seq          uint64
		Kind         Kind
		Of           uint64
		What         string
		Rev          int64
		Note, Result string
	}
	if json.Unmarshal(line, &e) != nil {
		return
	}
	f.last, f.what = e.Kind, e.What
	f.rev = max(f.rev, e.Rev)
	switch e.Kind {
	case Intent:
		f.open[e.Seq] = struct{}{}
	case Outcome:
		delete(f.open, e.Of)
	case SignerKey:
		f.handover = e.Note
	case Witness:
		f.seen = append(f.seen, seen{evidence.Result(e.Result), e.Note})
	}
}

// explain records how the process before ended, unless it said so itself, and that
// this one has started.
func (l *Log) explain(ctx context.Context, f *found, r journal.Recovered) error {
	for _, s := range f.seen {
		if err := l.witness.Restore(s.result, s.note); err != nil {
			l.log.Warn("an event of the audit log is not as it was written; etcdguard audit verify says more", slog.Any("error", err))
		}
	}
	if r.Next > 0 && !(f.last == System && f.what == "stopped") {
		lost := make([]uint64, 0, len(f.open))
		for intent := range f.open {
			lost = append(lost, intent)
		}
		slices.Sort(lost)
		for _, intent := range lost {
			if err := l.Record(ctx, &Event{Kind: Outcome, Of: intent, Answer: &Answer{Code: Lost}}); err != nil {
				return err
			}
		}
		gap := Event{Kind: Gap, Reason: "the process before ended without closing the log; reads of its last moments may be missing",
			From:   itoa(uint64(f.rev)),
			Counts: []Count{{Code: "lost", N: int64(len(lost))}, {Code: "dropped", Bytes: r.DroppedBytes}}}
		if l.config.Revision > f.rev {
			gap.Reason += "; what made the revisions after the first of these two was another member, etcdguard itself, or is not on record"
			gap.To = itoa(uint64(l.config.Revision))
		}
		if err := l.Record(ctx, &gap); err != nil {
			return err
		}
		l.log.Warn("the audit log was not closed by the process before",
			slog.Int("without-outcome", len(lost)), slog.Int64("dropped-bytes", r.DroppedBytes))
	}
	if f.altered != nil {
		l.log.Error("the audit log is not what it was; etcdguard audit verify says where", slog.Any("error", f.altered))
		if err := l.Record(ctx, &Event{Kind: Gap, Reason: "older events are not those that were written: " + f.altered.Error()}); err != nil {
			return err
		}
	}
	return l.Settle(ctx, &Event{Kind: System, What: "started", Detail: l.config.Started})
}
