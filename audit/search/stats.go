package search

import (
	"bytes"
	"cmp"
	"context"
	"math/bits"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// Stats say who did what, counted.
type Stats struct {
	From time.Time `json:"from"` // of the record, which may begin before what was asked for
	To   time.Time `json:"to"`

	Uses   []Use    `json:"uses"`   // most requests first
	Denied []Denial `json:"denied"` // most first
	News   *News    `json:"new,omitempty"`

	Problems []string `json:"problems,omitempty"`
}

// Use is what one caller did of one action.
type Use struct {
	Caller   string `json:"caller"`
	Action   string `json:"action"`   // "handshake" for those that failed
	Requests int64  `json:"requests"` // denied and failed ones among them
	Denied   int64  `json:"denied"`
	Failed   int64  `json:"failed"`
	// Thinned are requests more, which the policy keeps off the record but for their
	// number; Keys, Bytes and Failed count them too.
	Thinned int64 `json:"thinned"`
	Keys    int64 `json:"keys"`
	Bytes   int64 `json:"bytes"`
	P50     int64 `json:"p50Micros"` // of requests that were answered and not denied,
	P99     int64 `json:"p99Micros"` // to an eighth
}

// Denial is what was denied to one caller.
type Denial struct {
	Caller string    `json:"caller"`
	Action string    `json:"action"`
	Prefix string    `json:"prefix"` // how the keys begin; "" where there is none
	N      int64     `json:"n"`
	Last   time.Time `json:"last"`
	Log    string    `json:"log,omitempty"`
	Seq    uint64    `json:"seq"` // of the last

	Example *Event `json:"-"` // the last; nil if it can't be read
}

// News are what was first seen since some time, and not in the record before it.
type News struct {
	Since time.Time `json:"since"`
	// Before says how far back the record goes. Where that is no time, all is new, and
	// nothing is listed.
	Before  time.Duration `json:"beforeNanoseconds"`
	Callers []Seen        `json:"callers"`
	Serials []Seen        `json:"serials"`
	Actions []Seen        `json:"actions"` // of callers that are not new themselves
}

// Seen is what was seen, and when first.
type Seen struct {
	Caller string    `json:"caller"`
	What   string    `json:"what,omitempty"`
	First  time.Time `json:"first"`
}

// Stats counts the rows that a query wants. With q.Since they have news.
func (r *Record) Stats(ctx context.Context, q Query) (Stats, error) {
	c := &counter{q: &q, uses: map[useKey]*use{}, denied: map[denialKey]*Denial{}, seen: map[seenKey]int64{}}
	out := Stats{Uses: []Use{}, Denied: []Denial{}}
	read := map[string]*rows{}
	defer func() {
		for _, rows := range read {
			rows.close()
		}
	}()
	for _, log := range r.Logs {
		c.log = log.Name
		rows, err := r.findIn(ctx, log, &q, Page{}, visitor{c.columns, c.single})
		if err != nil {
			return out, err
		}
		read[log.Name] = rows
		out.Problems = append(out.Problems, rows.problems...)
	}
	out.From, out.To = timeOf(c.from), timeOf(c.to)
	for key, u := range c.uses {
		u.Caller, u.Action = key.caller, key.action
		u.P50, u.P99 = u.micros.quantile(50), u.micros.quantile(99)
		out.Uses = append(out.Uses, u.Use)
	}
	slices.SortFunc(out.Uses, func(a, b Use) int {
		return cmp.Or(cmp.Compare(b.Requests+b.Thinned, a.Requests+a.Thinned), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Action, b.Action))
	})
	for _, d := range c.denied {
		out.Denied = append(out.Denied, *d)
	}
	slices.SortFunc(out.Denied, func(a, b Denial) int {
		return cmp.Or(cmp.Compare(b.N, a.N), b.Last.Compare(a.Last), cmp.Compare(a.Caller+a.Action+a.Prefix, b.Caller+b.Action+b.Prefix))
	})
	if !q.Since.IsZero() {
		out.News = c.news(q.Since)
	}
	for i := range out.Denied[:min(mostExamples, len(out.Denied))] {
		d := &out.Denied[i]
		row, err := read[d.Log].row(d.Seq)
		if err != nil {
			return out, err
		}
		if row != nil {
			d.Example = row.Event
		}
	}
	return out, nil
}

