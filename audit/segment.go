package audit

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/etcdguard/etcdguard/audit/evidence"
	"github.com/etcdguard/etcdguard/audit/journal"
)

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
