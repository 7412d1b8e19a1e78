package evidence

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
)

// batch is a stretch of a segment's text, whole lines, and the facts of those.
type batch struct {
	segment *segment
	data    []byte
	facts   []fact
	hashes  []byte // with open: what stands beside the segment
	next    int64  // with open: the first event of the segment after it, or -1 for the last

	open, closed bool // the first and the last of its segment
	torn         int64
	chaos        bool // too many lines that are no events: the rest was not looked at
	err          error

	ready chan struct{} // the facts are there
}

const (
	batchBytes = 256 << 10
	// maxStrange is how many lines of one batch may be no events; then it is no log.
	maxStrange = 4096
)

// stream reads segments, hashes and checks their lines on all processors, and hands
// them on in order. It takes memory for a number of batches, however long the log is.
type stream struct {
	ordered chan *batch
	free    chan *batch
	work    chan *batch
}

func newStream(ctx context.Context, segments []*segment, progress func(done int64)) *stream {
	workers := runtime.GOMAXPROCS(0)
	n := 2*workers + 2
	s := &stream{make(chan *batch, n), make(chan *batch, n), make(chan *batch, n)}
	for range n {
		s.free <- &batch{data: make([]byte, 0, batchBytes), ready: make(chan struct{}, 1)}
	}
	for range workers {
		go func() {
			for b := range s.work {
				b.read()
				b.ready <- struct{}{}
			}
		}()
	}
	go func() {
		defer close(s.ordered)
		defer close(s.work)
		var done int64
		for i, seg := range segments {
			next := int64(-1)
			if i+1 < len(segments) {
				next = segments[i+1].first
			}
			if !s.segment(ctx, seg, next, func(n int64) { progress(done + n) }) {
				return
			}
			done += seg.end
		}
	}()
	return s
}

// take gives an empty batch, or nil when ctx ends.
func (s *stream) take(ctx context.Context, seg *segment) *batch {
	select {
	case <-ctx.Done():
		return nil
	case b := <-s.free:
		*b = batch{segment: seg, data: b.data[:0], facts: b.facts[:0], next: -1, ready: b.ready}
		return b
	}
}

func (s *stream) give(b *batch) {
	s.ordered <- b // there is room for all that there are
	s.work <- b
}

// segment reads one. What has no line break at its end goes to the next batch.
func (s *stream) segment(ctx context.Context, seg *segment, next int64, progress func(int64)) bool {
	f, openErr := os.Open(seg.path)
	if openErr == nil {
		defer f.Close()
	}
	r := io.NewSectionReader(f, seg.body, seg.end-seg.body)
	first := true
	var rest []byte
	for {
		b := s.take(ctx, seg)
		if b == nil {
			return false
		}
		if b.open = first; first {
			b.next = next
			if b.hashes, b.err = readSidecar(seg); openErr != nil {
				b.err = openErr
			}
			first = false
		}
		b.data = append(b.data, rest...)
		n, err := io.ReadFull(r, b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end && b.err == nil {
			b.err = fmt.Errorf("reading %s: %w", seg.path, err)
		}
		whole := bytes.LastIndexByte(b.data, '\n') + 1
		rest = append(rest[:0], b.data[whole:]...)
		b.data = b.data[:whole]
		if !end && whole == 0 && b.err == nil {
			b.chaos = true // no line is so long
		}
		b.closed = end || b.err != nil || b.chaos
		if b.closed {
			b.torn = int64(len(rest))
		}
		last := b.closed
		at, _ := r.Seek(0, io.SeekCurrent)
		s.give(b)
		progress(at)
		if last {
			return true
		}
	}
}

// read is done by the workers.
func (b *batch) read() {
	strange := 0
	for begin := 0; begin < len(b.data); {
		n := bytes.IndexByte(b.data[begin:], '\n')
		f := readLine(b.data[begin : begin+n])
		f.begin, f.end = int32(begin), int32(begin+n)
		if f.flaw == noNumber {
			if strange++; strange > maxStrange {
				b.chaos = true
				return
			}
		}
		b.facts = append(b.facts, f)
		begin += n + 1
	}
}

func (b *batch) line(f *fact) []byte { return b.data[f.begin:f.end] }