// mostExamples bounds for how many denials an example is read.
const mostExamples = 20

func timeOf(ns int64) time.Time { return time.Unix(0, ns).UTC() }

type (
	useKey    struct{ caller, action string }
	denialKey struct{ log, caller, action, prefix string }
	seenKey   struct{ caller, serial, action string }
)

type use struct {
	Use
	micros histogram
}

func (u *use) add(o *use) {
	u.Requests += o.Requests
	u.Denied += o.Denied
	u.Failed += o.Failed
	u.Thinned += o.Thinned
	u.Keys += o.Keys
	u.Bytes += o.Bytes
	for i, n := range o.micros {
		u.micros[i] += n
	}
}

// histogram counts numbers by their highest four bits.
type histogram [8 * 64]uint32

func (h *histogram) add(v int64) {
	if v > 0 {
		h[bucket(uint64(v))]++
	}
}

func bucket(v uint64) int {
	n := bits.Len64(v)
	if n <= 4 {
		return int(v)
	}
	return (n-3)<<3 | int(v>>(n-4))&7
}

// quantile is the highest number of the bucket in which so many per cent are reached.
func (h *histogram) quantile(percent int) int64 {
	all, sum := uint64(0), uint64(0)
	for _, n := range h {
		all += uint64(n)
	}
	for i, n := range h {
		sum += uint64(n)
		if n > 0 && sum*100 >= all*uint64(percent) {
			if i < 16 {
				return int64(i)
			}
			shift := i>>3 - 1
			return int64(uint64(i&7|8)+1)<<shift - 1
		}
	}
	return 0
}

// counter counts rows.
type counter struct {
	q   *Query
	log string

	mu     sync.Mutex
	uses   map[useKey]*use
	denied map[denialKey]*Denial
	seen   map[seenKey]int64 // when first
	from   int64
	to     int64
}

// numbers are the columns of a segment that are counted.
type numbers struct {
	kinds, callers, actions, decisions, codes, reach, keys, bytes, micros, links, times column
}

func (x *index) numbers() (n numbers, err error) {
	for c, to := range map[col]*column{
		colKind: &n.kinds, colCaller: &n.callers, colAction: &n.actions, colDecision: &n.decisions, colCode: &n.codes, colReach: &n.reach,
		colKeys: &n.keys, colBytes: &n.bytes, colMicros: &n.micros, colLink: &n.links, colTime: &n.times,
	} {
		if *to, err = x.column(c); err != nil {
			return n, err
		}
	}
	return n, nil
}

