package evidence

import (
	"fmt"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
)

// roots follows the tree of a log through its segments. Three things say what it is:
// the lines, what the headers and the hash files claim, and the checkpoints, which are
// signed. Where the lines and a claim differ, both trees are gone on with until a
// checkpoint tells which is right.
type roots struct {
	own, claimed           edge // claimed counts while they differ
	ownBlock, claimedBlock edge // as they were where this block of events begins
	differ                 bool
	doubts                 []doubt

	good         int64  // the events before are under a checkpoint that holds
	lastSigned   int64  // and before this, under one that is signed, at least
	broken       *span  // between two checkpoints, of which the second does not hold
	placed       bool   // that one stands where it must
	noticed      []span // events that findings are about
	sidecar      []byte // of this segment
	sidecarFirst int64
}

// span are the events from first to last.
type span struct{ first, last int64 }

func (s span) overlap(o span) (span, bool) {
	both := span{max(s.first, o.first), min(s.last, o.last)}
	return both, both.first <= both.last
}

// doubt is where the lines and a claim differ.
type doubt struct {
	span
	file   string
	header bool
}

// maxDoubts is how many are told apart; more are one.
const maxDoubts = 1000

// startAt begins with the first segment that there is. Its header is all that is known
// of what was before.
func (v *verifier) startAt(s *segment) {
	v.good = s.first
	if s.first == 0 {
		return
	}
	v.own.size = s.first // without hashes: no root will be right
	v.jump(s)
}

// jump goes on with what a header says, as what is between is not there.
func (v *verifier) jump(s *segment) {
	v.settle()
	if e, err := newEdge(s.first, s.header.Tree); err == nil && s.err == nil {
		v.own = e
	} else {
		v.own = edge{size: s.first}
	}
	v.differ, v.doubts = false, nil
	v.next, v.good = s.first, s.first
}

// header compares the tree with what the next segment's header says of it.
func (v *verifier) header(s *segment) {
	says, err := newEdge(s.first, s.header.Tree)
	if err != nil {
		return
	}
	root := says.Root()
	switch {
	case v.differ && v.claimed.Root() == root:
		return
	case v.own.Root() == root:
		if v.differ {
			v.blameClaims()
		}
		return
	}
	v.claimed, v.differ = says, true
	v.doubt(doubt{span{v.good, s.first - 1}, filepath.Base(s.path), true})
}

func (v *verifier) doubt(d doubt) {
	if len(v.doubts) < maxDoubts {
		v.doubts = append(v.doubts, d)
		return
	}
	v.doubts[len(v.doubts)-1].last = d.last
}

// leaf adds an event.
func (v *verifier) leaf(h tlog.Hash) {
	if v.own.size%BlockEvents == 0 {
		v.ownBlock = v.own
		if v.differ {
			v.claimedBlock = v.claimed
		}
	}
	block, complete := v.own.add(0, h)
	if v.differ {
		v.claimed.add(0, h)
	}
	if !complete {
		return
	}
	at := (v.own.size - BlockEvents - v.sidecarFirst) / BlockEvents * tlog.HashSize
	if at < 0 || at+tlog.HashSize > int64(len(v.sidecar)) || tlog.Hash(v.sidecar[at:at+tlog.HashSize]) == block {
		return
	}
	if !v.differ {
		v.claimedBlock, v.differ = v.ownBlock, true
	}
	v.claimed = v.claimedBlock
	v.claimed.add(blockLevel, tlog.Hash(v.sidecar[at:at+tlog.HashSize]))
	v.doubt(doubt{span{v.own.size - BlockEvents, v.own.size - 1}, filepath.Base(sidecarOf(v.segment.path)), false})
}

