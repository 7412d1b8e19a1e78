package search

import "slices"

// found are rows of one segment, by the places of their first events in it.
type found struct {
	rows []uint32
	// unsure are those that the columns can't tell: whether they are wanted is decided by
	// reading them.
	unsure []uint32
}

// selectRows finds the rows of a segment that a query wants, in order.
func (x *index) selectRows(q *Query) (found, error) {
	s := selection{x: x, q: q}
	for _, narrow := range []func() error{s.span, s.callers, s.peers, s.actions, s.decisions, s.kinds, s.keys, s.times, s.wholeRows, s.results, s.joint} {
		if err := narrow(); err != nil {
			return found{}, err
		}
		if s.begun && len(s.rows) == 0 {
			break
		}
	}
	return found{s.rows, s.unsure}, nil
}

// selection narrows rows down, one condition after the other.
type selection struct {
	x      *index
	q      *Query
	begun  bool
	rows   []uint32
	unsure []uint32
}

// where keeps the rows for which keep is true.
func (s *selection) where(keep func(i int) bool) {
	if !s.begun {
		s.begun = true
		s.rows = make([]uint32, 0, s.x.Events)
		for i := range s.x.Events {
			if keep(i) {
				s.rows = append(s.rows, uint32(i))
			}
		}
		return
	}
	kept := s.rows[:0]
	for _, i := range s.rows {
		if keep(int(i)) {
			kept = append(kept, i)
		}
	}
	s.rows = kept
}

// nothing says that no row is wanted.
func (s *selection) nothing() { s.begun, s.rows = true, nil }

// named keeps rows by a column of names: ok says for each number whether it is wanted.
func (s *selection) named(c col, ok []bool) error {
	if !slices.Contains(ok, true) {
		s.nothing()
		return nil
	}
	numbers, err := s.x.column(c)
	if err != nil {
		return err
	}
	s.where(func(i int) bool {
		n := numbers.at(i)
		return uint64(n) < uint64(len(ok)) && ok[n]
	})
	return nil
}

// accept says for no name, and for each name, whether it is wanted.
func accept[T any](names []T, none bool, want func(T) bool) []bool {
	ok := make([]bool, 1, len(names)+1)
	ok[0] = none
	for _, name := range names {
		ok = append(ok, want(name))
	}
	return ok
}

// span leaves segments out that have nothing of the time or the numbers in question.
func (s *selection) span() error {
	x, q := s.x, s.q
	late := !q.Until.IsZero() && x.From >= q.Until.UnixNano()
	early := !q.Since.IsZero() && x.To < q.Since.UnixNano()
	last := int64(x.First) + int64(x.Events) - 1
	switch {
	case x.Events == 0 || late || early, q.Seqs != nil && q.Seqs.To < int64(x.First):
		s.nothing()
	case q.Seqs != nil && q.Seqs.From > last: // but for an outcome further on
		e, err := x.ends()
		if err != nil {
			return err
		}
		s.nothing()
		for _, seq := range e.open {
			s.rows = append(s.rows, uint32(seq-x.First))
		}
	}
	return nil
}

func (s *selection) callers() error {
	if len(s.q.Callers) == 0 {
		return nil
	}
	callers, err := s.x.callers()
	if err != nil {
		return err
	}
	return s.named(colCaller, accept(callers, false, func(c Caller) bool { return s.q.wantsCaller(&c) }))
}

func (s *selection) peers() error {
	if s.q.Peer == "" {
		return nil
	}
	return s.named(colPeer, accept(s.x.Peers, false, s.q.wantsPeerHost))
}

func (s *selection) actions() error {
	if len(s.q.Actions) == 0 {
		return nil
	}
	return s.named(colAction, accept(s.x.Actions, false, s.q.wantsActions))
}

func (s *selection) decisions() error {
	if len(s.q.Decisions) == 0 {
		return nil
	}
	return s.named(colDecision, accept(s.x.Decisions, false, func(d string) bool { return wants(s.q.Decisions, d) }))
}

