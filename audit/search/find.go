package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"

	"github.com/etcdguard/etcdguard/audit/journal"
)

// Row is what queries find: a request, as its intent and its outcome or as one event, or
// something that was no request.
type Row struct {
	Log     string
	Event   *Event
	Outcome *Event // of an intent; nil if there is none on record
}

// Last is the event that says how it ended.
func (r *Row) Last() *Event {
	if r.Outcome != nil {
		return r.Outcome
	}
	return r.Event
}

// Unanswered reports whether the row is an intent without an outcome.
func (r *Row) Unanswered() bool { return r.Event.Kind == kindIntent && r.Outcome == nil }

// Page says which of the rows that were found are wanted.
type Page struct {
	Limit       int // 0: all
	OldestFirst bool
}

// Found is what there is beside the rows.
type Found struct {
	Rows int // that there are, whether or not the page has them

	// Problems are what kept rows from being found, in words.
	Problems []string

	next       map[string]uint64 // by log: the first event that was not looked at
	unanswered []*Row            // of the rows that were given
}

// Find gives the rows that a query wants to yield, by number, and those of several logs
// by time. An error of yield ends it.
func (r *Record) Find(ctx context.Context, q Query, p Page, yield func(*Row) error) (Found, error) {
	total := Found{next: map[string]uint64{}}
	var open []*rows
	defer func() {
		for _, c := range open {
			c.close()
		}
	}()
	for _, log := range r.Logs {
		found, err := r.findIn(ctx, log, &q, p, visitor{})
		if err != nil {
			return total, err
		}
		open = append(open, found)
		total.Rows += found.total
		total.next[log.Dir] = found.next
		total.Problems = append(total.Problems, found.problems...)
	}
	for n := 0; p.Limit == 0 || n < p.Limit; n++ {
		var best *rows
		for _, c := range open {
			row, err := c.peek()
			if err != nil {
				return total, err
			}
			if row != nil && (best == nil || before(row, best.head, p.OldestFirst)) {
				best = c
			}
		}
		if best == nil {
			break
		}
		row := best.head
		best.head = nil
		if row.Unanswered() && len(total.unanswered) < mostHeld {
			total.unanswered = append(total.unanswered, row)
		}
		if err := yield(row); err != nil {
			return total, err
		}
		if err := ctx.Err(); err != nil {
			return total, err
		}
	}
	for _, c := range open {
		total.Rows -= c.wrong
		if c.wrong > 0 {
			total.Problems = append(total.Problems, fmt.Sprintf("%s: an index is wrong: %d events that it names are not what was asked for; it may hide others too", c.log.Dir, c.wrong))
		}
	}
	return total, nil
}

func before(a, b *Row, oldestFirst bool) bool {
	if oldestFirst {
		return a.Event.Time.Before(b.Event.Time)
	}
	return a.Event.Time.After(b.Event.Time)
}

// part is what was found in one segment.
type part struct {
	journal.Segment
	events  int
	offsets column
	links   column
	found   found
	ends    ends
	foreign int
}

// visitor is shown all rows that are found.
type visitor struct {
	// columns is shown those of a segment by their places, by several goroutines. The
	// rows are then forgotten.
	columns func(x *index, rows []uint32) error
	// single is shown one that had to be read. outcome may be nil.
	single func(own, outcome *facts)
}

