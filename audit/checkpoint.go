package audit

import (
	"context"
	"time"

	"github.com/etcdguard/etcdguard/audit/evidence"
)

// Run makes checkpoints and summaries until ctx ends.
func (l *Log) Run(ctx context.Context) {
	checkpoint, summary := time.NewTicker(l.config.CheckpointInterval), time.NewTicker(l.config.SummaryInterval)
	defer checkpoint.Stop()
	defer summary.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-checkpoint.C:
			l.checkpoint()
		case <-summary.C:
			l.summarize(ctx)
		}
	}
}

// checkpoint signs what the log has now, if that is more than at the checkpoint before.
func (l *Log) checkpoint() {
	if l.events.Load() == 0 {
		return
	}
	n := l.events.Swap(0)
	if _, err := l.journal.Append(checkpointEntry{l}); err != nil {
		l.events.Add(n)
		return // the log says itself why it fails
	}
	l.metrics.count(Checkpoint)
}

// checkpointEntry is a checkpoint of the events before it, whatever they are by the time
// that its turn comes.
type checkpointEntry struct{ log *Log }

func (c checkpointEntry) AppendTo(b []byte, seq uint64, at time.Time) []byte {
	l := c.log
	e := Event{Kind: Checkpoint}
	var err error
	if e.Note, err = l.signer.Checkpoint(int64(seq), l.tree.Root()); err != nil {
		e.Reason = "signing: " + err.Error()
	} else {
		l.latest.Store(&evidence.Log{Signer: l.signer, Checkpoint: e.Note, Prover: l.tree.Prover(l.lines)})
	}
	return e.AppendTo(b, seq, l.clock.stamp(at))
}
