package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// testimony is what another member's log, or a file of what was exported, has of this
// log: checkpoints. Each is signed by this log's own key, so it needs no trust in who
// kept it: two that contradict each other show that the log has two histories, whoever
// brings them.
type testimony struct {
	report  WitnessReport
	entries chan statement
	err     error // why it ended; to be read when entries is closed

	head      *statement
	last      int64 // size of the last one, whatever it was worth
	done      bool  // it contradicts: nothing more is to be found out
	isLog     bool  // a directory
	mentioned int64 // checkpoints of this log
	others    []string
}

// statement is one checkpoint of the log that somebody kept.
type statement struct {
	Checkpoint
	note   string
	where  string // it stands
	forked bool   // and was found to contradict what was seen before
	other  string // instead of all that: the origin of another log
}

// openWitnesses reads in parallel to the log, only as far ahead as a channel is long.
func openWitnesses(ctx context.Context, paths []string, origin string) (all []*testimony, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("reading the witness: %w", err)
		}
		t := &testimony{report: WitnessReport{Path: path}, entries: make(chan statement, 64)}
		read := t.readFile
		if t.isLog = info.IsDir(); t.isLog {
			read = t.readLog
		}
		go func() {
			defer close(t.entries)
			t.err = read(ctx, path, origin)
		}()
		all = append(all, t)
	}
	return all, nil
}

// readLog reads another member's log, or an older copy of this one.
func (t *testimony) readLog(ctx context.Context, dir, origin string) error {
	segments, err := lookAtSegments(dir)
	if err != nil {
		return err
	}
	for _, s := range segments {
		f, err := os.Open(s.path)
		if err != nil {
			return err
		}
		err = t.readEvents(ctx, io.NewSectionReader(f, s.body, s.end-s.body), filepath.Base(s.path), origin)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// readFile reads what was exported: events, a line each, or notes as they are.
func (t *testimony) readFile(ctx context.Context, path, origin string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	begin := make([]byte, 1)
	if _, err := f.ReadAt(begin, 0); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if begin[0] == '{' {
		return t.readEvents(ctx, f, filepath.Base(path), origin)
	}
	return t.readNotes(ctx, f, filepath.Base(path), origin)
}

func (t *testimony) readEvents(ctx context.Context, r io.Reader, where, origin string) error {
	lines := newLineReader(r)
	for {
		line, err := lines.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", where, err)
		}
		if !holdsNote(line) {
			continue
		}
		var e said
		if err := json.Unmarshal(line, &e); err != nil {
			continue // that log's own verification says so
		}
		n, _ := leadingNumber(line)
		s := statement{note: e.Note, where: fmt.Sprintf("event %d in %s", n, where), forked: e.Result == string(Forked)}
		if !t.send(ctx, s, origin) {
			return ctx.Err()
		}
	}
}

// holdsNote looks at the beginning of an event alone: a log is mostly other events.
func holdsNote(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte(`{"seq":`))
	if ok {
		_, rest, ok = number(rest)
	}
	if ok {
		_, rest, ok = quoted(rest, `,"time":"`)
	}
	var name []byte
	if ok {
		name, _, ok = quoted(rest, `,"kind":"`)
	}
	return ok && kinds[string(name)] >= checkpoint
}

// readNotes reads checkpoints one after the other: text, an empty line, signatures.
func (t *testimony) readNotes(ctx context.Context, r io.Reader, where, origin string) error {
	lines := newLineReader(r)
	var text []byte
	signed := false
	n := 0
	flush := func() bool {
		if len(text) == 0 {
			return true
		}
		n++
		ok := t.send(ctx, statement{note: string(text), where: fmt.Sprintf("checkpoint %d in %s", n, where)}, origin)
		text, signed = text[:0], false
		return ok
	}
	for {
		line, err := lines.next()
		if err != nil {
			if !flush() {
				return ctx.Err()
			}
			if err == io.EOF {
				return nil
			}
			return fmt.Errorf("reading %s: %w", where, err)
		}
		signature := bytes.HasPrefix(line, []byte("— "))
		if signed && !signature {
			if !flush() {
				return ctx.Err()
			}
		}
		if len(text) > maxNote {
			return fmt.Errorf("reading %s: there is no checkpoint in it", where)
		}
		if len(text) > 0 || len(line) > 0 {
			text = append(append(text, line...), '\n')
		}
		signed = signature
	}
}

func (t *testimony) send(ctx context.Context, s statement, origin string) bool {
	c, err := Unverified(s.note)
	if err != nil {
		return true
	}
	s.Checkpoint = c
	if c.Origin != origin {
		s = statement{other: c.Origin}
	}
	select {
	case <-ctx.Done():
		return false
	case t.entries <- s:
		return true
	}
}