// columns counts the rows of a segment.
func (c *counter) columns(x *index, rows []uint32) error {
	n, err := x.numbers()
	if err != nil {
		return err
	}
	callers, err := x.callers()
	if err != nil {
		return err
	}
	s := &segmentCounter{x: x, numbers: n, callers: callers, uses: map[pair]*use{}, denied: map[denialAt]*denials{}}
	s.count(rows)
	if err := s.countThinned(rows); err != nil {
		return err
	}
	found, err := s.denials()
	if err != nil {
		return err
	}
	var seen map[seenKey]int64
	if !c.q.Since.IsZero() {
		seen = s.seen(c.q)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	for p, u := range s.uses {
		action := ownAction(nameOf(x.Actions, p.action))
		if p.action == aHandshake {
			action = kindHandshake
		}
		c.use(useKey{s.callerName(p.caller), action}).add(u)
	}
	for key, d := range found {
		key.log = c.log
		c.deny(key, d.n, n.times.at(d.last), x.First+uint64(d.last))
	}
	for key, at := range seen {
		if first, ok := c.seen[key]; !ok || at < first {
			c.seen[key] = at
		}
	}
	if x.Events > 0 {
		if c.from == 0 || x.From < c.from {
			c.from = x.From
		}
		c.to = max(c.to, x.To)
	}
	return nil
}

func (c *counter) use(key useKey) *use {
	if c.uses[key] == nil {
		c.uses[key] = new(use)
	}
	return c.uses[key]
}

func (c *counter) deny(key denialKey, n int64, at int64, seq uint64) {
	d := c.denied[key]
	if d == nil {
		d = &Denial{Caller: key.caller, Action: key.action, Prefix: key.prefix, Log: key.log}
		c.denied[key] = d
	}
	d.N += n
	if t := timeOf(at); !t.Before(d.Last) {
		d.Last, d.Seq = t, seq
	}
}

// single counts a row that had to be read: an intent whose outcome is in another
// segment, or what a query with several conditions wants.
func (c *counter) single(own, outcome *facts) {
	last := own
	if outcome != nil {
		last = outcome
	}
	if !isRequest(string(own.kind), len(own.decision) > 0) {
		return
	}
	name := ""
	if own.caller != nil {
		name = own.caller.Name
	}
	denied := string(own.kind) == kindDenied
	action := string(own.action)
	if string(own.kind) == kindHandshake {
		action = kindHandshake
	}
	c.use(useKey{name, action}).count(denied, string(last.code), last.keys, last.bytes, last.micros)
	if denied {
		prefix := ""
		if len(own.access) > 0 {
			prefix = prefixOf(own.access[0].key)
		}
		c.deny(denialKey{c.log, name, string(own.action), prefix}, 1, own.time, own.seq)
	}
}

func (u *use) count(denied bool, code string, keys, bytes, micros int64) {
	u.Requests++
	if denied {
		u.Denied++
		return
	}
	if code != "" && code != codeOK {
		u.Failed++
	}
	u.Keys += keys
	u.Bytes += bytes
	u.micros.add(micros)
}

// isRequest reports whether an event stands for a request. A watch is one when it is
// created, and then it has a decision.
func isRequest(kind string, decided bool) bool {
	switch kind {
	case kindIntent, kindRead, kindDenied, kindStream, kindHandshake:
		return true
	}
	return kind == kindWatch && decided
}

// ownAction is an event's action without those of its parts.
func ownAction(all string) string {
	own, _, _ := strings.Cut(all, ",")
	return own
}

// prefixOf is what a key has in common with those of its kind: its first two names.
func prefixOf(key []byte) string {
	end := 0
	for range 3 {
		i := bytes.IndexByte(key[end:], '/')
		if i < 0 {
			break
		}
		end += i + 1
	}
	if end == 0 {
		return string(key)
	}
	return string(key[:end])
}

// segmentCounter counts in the columns of one segment.
type segmentCounter struct {
	x *index
	numbers
	callers []Caller
	uses    map[pair]*use
	denied  map[denialAt]*denials
}

type pair struct{ caller, action int64 }

// aHandshake is in the place of the action of what got no further.
const aHandshake = -1

type denialAt struct {
	pair
	reach int64
}

type denials struct {
	n    int64
	last int
}

func (s *segmentCounter) callerName(n int64) string {
	if n > 0 && n <= int64(len(s.callers)) {
		return s.callers[n-1].Name
	}
	return ""
}

func (s *segmentCounter) count(rows []uint32) {
	x := s.x
	requests := accept(x.Kinds, false, func(k string) bool { return isRequest(k, true) })
	watch, denied, handshake := x.number(x.Kinds, kindWatch), x.number(x.Kinds, kindDenied), x.number(x.Kinds, kindHandshake)
	var last pair
	var u *use
	for _, row := range rows {
		i := int(row)
		k := s.kinds.at(i)
		if uint64(k) >= uint64(len(requests)) || !requests[k] || k == watch && s.decisions.at(i) == 0 {
			continue
		}
		p := pair{s.numbers.callers.at(i), s.actions.at(i)}
		if k == handshake {
			p.action = aHandshake
		}
		if u == nil || p != last {
			last = p
			if u = s.uses[p]; u == nil {
				u = new(use)
				s.uses[p] = u
			}
		}
		j := i + int(s.links.at(i))
		if uint(j) >= uint(x.Events) {
			j = i
		}
		u.count(k == denied, nameOf(x.Codes, s.codes.at(j)), s.keys.at(j), s.bytes.at(j), s.micros.at(j))
		if k == denied {
			at := denialAt{last, s.reach.at(i)}
			d := s.denied[at]
			if d == nil {
				d = new(denials)
				s.denied[at] = d
			}
			d.n++
			d.last = i
		}
	}
}

func (s *segmentCounter) countThinned(rows []uint32) error {
	all, err := s.x.thinned()
	if err != nil {
		return err
	}
	for _, t := range all {
		if _, wanted := slices.BinarySearch(rows, uint32(t.Event)); !wanted {
			continue
		}
		// Its action has a number only as a part of the summary's: it may be new.
		n := s.x.number(s.x.Actions, t.Action)
		if n < 0 {
			s.x.Actions = append(s.x.Actions, t.Action)
			n = int64(len(s.x.Actions))
		}
		p := pair{t.Caller, n}
		u := s.uses[p]
		if u == nil {
			u = new(use)
			s.uses[p] = u
		}
		u.Thinned += t.N
		u.Keys += t.Keys
		u.Bytes += t.Bytes
		if t.Code != "" && t.Code != codeOK {
			u.Failed += t.N
		}
	}
	return nil
}

// denials are what was denied, by the beginnings of the keys.
func (s *segmentCounter) denials() (map[denialKey]*denials, error) {
	found := map[denialKey]*denials{}
	if len(s.denied) == 0 {
		return found, nil
	}
	p, err := s.x.packedReach()
	if err != nil {
		return nil, err
	}
	prefixes := map[int64]string{}
	for at := range s.denied {
		prefixes[at.reach] = ""
	}
	if err := p.eachKey(func(n int, key []byte) bool {
		if _, asked := prefixes[int64(n)]; asked {
			prefixes[int64(n)] = prefixOf(key)
		}
		return true
	}); err != nil {
		return nil, err
	}
	n := int64(p.Keys)
	if err := eachText(p.ranges, p.Ranges, func(text []byte) error {
		n++
		k, err := readRange(text)
		if _, asked := prefixes[n]; asked && err == nil {
			prefixes[n] = prefixOf(k.Begin)
		}
		return err
	}); err != nil {
		return nil, err
	}
	for at, d := range s.denied {
		key := denialKey{"", s.callerName(at.caller), ownAction(nameOf(s.x.Actions, at.action)), prefixes[at.reach]}
		if have := found[key]; have != nil {
			have.n += d.n
			have.last = max(have.last, d.last)
		} else {
			found[key] = d
		}
	}
	return found, nil
}

// seen is when each caller, with which certificate, did each thing first.
func (s *segmentCounter) seen(q *Query) map[seenKey]int64 {
	first := map[pair]int{}
	var last pair
	for i := range s.x.Events {
		p := pair{s.numbers.callers.at(i), s.actions.at(i)}
		if p == last || p.caller == 0 {
			continue
		}
		last = p
		if _, ok := first[p]; !ok {
			first[p] = i
		}
	}
	out := map[seenKey]int64{}
	for p, i := range first {
		who := Caller{Name: s.callerName(p.caller)}
		if p.caller <= int64(len(s.callers)) {
			who = s.callers[p.caller-1]
		}
		all := nameOf(s.x.Actions, p.action)
		if !q.wantsCaller(&who) || !q.wantsActions(all) {
			continue
		}
		key := seenKey{who.Name, who.Serial, ownAction(all)}
		if at, ok := out[key]; !ok || s.times.at(i) < at {
			out[key] = s.times.at(i)
		}
	}
	return out
}

// news are what was seen first at some time or later.
func (c *counter) news(since time.Time) *News {
	n := &News{Since: since, Before: max(since.Sub(timeOf(c.from)), 0)}
	if n.Before == 0 {
		return n
	}
	callers, serials, actions := map[[2]string]int64{}, map[[2]string]int64{}, map[[2]string]int64{}
	note := func(m map[[2]string]int64, caller, what string, at int64) {
		if first, ok := m[[2]string{caller, what}]; !ok || at < first {
			m[[2]string{caller, what}] = at
		}
	}
	for key, at := range c.seen {
		note(callers, key.caller, "", at)
		if key.serial != "" {
			note(serials, key.caller, key.serial, at)
		}
		if key.action != "" {
			note(actions, key.caller, key.action, at)
		}
	}
	list := func(m map[[2]string]int64, known bool) (out []Seen) {
		for key, at := range m {
			if at >= since.UnixNano() && (!known || callers[[2]string{key[0], ""}] < since.UnixNano()) {
				out = append(out, Seen{key[0], key[1], timeOf(at)})
			}
		}
		sort.Slice(out, func(i, j int) bool {
			a, b := out[i], out[j]
			return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.What, b.What)) < 0
		})
		return out
	}
	n.Callers, n.Serials, n.Actions = list(callers, false), list(serials, false), list(actions, true)
	return n
}
