package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etcdguard/etcdguard/audit/evidence"
	"github.com/etcdguard/etcdguard/audit/journal"
)

// Config is what a Log needs.
type Config struct {
	// Dir is the log's directory, made if there is none. Required.
	Dir string
	// SegmentBytes, MaxBytes and MinFreeBytes are those of journal.Config; 0 is its
	// default of each.
	SegmentBytes, MaxBytes, MinFreeBytes int64
	// ServeUnrecorded lets requests through while the log can't be written, and counts
	// them. By default they are refused.
	ServeUnrecorded bool
	// CheckpointInterval is the time between checkpoints while there are events; 0 is 10 s.
	CheckpointInterval time.Duration
	// SummaryInterval is the time that a summary spans at most; 0 is one minute.
	SummaryInterval time.Duration
	// Revision is the store's, as it is opened: what is past the last that the log has of a
	// process that was killed is told.
	Revision int64
	// Started is what the first event of this process says of it: names and values in turn.
	Started []string
	// Log takes what an operator has to know. Required.
	Log *slog.Logger
	// Registry takes the metrics. Required.
	Registry prometheus.Registerer
}

// Log is the audit log of one member, open for writing. Its methods may be called
// concurrently.
type Log struct {
	config  Config
	log     *slog.Logger
	journal *journal.Journal
	metrics *metrics

	// Under the journal's lock.
	clock clock
	tree  *evidence.Tree
	found *found // while it is opened

	origin string // the log's name

	signer *evidence.Signer
	latest atomic.Pointer[evidence.Log] // as of the last checkpoint

	lines    evidence.Lines
	complete atomic.Pointer[evidence.Prover] // as of the last complete segment
	oldest   atomic.Int64                    // event that has not expired

	witnessing sync.Mutex
	witness    evidence.Witness // of the other members' logs

	failing atomic.Pointer[error]
	events  atomic.Uint64 // that a checkpoint is worth
	counts  counts

	mu   sync.Mutex
	owed []owedOutcome // outcomes that could not be written when they came
	// Since the log failed: requests that were refused, and that were let through.
	refused, unrecorded int64
	failedAt            time.Time

	owing atomic.Bool // something of the three above is to be told
}

// Open opens the log, tells what became of the process before, if it did not close it,
// and that this one has started.
func Open(ctx context.Context, c Config) (_ *Log, err error) {
	if c.CheckpointInterval == 0 {
		c.CheckpointInterval = 10 * time.Second
	}
	if c.SummaryInterval == 0 {
		c.SummaryInterval = time.Minute
	}
	l := &Log{config: c, log: c.Log, tree: &evidence.Tree{}, found: newFound(), lines: evidence.ReadLines(c.Dir)}
	l.metrics = newMetrics(l)
	if err := l.identify(); err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	recovered := journal.Recovered{}
	l.journal, recovered, err = journal.Open(journal.Config{
		Dir:          c.Dir,
		SegmentBytes: c.SegmentBytes,
		MaxBytes:     c.MaxBytes,
		MinFreeBytes: c.MinFreeBytes,
		Header:       l.header,
		Restore:      l.restore,
		Observe:      l.observe,
		Closed:       l.closed,
		Failing:      l.failed,
		Log:          c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	defer func() {
		if err != nil {
			_ = l.journal.Close()
		}
	}()
	if l.signer, err = evidence.LoadSigner(c.Dir, l.found.handover); err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	found := l.found
	l.found = nil
	if err := l.explain(ctx, found, recovered); err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	if err := l.metrics.register(c.Registry); err != nil {
		return nil, fmt.Errorf("registering the audit log's metrics: %w", err)
	}
	return l, nil
}

// Origin is the log's name in checkpoints.
func (l *Log) Origin() string { return l.origin }

// identify makes a new log's name and key, before its first segment is begun, which
// has the name in it. An old log's name stands in its segments.
func (l *Log) identify() error {
	segments, err := journal.Segments(l.config.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(segments) > 0 {
		return nil
	}
	if err := os.MkdirAll(l.config.Dir, 0o700); err != nil {
		return err
	}
	signer, err := evidence.CreateSigner(l.config.Dir)
	if errors.Is(err, fs.ErrExist) { // a crash came between the key and the first segment
		signer, err = evidence.LoadSigner(l.config.Dir, "")
	}
	if err != nil {
		return err
	}
	l.origin = signer.Origin()
	return nil
}

// Close records that the log ends here, with a checkpoint, and closes it.
func (l *Log) Close(reason string) error {
	ctx := context.Background()
	l.summarize(ctx)
	l.Act("stopped", "reason", reason)
	l.checkpoint()
	if err := l.journal.Close(); err != nil {
		return fmt.Errorf("closing the audit log: %w", err)
	}
	return nil
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