// next takes the next statement about this log that is of size or more; v is told of
// those before that say something all the same.
func (t *testimony) next(v *verifier, size int64) {
	for s := range t.entries {
		if s.other != "" {
			if len(t.others) < maxOthers && !slices.Contains(t.others, s.other) {
				t.others = append(t.others, s.other)
			}
			continue
		}
		t.mentioned++
		t.last = max(t.last, s.Size)
		switch {
		case s.Size >= size && !t.done:
			t.head = &s
			return
		case s.forked && !t.done:
			v.contradicted(t, &s, "has itself found that the log has two histories")
		case s.Size < v.report.First:
			t.report.Earlier++
		}
	}
	t.head = nil
}

// advanceWitnesses lets each have its first statement, and settles when to look again.
func (v *verifier) advanceWitnesses() {
	for _, t := range v.witnesses {
		t.next(v, v.next)
	}
	v.settleNextSeen()
}

func (v *verifier) settleNextSeen() {
	v.nextSeen = unbounded
	for _, t := range v.witnesses {
		if t.head != nil {
			v.nextSeen = min(v.nextSeen, t.head.Size)
		}
	}
}

// compareWitnesses is called with the tree of v.next events.
func (v *verifier) compareWitnesses() {
	if v.next < v.nextSeen {
		return
	}
	for _, t := range v.witnesses {
		for t.head != nil && t.head.Size <= v.next {
			if t.head.Size == v.next && !t.done {
				v.compare(t, t.head)
			}
			t.next(v, v.next+1)
		}
	}
	v.settleNextSeen()
}

func (v *verifier) compare(t *testimony, s *statement) {
	if !v.believable(t, s) {
		return
	}
	if s.Root == v.own.Root() || v.differ && s.Root == v.claimed.Root() {
		t.report.Checkpoints++
		t.report.Seen = max(t.report.Seen, s.Size)
		return
	}
	v.contradictions = append(v.contradictions, contradiction{t, *s})
}

// contradiction is a statement that the events before it don't lead to. What comes of
// it is settled by the event that has its size as number, which was that checkpoint: if
// it still is, then those events were changed, and that is found anyway. Else the log
// went on in another way than it was seen to.
type contradiction struct {
	*testimony
	statement
}

// resolve is told of the checkpoint that the event after the tree holds, if it does.
func (v *verifier) resolve(own *Checkpoint) {
	for _, c := range v.contradictions {
		if own != nil && own.Root == c.Root || v.isNoticed(c.Size) {
			continue
		}
		v.contradicted(c.testimony, &c.statement, fmt.Sprintf("has seen another history of the first %d events", c.Size))
	}
	v.contradictions = nil
}

func (v *verifier) finishWitnesses() error {
	v.resolve(nil)
	for _, t := range v.witnesses {
		beyond := t.head
		for t.head != nil {
			t.next(v, v.next+1)
		}
		if t.err != nil {
			return fmt.Errorf("reading the witness %s: %w", t.report.Path, t.err)
		}
		switch {
		case t.mentioned == 0 && len(t.others) == 0 && !t.isLog:
			return fmt.Errorf("reading the witness %s: no checkpoint is in it: it can hold audit events, a line each, or checkpoints", t.report.Path)
		case t.mentioned == 0:
			v.report.add(Finding{Kind: Replaced, Event: v.report.First, Last: v.report.First,
				Text: fmt.Sprintf("%s has seen nothing of this log, only of %v: the log is new, was replaced as a whole, or this is no witness of it", t.report.Path, t.others)})
		case beyond != nil && v.believable(t, beyond):
			t.report.Checkpoints++
			v.report.add(Finding{Kind: Truncated, Segment: v.segmentOf(v.next), Event: v.next, Last: t.last - 1,
				Text: fmt.Sprintf("%s has seen %d events of this log, which ends after %d: its end was cut off, or an older copy was put back", t.report.Path, t.last, v.next)})
		}
		v.report.Witnesses = append(v.report.Witnesses, t.report)
	}
	return nil
}

// believable says whether this log's own key has signed a statement. One that is not
// signed so is somebody's mistake or a forgery, and is told.
func (v *verifier) believable(t *testimony, s *statement) bool {
	_, err := v.keys.open(s.note)
	if err == nil {
		return true
	}
	f := Finding{Kind: Forged, Event: s.Size, Last: s.Size, Text: fmt.Sprintf("%s: %s: a checkpoint of this log does not count: %v", t.report.Path, s.where, err)}
	if errors.Is(err, errStranger) {
		f.Kind = Replaced
		f.Text = fmt.Sprintf("%s: %s: it has seen %d events of this log under a key that is none of its keys now: the log was begun anew under its name", t.report.Path, s.where, s.Size)
	}
	v.report.add(f)
	t.done = true
	return false
}

func (v *verifier) contradicted(t *testimony, s *statement, how string) {
	if !v.believable(t, s) {
		return
	}
	t.done = true
	v.report.add(Finding{Kind: ForkedLog, Segment: v.segmentOf(s.Size), Event: s.Size, Last: s.Size,
		Text: fmt.Sprintf("%s %s: %s; it agrees up to event %d", t.report.Path, how, s.where, t.report.Seen-1)})
}