// kinds keeps rows by the kinds of both their events, as far as one column can tell:
// results looks at the other.
func (s *selection) kinds() error {
	if len(s.q.Kinds) == 0 && !s.q.Denied {
		return nil
	}
	return s.named(colKind, accept(s.x.Kinds, false, func(k string) bool {
		return (wants(s.q.Kinds, k) || k == kindIntent && wants(s.q.Kinds, kindOutcome)) && (!s.q.Denied || k == kindDenied)
	}))
}

func (s *selection) keys() error {
	if s.q.Keys == nil {
		return nil
	}
	hits, err := s.x.reaches(*s.q.Keys)
	if err != nil {
		return err
	}
	return s.named(colReach, hits)
}

func (s *selection) times() error {
	if s.q.wantsTime(s.x.From) && s.q.wantsTime(s.x.To) {
		return nil
	}
	times, err := s.x.column(colTime)
	if err != nil {
		return err
	}
	s.where(func(i int) bool { return s.q.wantsTime(times.at(i)) })
	return nil
}

// wholeRows drops the outcomes that belong to the row of their intent, and what is no
// event.
func (s *selection) wholeRows() error {
	kinds, err := s.x.column(colKind)
	if err != nil {
		return err
	}
	links, err := s.x.column(colLink)
	if err != nil {
		return err
	}
	outcome := s.x.number(s.x.Kinds, kindOutcome)
	s.where(func(i int) bool {
		k := kinds.at(i)
		return k != 0 && (k != outcome || links.at(i) == 0)
	})
	return nil
}

// number is the number of a name, or one that nothing has.
func (x *index) number(names []string, name string) int64 {
	if i := slices.Index(names, name); i >= 0 {
		return int64(i + 1)
	}
	return -1
}

// results keeps rows by how they ended. Of an intent whose outcome is not in the segment
// the columns do not know, nor which revisions a gap spans, nor, if outcomes are asked
// for by what they are, whether a stray one is a row of its own.
func (s *selection) results() error {
	x, q := s.x, s.q
	kinds, err := x.column(colKind)
	if err != nil {
		return err
	}
	intent, outcome, gap := x.number(x.Kinds, kindIntent), x.number(x.Kinds, kindOutcome), x.number(x.Kinds, kindGap)
	links, err := x.column(colLink)
	if err != nil {
		return err
	}
	asks := q.asksResult()
	var codes, revs column
	if asks {
		if codes, err = x.column(colCode); err != nil {
			return err
		}
		if revs, err = x.column(colRev); err != nil {
			return err
		}
	}
	s.where(func(i int) bool {
		k, link := kinds.at(i), links.at(i)
		switch {
		case k == intent && link == 0, k == outcome:
			s.unsure = append(s.unsure, uint32(i))
			return false
		case k == gap && q.Revisions != nil:
			s.unsure = append(s.unsure, uint32(i))
			return false
		}
		j := i
		if k == intent {
			j += int(link)
		}
		if uint(j) >= uint(x.Events) {
			return false
		}
		if q.Seqs != nil && !q.Seqs.has(int64(x.First)+int64(i)) && !q.Seqs.has(int64(x.First)+int64(j)) {
			return false
		}
		return !asks || q.wantsResult(nameOf(x.Kinds, kinds.at(j)), nameOf(x.Codes, codes.at(j)), revs.at(j))
	})
	return nil
}

func nameOf(names []string, n int64) string {
	if n > 0 && n <= int64(len(names)) {
		return names[n-1]
	}
	return ""
}

// joint gives up on what depends on more than one column at once: whether a wanted action
// reaches a wanted key where a request has several, and the port of a peer.
func (s *selection) joint() error {
	var several column
	var err error
	actionsAndKeys := len(s.q.Actions) > 0 && s.q.Keys != nil
	port := s.q.Peer != "" && s.q.Peer != hostOf(s.q.Peer)
	if !actionsAndKeys && !port {
		return nil
	}
	if actionsAndKeys {
		if several, err = s.x.column(colReach); err != nil {
			return err
		}
	}
	sets := int64(s.x.Reach.Keys + s.x.Reach.Ranges)
	s.where(func(i int) bool {
		if port || several.at(i) > sets {
			s.unsure = append(s.unsure, uint32(i))
			return false
		}
		return true
	})
	return nil
}