// signed takes a root that is signed by who may. It is called before the event that
// holds it is added.
func (v *verifier) signed(c Checkpoint) {
	v.lastSigned = c.Size
	switch {
	case v.own.Root() == c.Root:
		if v.differ {
			v.blameClaims()
		}
		v.unsay()
	case v.differ && v.claimed.Root() == c.Root:
		v.blameLines()
		v.own, v.ownBlock, v.differ = v.claimed, v.claimedBlock, false
	case v.good == c.Size && v.broken == nil: // there is nothing between what a header says and this
		v.findLeaf(Finding{Kind: BadHeader, Line: 1, Event: c.Size, Last: c.Size, Text: "its hashes are not those of the events before it, which are signed"})
		return
	default:
		v.doesNotHold(c.Size, true)
		return
	}
	v.good = c.Size
}

// doesNotHold: the events before size are not what was signed, or, if the checkpoint is
// not at its place, nobody knows what was.
func (v *verifier) doesNotHold(size int64, placed bool) {
	if v.broken == nil {
		v.broken, v.placed = &span{v.good, size - 1}, placed
	}
}

// unsay: the events up to here are what was signed, so those that a checkpoint before
// did not hold for are too. Then that was of another history.
func (v *verifier) unsay() {
	if v.broken != nil && v.placed {
		v.report.add(Finding{Kind: ForkedLog, Segment: v.segmentOf(v.broken.last), Event: v.broken.last + 1, Last: v.broken.last + 1,
			Text: "the log's own key has signed another history here: the checkpoints after it do not continue it"})
	}
	v.broken = nil
}

// blameClaims: the lines are what was signed, so the claims are not.
func (v *verifier) blameClaims() {
	for _, d := range v.doubts {
		f := Finding{Kind: BadHashes, Segment: d.file, Event: d.first, Last: d.last,
			Text: "its hash of these events is not theirs, and they are what was signed: remove the file, and the member makes it again when it starts"}
		if d.header {
			f.Kind, f.Line, f.Event = BadHeader, 1, d.last+1
			f.Last = f.Event
			f.Text = "its hashes are not those of the events before it, and those are what was signed"
		}
		v.report.add(f)
	}
	v.differ, v.doubts = false, nil
}

// blameLines: a claim is what was signed, so the lines are not.
func (v *verifier) blameLines() {
	exact := false
	for _, d := range v.doubts {
		if d.header {
			continue
		}
		s := d.span
		if v.broken != nil {
			if both, ok := s.overlap(*v.broken); ok {
				s = both
			}
		}
		v.altered(s, "")
		exact = true
	}
	if !exact {
		for _, d := range v.doubts {
			if v.broken != nil {
				v.altered(*v.broken, fmt.Sprintf("; of those after them nothing shows it either, up to event %d", d.last))
			} else {
				v.altered(d.span, "")
			}
		}
	}
	v.doubts, v.broken = nil, nil
}

// settle reports what no claim has explained.
func (v *verifier) settle() {
	if v.broken == nil {
		return
	}
	after := ""
	if v.next > v.broken.last+1 {
		after = fmt.Sprintf("; of those after them nothing shows it either, up to event %d", v.next-1)
	}
	v.altered(*v.broken, after)
	v.broken = nil
}

// altered reports events that are not what was signed, unless that is known of one of
// them: then nothing can be said of the rest.
func (v *verifier) altered(s span, more string) {
	if v.anyNoticed(s) {
		v.report.remark("of events %d to %d nothing shows that they are what was signed, because of what the findings say", s.first, s.last)
		return
	}
	text := fmt.Sprintf("one or more of events %d to %d are not what was signed%s", s.first, s.last, more)
	if s.first == s.last {
		text = fmt.Sprintf("event %d is not what was signed%s", s.first, more)
	}
	v.report.add(Finding{Kind: Altered, Event: s.first, Last: s.last, Segment: v.segmentOf(s.last), Text: text})
}

func (v *verifier) anyNoticed(s span) bool {
	for _, n := range v.noticed {
		if _, ok := n.overlap(s); ok {
			return true
		}
	}
	return false
}

func (v *verifier) isNoticed(event int64) bool { return v.anyNoticed(span{event, event}) }
