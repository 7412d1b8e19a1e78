package evidence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// Config says what to verify. All but Dir may be empty.
type Config struct {
	Dir string // of the log

	// Keys are verifier keys that the log is expected to be signed with, from a place
	// that whoever can write to the directory cannot write to. Without any, the oldest
	// in the directory is believed.
	Keys []string

	// Witnesses are directories of other members' logs, and files with what was
	// exported of this log or of others: events, a line each, or checkpoints.
	Witnesses []string

	// Progress is told how many bytes of how many were read.
	Progress func(done, total int64)
}

// Verify reads a log and says what is wrong with it. The log may be in use. An error
// says that it could not be looked at.
func Verify(ctx context.Context, c Config) (*Report, error) {
	report, err := verify(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("verifying the audit log: %w", err)
	}
	return report, nil
}

func verify(ctx context.Context, c Config) (*Report, error) {
	segments, err := lookAtSegments(c.Dir)
	if err != nil {
		return nil, err
	}
	v := &verifier{report: &Report{Version: 1, Dir: c.Dir, Segments: len(segments)}, intents: map[int64]int{}}
	if err := v.trust(c, segments); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // whatever still reads
	if v.witnesses, err = openWitnesses(ctx, c.Witnesses, v.report.Log); err != nil {
		return nil, err
	}
	var total int64
	for _, s := range segments {
		total += s.end
	}
	v.report.Bytes = total
	progress := func(done int64) {
		if c.Progress != nil {
			c.Progress(done, total)
		}
	}
	for _, s := range segments {
		v.firsts = append(v.firsts, s.first)
	}
	v.next = segments[0].first
	v.report.First = v.next
	v.advanceWitnesses()
	s := newStream(ctx, segments, progress)
	for b := range s.ordered {
		<-b.ready
		if b.err != nil {
			if errors.Is(b.err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%w: it expired meanwhile; run it again", b.err)
			}
			return nil, b.err
		}
		v.batch(b)
		s.free <- b
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := v.finish(c.Keys); err != nil {
		return nil, err
	}
	return v.report, nil
}

func lookAtSegments(dir string) (segments []*segment, err error) {
	paths, err := segmentPaths(dir)
	if err != nil {
		return nil, err
	}
	for i, path := range paths {
		s, err := lookAtSegment(path)
		if errors.Is(err, errNoHeader) && i == len(paths)-1 {
			if len(segments) > 0 {
				segments[len(segments)-1].followed = true
			}
			continue
		}
		if errors.Is(err, errNoHeader) {
			return nil, fmt.Errorf("%s: %w, and there are segments after it", path, err)
		}
		if err != nil {
			return nil, err
		}
		segments = append(segments, s)
	}
	if len(segments) == 0 {
		return nil, fmt.Errorf("there is no segment in %s: give the directory with the files called 00000000000000000000%s and so on", dir, segmentSuffix)
	}
	return segments, nil
}

// verifier goes through a log once.
type verifier struct {
	report     *Report
	keys       *keys
	candidates []string
	witnesses  []*testimony
	nextSeen   int64 // the size at which one of them has something to say

	contradictions []contradiction

	// Where it is.
	firsts  []int64 // of all segments
	segment *segment
	line    int64
	next    int64 // number of the event that is expected
	limit   int64 // the first event of the next segment, or -1
	skip    bool  // the rest of the segment is no log
	held    []held

	roots

	// What the events say.
	lastAt    int64
	intents   map[int64]int // open, and how often the member had started or stopped
	starts    int
	stoppedAt int64 // number of that event, if nothing but evidence came after it; or 0
}

// trust settles which keys may sign.
func (v *verifier) trust(c Config, segments []*segment) error {
	public, handovers, err := readPublic(c.Dir)
	if err != nil && (len(c.Keys) == 0 || !errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("%w; give the log's verifier key with --key", err)
	}
	trusted := c.Keys
	if len(trusted) == 0 {
		trusted = public[:min(1, len(public))]
		v.report.remark("the key was read from the directory itself, and whoever can rewrite the log can replace that too: give the one that you have kept elsewhere")
	}
	if v.keys, err = newKeys(trusted); err != nil {
		return err
	}
	v.candidates = public
	for _, s := range segments {
		if s.err == nil {
			v.report.Log = s.header.Log
			break
		}
	}
	if v.report.Log != v.keys.origin {
		v.report.add(Finding{Kind: Replaced, Event: segments[0].first, Last: segments[0].first,
			Text: fmt.Sprintf("this is the log %s, and the key is of %s: the log was replaced as a whole, or this is another member's", v.report.Log, v.keys.origin)})
		v.report.Log = v.keys.origin
	}
	for _, problem := range v.keys.learnAll(handovers, public) {
		v.report.add(Finding{Kind: BadKey, Text: fmt.Sprintf("%s: a hand-over between keys: %v", handoverFile, problem)})
	}
	return nil
}

// checkKeys says which keys were used, and whether the directory has some that nobody
// introduced. It is done at the end: events introduce keys.
func (v *verifier) checkKeys(given []string) {
	for _, k := range v.keys.list {
		r := KeyReport{Key: k.text, Trusted: "handed over", From: k.from}
		if k.to != unbounded {
			r.To = k.to
		}
		if slices.Contains(given, k.text) {
			r.Trusted = "given"
		} else if k.first {
			r.Trusted = "in the directory"
		}
		v.report.Keys = append(v.report.Keys, r)
	}
	for _, text := range v.candidates {
		if v.keys.find(text) == nil {
			v.report.add(Finding{Kind: BadKey, Text: fmt.Sprintf("%s has the key %s, and none that is trusted has handed over to it or taken over from it", publicFile, text)})
		}
	}
}

// batch takes a stretch of the log.
func (v *verifier) batch(b *batch) {
	if b.open {
		v.begin(b)
	}
	for i := range b.facts {
		v.line++
		if !v.skip {
			v.read(&b.facts[i], b.line(&b.facts[i]))
		}
	}
	if b.chaos && !v.skip {
		v.skip = true
		v.findLeaf(Finding{Kind: Invalid, Line: v.line + 1, Event: v.next, Last: v.next, Text: "what follows here is no log: the rest of the segment was not looked at"})
	}
	if b.closed {
		v.end(b.torn)
	}
}

// find adds a finding about the segment that is being read. One that goes on with what
// the last is about makes that longer.
func (v *verifier) find(f Finding) {
	f.Segment = filepath.Base(v.segment.path)
	if n := len(v.report.Findings); n > 0 {
		last := &v.report.Findings[n-1]
		if last.Kind == f.Kind && last.Segment == f.Segment && last.Text == f.Text && last.Last+1 == f.Event {
			last.Last = f.Last
			return
		}
	}
	v.report.add(f)
}

// findLeaf is find for what is not what it was in the tree: roots that are not right
// after it are no news.
func (v *verifier) findLeaf(f Finding) {
	v.find(f)
	if n := len(v.noticed); n > 0 && v.noticed[n-1].last+1 == f.Event {
		v.noticed[n-1].last = f.Last
		return
	}
	v.noticed = append(v.noticed[max(0, len(v.noticed)-maxFindings):], span{f.Event, f.Last})
}

// segmentOf is the file of an event.
func (v *verifier) segmentOf(event int64) string {
	i, exact := slices.BinarySearch(v.firsts, event)
	if !exact {
		i--
	}
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("%020d%s", v.firsts[i], segmentSuffix)
}

func (v *verifier) finish(given []string) error {
	v.settle()
	v.finishIntents()
	if err := v.finishWitnesses(); err != nil {
		return err
	}
	v.checkKeys(given)
	r := v.report
	r.Size, r.Signed = v.next, v.good
	if v.lastAt != 0 {
		r.To = time.Unix(0, v.lastAt).UTC()
	}
	if r.First > 0 {
		r.remark("events 0 to %d are not there any more: they have expired, or somebody has removed the oldest segments, which nothing here can tell", r.First-1)
	}
	if v.stoppedAt > 0 && v.lastSigned <= v.stoppedAt {
		r.add(Finding{Kind: Truncated, Event: v.next, Last: v.next, Text: fmt.Sprintf("the member stopped in order at event %d, and the checkpoint that it makes then is not there: the end was cut off", v.stoppedAt)})
	} else if r.Signed < r.Size {
		r.remark("events %d to %d are not signed yet: nothing shows that they are what was written, or that none is missing after them; a running member signs every ten seconds, and when it stops", r.Signed, r.Size-1)
	}
	if len(v.witnesses) == 0 {
		r.remark("nobody but its own key vouches for this log: name other members' logs or what was exported with --witness; a cluster of one member has no other witness than what it exports")
	}
	return nil
}
