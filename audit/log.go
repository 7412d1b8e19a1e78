package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etcdguard/etcdguard/audit/evidence"
	"github.com/etcdguard/etcdguard/audit/journal"
	"github.com/etcdguard/etcdguard/etcdapi"
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

// owedOutcome is the end of a request whose intent is in the log.
type owedOutcome struct {
	intent uint64
	answer Answer
}

// mostOwed bounds what is owed while the log fails: no more requests can have been under
// way when it did.
const mostOwed = 1 << 16

// NoIntent is the number of an intent that is not on record.
const NoIntent = ^uint64(0)

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

// header is what a new segment says of the log before it. The journal calls it, and the
// two below, under its lock.
func (l *Log) header(b []byte) []byte {
	if first := l.oldest.Load(); first > l.tree.First() {
		if err := l.tree.Forget(first); err != nil {
			l.log.Warn("forgetting what has expired of the audit log", slog.Any("error", err))
		}
	}
	l.complete.Store(l.tree.Prover(l.lines))
	return l.tree.AppendHeader(b, l.origin)
}

// restore makes the tree of the segments before the one that is replayed. One that was
// altered, or has rotted, does not keep the member from serving: the tree goes on from
// what the newest header says, and verification finds the place.
func (l *Log) restore(header []byte, first uint64) error {
	h, err := evidence.ParseHeader(header)
	if err != nil {
		return err
	}
	l.origin = h.Log
	var remade []string
	if l.tree, remade, err = evidence.LoadTree(context.Background(), l.config.Dir, int64(first)); err != nil {
		l.found.altered = err
		l.tree, err = evidence.NewTree(int64(first), h.Tree)
	}
	if len(remade) > 0 {
		l.log.Info("hashes beside segments of the audit log were made again", slog.Any("files", remade))
	}
	return err
}

func (l *Log) observe(_ uint64, line []byte) {
	l.tree.Append(line)
	if l.found != nil {
		l.found.see(line)
	}
}

// entry makes an event a line of the journal.
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

// closed keeps what proofs need of a segment that is complete, and writes once more what
// was seen of other logs: it must not expire with the segment.
func (l *Log) closed(s journal.Segment) {
	if p := l.complete.Load(); p != nil && p.Size() >= int64(s.Next) {
		if err := p.WriteHashes(s.Path, int64(s.First), int64(s.Next)); err != nil {
			l.log.Warn("the hashes beside a segment of the audit log were not written; they can be made again from it", slog.Any("error", err))
		}
	}
	if segments, err := journal.Segments(l.config.Dir); err == nil && len(segments) > 0 {
		l.oldest.Store(int64(segments[0].First))
		l.sweep(segments[0].Path)
	}
	l.witnessing.Lock()
	seen := l.witness.Memory()
	l.witnessing.Unlock()
	for _, o := range seen {
		_ = l.Record(context.Background(), &Event{Kind: Witness, Origin: o.Origin, Result: string(o.Result), Note: o.Note})
	}
}

// sweep removes what was beside segments that have expired. Names of one length are in
// order.
func (l *Log) sweep(oldest string) {
	for _, suffix := range []string{".hashes", ".index"} {
		files, _ := filepath.Glob(filepath.Join(l.config.Dir, "*"+suffix)) // the pattern is good
		for _, file := range files {
			if strings.TrimSuffix(file, suffix) < strings.TrimSuffix(oldest, ".jsonl") {
				if err := os.Remove(file); err != nil {
					l.log.Warn("removing what was beside an expired segment of the audit log", slog.Any("error", err))
				}
			}
		}
	}
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

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
