package audit

import (
	"fmt"

	"github.com/etcdguard/etcdguard/audit/evidence"
	"github.com/etcdguard/etcdguard/audit/journal"
)

// lines reads events again, for proofs.
func (l *Log) lines(first int64, n int, each func(line []byte)) error {
	segments, err := journal.Segments(l.config.Dir)
	if err != nil {
		return fmt.Errorf("reading events again: %w", err)
	}
	at, end := uint64(first), uint64(first)+uint64(n)
	for i, s := range segments {
		if s.First > at || i+1 < len(segments) && segments[i+1].First <= at {
			continue
		}
		if at, err = readLines(s, at, end, each); err != nil {
			return fmt.Errorf("reading events again: %w", err)
		}
		if at == end {
			return nil
		}
	}
	return fmt.Errorf("reading events again: event %d: %w", at, evidence.ErrExpired)
}

// readLines gives the lines of s from number at up to end, and returns the first that
// it did not have.
func readLines(s journal.Segment, at, end uint64, each func([]byte)) (uint64, error) {
	r, err := journal.OpenSegment(s.Path)
	if err != nil {
		return at, err
	}
	defer r.Close()
	for line, err := range r.Lines(at) {
		if err != nil {
			return at, err
		}
		each(line.Text)
		if at = line.Seq + 1; at == end {
			break
		}
	}
	return at, nil
}