// findIn looks through one log.
func (r *Record) findIn(ctx context.Context, log Log, q *Query, p Page, v visitor) (*rows, error) {
	all, err := journal.Segments(log.Dir)
	if err != nil {
		return nil, err
	}
	if !r.NoIndex {
		sweep(log.Dir)
	}
	out := &rows{log: log, q: q, oldestFirst: p.OldestFirst, parts: make([]part, len(all))}
	err = r.each(ctx, all, func(i int, x *index) error {
		p := part{Segment: all[i], events: x.Events, foreign: x.Foreign}
		var err error
		if p.found, err = x.selectRows(q); err != nil {
			return err
		}
		if v.columns != nil {
			if err := v.columns(x, p.found.rows); err != nil {
				return err
			}
			p.found.rows = nil
		}
		if p.ends, err = x.ends(); err != nil {
			return err
		}
		if v.columns != nil || len(p.found.rows)+len(p.found.unsure)+len(p.ends.strays) > 0 {
			if p.offsets, err = x.column(colOffset); err != nil {
				return err
			}
			if p.links, err = x.column(colLink); err != nil {
				return err
			}
		}
		out.parts[i] = p
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range out.parts {
		p := &out.parts[i]
		if p.foreign > 0 {
			out.problems = append(out.problems, fmt.Sprintf("%s: %d lines are not the events that belong there", p.Path, p.foreign))
		}
	}
	if n := len(out.parts); n > 0 {
		out.next = out.parts[n-1].First + uint64(out.parts[n-1].events)
	}
	out.join = joined(out.parts)
	if err := out.decide(ctx, v.single); err != nil {
		out.close()
		return nil, err
	}
	for i := range out.parts {
		out.total += len(out.parts[i].found.rows)
	}
	if !p.OldestFirst {
		out.at = len(out.parts) - 1
	}
	return out, nil
}

// joins are the outcomes of intents that stand in another segment.
type joins struct {
	outcome map[uint64]uint64 // of an intent
	used    map[uint64]bool   // outcomes that are an intent's
}

func joined(parts []part) joins {
	open := map[uint64]bool{}
	j := joins{map[uint64]uint64{}, map[uint64]bool{}}
	for i := range parts {
		// An outcome comes after its intent: what is open further on is not meant.
		for _, s := range parts[i].ends.strays {
			if open[s.of] {
				delete(open, s.of)
				j.outcome[s.of], j.used[s.seq] = s.seq, true
			}
		}
		for _, seq := range parts[i].ends.open {
			open[seq] = true
		}
	}
	return j
}

// rows are what was found in one log, to be read one after the other.
type rows struct {
	log         Log
	q           *Query
	oldestFirst bool
	parts       []part
	join        joins
	total       int
	wrong       int
	next        uint64
	problems    []string

	at   int // the part that is being read
	head *Row
	scan [2]scanner
	path string
	file *os.File
}

// decide reads what the columns could not tell.
func (r *rows) decide(ctx context.Context, show func(own, outcome *facts)) error {
	for i := range r.parts {
		p := &r.parts[i]
		for _, place := range p.found.unsure {
			if err := ctx.Err(); err != nil {
				return err
			}
			seq := p.First + uint64(place)
			if r.join.used[seq] { // it is part of its intent's row
				continue
			}
			own, outcome, err := r.facts(seq)
			if err != nil {
				return err
			}
			if own != nil && r.q.matches(own, outcome) {
				p.found.rows = append(p.found.rows, place)
				if show != nil {
					show(own, outcome)
				}
			}
		}
		slices.Sort(p.found.rows)
		p.found.unsure = nil
	}
	return nil
}

// facts are those of an event and of its outcome, if it has one. They are good until the
// next call; nil for what is no event.
func (r *rows) facts(seq uint64) (own, outcome *facts, err error) {
	line, err := r.line(seq)
	if err != nil {
		return nil, nil, err
	}
	if own, err = r.scan[0].scan(line); err != nil {
		return nil, nil, nil
	}
	if answer, ok := r.outcomeOf(seq); ok {
		if line, err = r.line(answer); err != nil {
			return nil, nil, err
		}
		if outcome, err = r.scan[1].scan(line); err != nil || outcome.of != seq {
			outcome = nil
		}
	}
	return own, outcome, nil
}

// place is where an event stands.
func (r *rows) place(seq uint64) (*part, int, bool) {
	i := sort.Search(len(r.parts), func(i int) bool { return r.parts[i].First > seq }) - 1
	if i < 0 || seq-r.parts[i].First >= uint64(r.parts[i].events) || r.parts[i].offsets.data == nil {
		return nil, 0, false
	}
	return &r.parts[i], int(seq - r.parts[i].First), true
}

func (r *rows) outcomeOf(seq uint64) (uint64, bool) {
	if p, i, ok := r.place(seq); ok {
		if link := p.links.at(i); link > 0 {
			return seq + uint64(link), true
		}
	}
	answer, ok := r.join.outcome[seq]
	return answer, ok
}

// line reads the line of an event from its segment.
func (r *rows) line(seq uint64) ([]byte, error) {
	p, i, ok := r.place(seq)
	if !ok {
		return nil, fmt.Errorf("reading event %d: %w", seq, errBroken)
	}
	if r.path != p.Path {
		r.close()
		f, err := openRegular(p.Path)
		if err != nil {
			return nil, err
		}
		r.path, r.file = p.Path, f
	}
	at, length := p.offsets.at(i), int64(journal.MaxLine+1)
	if i+1 < p.events {
		length = min(length, p.offsets.at(i+1)-at)
	}
	if at < 0 || length <= 0 {
		return nil, fmt.Errorf("reading event %d: %w", seq, errBroken)
	}
	line := make([]byte, length)
	n, err := r.file.ReadAt(line, at)
	if err != nil && err != io.EOF {
		return nil, err
	}
	line, _, _ = bytes.Cut(line[:n], []byte("\n"))
	return line, nil
}

func (r *rows) close() {
	if r.file != nil {
		r.file.Close()
		r.file, r.path = nil, ""
	}
}

// peek is the next row, nil after the last. What an index named and is not wanted is
// counted and left out.
func (r *rows) peek() (*Row, error) {
	for r.head == nil {
		seq, ok := r.nextSeq()
		if !ok {
			return nil, nil
		}
		row, err := r.row(seq)
		if err != nil {
			return nil, err
		}
		if row == nil {
			r.wrong++
		}
		r.head = row
	}
	return r.head, nil
}

func (r *rows) nextSeq() (uint64, bool) {
	for r.at >= 0 && r.at < len(r.parts) {
		p := &r.parts[r.at]
		if n := len(p.found.rows); n > 0 && r.oldestFirst {
			place := p.found.rows[0]
			p.found.rows = p.found.rows[1:]
			return p.First + uint64(place), true
		} else if n > 0 {
			place := p.found.rows[n-1]
			p.found.rows = p.found.rows[:n-1]
			return p.First + uint64(place), true
		}
		if r.oldestFirst {
			r.at++
		} else {
			r.at--
		}
	}
	return 0, false
}

// row reads a row and holds it against the query; nil is what the query does not want.
func (r *rows) row(seq uint64) (*Row, error) {
	read := func(seq uint64) (*Event, error) {
		line, err := r.line(seq)
		if errors.Is(err, errBroken) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		e, err := decode(line)
		if err != nil || e.Seq != seq {
			return nil, nil
		}
		return e, nil
	}
	row := &Row{Log: r.log.Name}
	var err error
	if row.Event, err = read(seq); err != nil || row.Event == nil {
		return nil, err
	}
	if answer, ok := r.outcomeOf(seq); ok {
		e, err := read(answer)
		if err != nil {
			return nil, err
		}
		if e != nil && e.Kind == kindOutcome && e.Of != nil && *e.Of == seq {
			row.Outcome = e
		}
	}
	if !row.matches(r.q) {
		return nil, nil
	}
	return row, nil
}

func (r *Row) matches(q *Query) bool {
	var outcome *facts
	if r.Outcome != nil {
		outcome = r.Outcome.facts()
	}
	return q.matches(r.Event.facts(), outcome)
}
