package evidence

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// held is a line whose number is not the one that was expected. What it is shows when
// those after it are known: an event before it is missing, it was put there, or it
// stands for the expected one and was changed.
type held struct {
	fact fact
	text []byte
	line int64
}

const (
	// maxHeld is how many lines are waited for.
	maxHeld = 16
	// maxMissing is how many events may be missing at the end of the last segment,
	// which nothing bounds: a number further away is one that was changed.
	maxMissing = 1 << 20
)

// begin enters a segment.
func (v *verifier) begin(b *batch) {
	first := v.segment == nil
	v.segment, v.line, v.limit, v.skip = b.segment, 1, b.next, false
	v.sidecar, v.sidecarFirst = b.hashes, b.segment.first
	s := b.segment
	if s.err != nil {
		v.find(Finding{Kind: BadHeader, Line: 1, Event: s.first, Last: s.first, Text: s.err.Error()})
	} else if s.header.Log != v.report.Log && !first {
		v.find(Finding{Kind: BadHeader, Line: 1, Event: s.first, Last: s.first, Text: fmt.Sprintf("it is a segment of another log, %s", s.header.Log)})
	}
	switch {
	case first:
		v.startAt(s)
	case v.next < s.first:
		v.findLeaf(Finding{Kind: Missing, Event: v.next, Last: s.first - 1,
			Text: fmt.Sprintf("events %d to %d are missing before this segment; of those from %d on, nothing shows that they are what was signed", v.next, s.first-1, v.good)})
		v.jump(s)
	case v.next > s.first:
		v.find(Finding{Kind: Duplicated, Event: s.first, Last: v.next - 1, Text: fmt.Sprintf("the segment before this one goes on to event %d", v.next-1)})
		v.jump(s)
	case s.err == nil:
		v.header(s)
	}
	v.compareWitnesses()
	if b.hashes != nil && v.limit < 0 && !s.followed {
		v.find(Finding{Kind: Truncated, Event: s.first, Last: s.first, Text: "hashes stand beside the last segment, so it was closed, and the segments after it are not there"})
	}
}

// end leaves a segment.
func (v *verifier) end(torn int64) {
	v.release(true)
	last := v.limit < 0
	switch {
	case torn > 0 && last:
		v.report.remark("%d bytes at the end are an unfinished line: the member is writing it, or was killed and cuts it when it starts", torn)
	case torn > 0:
		v.findLeaf(Finding{Kind: Invalid, Line: v.line + 1, Event: v.next, Last: v.next, Text: fmt.Sprintf("the segment ends with %d bytes that are no whole line", torn)})
	}
	if want := (v.next - v.segment.first) / BlockEvents * tlog.HashSize; v.sidecar != nil && v.next == v.limit && int64(len(v.sidecar)) != want {
		v.find(Finding{Kind: BadHashes, Event: v.segment.first, Last: v.next - 1,
			Text: fmt.Sprintf("%s has %d bytes, and the segment needs %d: remove it, and the member makes it again when it starts", filepath.Base(sidecarOf(v.segment.path)), len(v.sidecar), want)})
	}
}

// read takes the next line of the segment.
func (v *verifier) read(f *fact, text []byte) {
	if len(v.held) == 0 {
		if f.seq == v.next {
			v.place(f, text, v.line)
			return
		}
		v.hold(f, text)
		return
	}
	last := v.held[len(v.held)-1].fact.seq
	switch {
	case f.seq == v.next+int64(len(v.held)): // the held ones stand for theirs
		v.releaseInPlace()
		v.place(f, text, v.line)
	case f.seq == v.next: // the held ones do not belong here
		v.releaseStrange(len(v.held))
		v.place(f, text, v.line)
	case f.seq == last+1 && last >= v.next && v.reachable(last): // those between are missing
		v.releaseStrange(len(v.held) - 1)
		v.releaseAfterGap()
		v.place(f, text, v.line)
	default:
		v.hold(f, text)
	}
}

func (v *verifier) hold(f *fact, text []byte) {
	v.held = append(v.held, held{*f, slices.Clone(text), v.line})
	if len(v.held) > maxHeld {
		v.release(false)
	}
}

// reachable says whether an event of that number can be in this segment.
func (v *verifier) reachable(seq int64) bool {
	if v.limit >= 0 {
		return seq < v.limit
	}
	return seq-v.next <= maxMissing
}

// release decides about the held lines without waiting for more.
func (v *verifier) release(end bool) {
	n := len(v.held)
	if n == 0 {
		return
	}
	last := v.held[n-1].fact.seq
	switch {
	case end && v.limit >= 0 && v.next+int64(n) == v.limit && !v.allBehind():
		v.releaseInPlace()
	case last >= v.next && v.reachable(last) && v.held[n-1].fact.flaw == flawless:
		v.releaseStrange(n - 1)
		v.releaseAfterGap()
	case v.allBehind():
		v.releaseStrange(n)
	default:
		v.releaseInPlace()
	}
}

// allBehind says that all held lines are events that were there before.
func (v *verifier) allBehind() bool {
	return !slices.ContainsFunc(v.held, func(h held) bool { return h.fact.seq < 0 || h.fact.seq >= v.next })
}

func (v *verifier) releaseInPlace() {
	for _, h := range v.held {
		if h.fact.seq != v.next && h.fact.flaw == flawless {
			v.findLeaf(Finding{Kind: Altered, Line: h.line, Event: v.next, Last: v.next, Text: fmt.Sprintf("event %d stands here with the number %d", v.next, h.fact.seq)})
		}
		v.place(&h.fact, h.text, h.line)
	}
	v.held = v.held[:0]
}

// releaseStrange reports the first n held lines as not belonging here. The tree is as
// it is without them, so nothing else follows from it.
func (v *verifier) releaseStrange(n int) {
	for _, h := range v.held[:n] {
		f := Finding{Kind: Inserted, Line: h.line, Event: v.next, Last: v.next}
		if h.fact.seq >= 0 {
			f.Event, f.Last = h.fact.seq, h.fact.seq
		}
		switch {
		case h.fact.seq < 0:
			f.Text = fmt.Sprintf("a line that is no event was put before event %d: %v", v.next, h.fact.flaw)
		case h.fact.seq >= v.next:
			f.Kind, f.Text = Moved, fmt.Sprintf("it stands before event %d", v.next)
		case v.isNoticed(h.fact.seq):
			f.Kind, f.Text = Moved, fmt.Sprintf("it stands after event %d", v.next-1)
		default:
			f.Kind, f.Text = Duplicated, fmt.Sprintf("it stands here again, after event %d", v.next-1)
		}
		v.find(f)
	}
	v.held = slices.Delete(v.held, 0, n)
}

// releaseAfterGap takes the one line that is still held as the event that it says.
func (v *verifier) releaseAfterGap() {
	h := v.held[0]
	v.held = v.held[:0]
	from, to := v.next, h.fact.seq-1
	if from <= to {
		text := fmt.Sprintf("event %d is missing", from)
		if from < to {
			text = fmt.Sprintf("events %d to %d are missing", from, to)
		}
		v.findLeaf(Finding{Kind: Missing, Line: h.line, Event: from, Last: to, Text: text})
		for v.next <= to {
			v.leaf(tlog.Hash{})
			v.next++
			v.compareWitnesses()
		}
	}
	v.place(&h.fact, h.text, h.line)
}

// place takes a line as event v.next.
func (v *verifier) place(f *fact, text []byte, line int64) {
	if v.limit >= 0 && v.next >= v.limit {
		v.find(Finding{Kind: Inserted, Line: line, Event: v.limit, Last: v.limit, Text: fmt.Sprintf("the segment has more lines than events: the next one begins with event %d", v.limit)})
		v.skip = true
		return
	}
	if f.flaw != flawless {
		v.findLeaf(Finding{Kind: Invalid, Line: line, Event: v.next, Last: v.next, Text: f.flaw.String()})
	}
	if f.at != 0 {
		if f.at < v.lastAt {
			v.find(Finding{Kind: BadTime, Line: line, Event: v.next, Last: v.next,
				Text: fmt.Sprintf("its time is %v before that of an event before it", time.Duration(v.lastAt-f.at))})
		} else {
			v.lastAt = f.at
		}
		if v.report.From.IsZero() {
			v.report.From = time.Unix(0, f.at).UTC()
		}
	}
	v.event(f, text, line)
	v.resolve(nil)
	v.leaf(f.leaf)
	v.next++
	if v.next >= v.nextSeen {
		v.compareWitnesses()
	}
}
