package search

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// facts is what queries ask of one event. Its texts may lie in the line that it was
// read from.
type facts struct {
	seq      uint64
	time     int64 // nanoseconds since 1970
	kind     []byte
	of       uint64
	hasOf    bool
	caller   *Caller
	action   []byte
	access   []accessFacts
	decision []byte
	code     []byte

	rev, keys, bytes, micros int64

	from, to string // of a gap
	counts   []Count
}

// accessFacts are the keys as they are on record: most are one key, and it makes no
// garbage to look at one.
type accessFacts struct {
	action, key, end     []byte
	keyed, hasEnd        bool
	keyWasCut, endWasCut bool
}

// oneKey reports whether it is one key, whose whole name is known.
func (a *accessFacts) oneKey() bool { return a.keyed && !a.hasEnd && !a.keyWasCut }

// reaches reports whether one of these keys is reached.
func (a *accessFacts) reaches(k Keys) bool {
	if a.oneKey() {
		return bytes.Compare(k.Begin, a.key) <= 0 && (k.End == nil || bytes.Compare(a.key, k.End) < 0)
	}
	return a.keyed && a.keys().overlap(k)
}

// keys are the keys that an access may reach. Of a name that was cut only the beginning
// is known: it may be any key that begins so.
func (a *accessFacts) keys() Keys {
	switch {
	case !a.hasEnd && a.keyWasCut:
		return Prefix(a.key)
	case !a.hasEnd:
		return OneKey(a.key)
	case bytes.Equal(a.end, endless):
		return Keys{a.key, nil}
	case a.endWasCut:
		return Keys{a.key, prefixEnd(a.end)}
	}
	return Keys{a.key, a.end}
}

// facts is the slow and certain way to the facts.
func (e *Event) facts() *facts {
	f := &facts{
		seq: e.Seq, time: e.Time.UnixNano(), kind: []byte(e.Kind), caller: e.Caller, action: []byte(e.Action),
		decision: []byte(e.Decision), code: []byte(e.Code),
		rev: e.Rev, keys: e.Keys, bytes: e.Bytes, micros: e.Micros, from: e.From, to: e.To, counts: e.Counts,
	}
	if e.Of != nil {
		f.of, f.hasOf = *e.Of, true
	}
	for i := range e.Access {
		f.access = append(f.access, e.Access[i].facts())
	}
	if e.More > 0 {
		f.access = append(f.access, f.offRecord())
	}
	return f
}

// offRecord stands for the accesses of an event that there was no room for: any part of
// its action, on any key. Whoever looks for a key must not miss it because others were
// named first.
func (f *facts) offRecord() accessFacts {
	part := append(f.action[:len(f.action):len(f.action)], ':')
	return accessFacts{action: part, keyed: true, hasEnd: true, end: endless}
}

// scanner reads the facts off lines. It knows the form in which etcdguard writes events
// of requests, and reads nothing else: for every other line, whatever it is, it asks
// encoding/json, whose word is the same (FuzzScan) and takes ten times as long.
type scanner struct {
	b      []byte
	i      int
	f      facts
	more   int64
	minute [len("2006-01-02T15:04")]byte // whose beginning is minuteAt
	start  int64

	// Whoever keeps a connection open stands in many lines, in the same bytes.
	callers map[string]*Caller
}

// mostCallers bounds that memory: it is made anew when there are more.
const mostCallers = 1 << 14

// scan returns the facts of a line. They are good until the next call.
func (s *scanner) scan(line []byte) (*facts, error) {
	if s.fast(line) {
		return &s.f, nil
	}
	e, err := decode(line)
	if err != nil {
		return nil, err
	}
	return e.facts(), nil
}

// Members of an event, one bit each: one that comes twice is nothing to be fast with.
const (
	hasSeq = 1 << iota
	hasTime
	hasKind
	hasOf
	hasCaller
	hasAction
	hasAccess
	hasMore
	hasTarget
	hasLease
	hasRevision
	hasPhysical
	hasDecision
	hasRule
	hasReason
	hasWatch
	hasCode
	hasRev
	hasKeys
	hasBytes
	hasMicros
)

func (s *scanner) fast(line []byte) bool {
	s.b, s.i = line, 0
	s.f, s.more = facts{access: s.f.access[:0]}, 0
	seen := 0
	for first := true; ; first = false {
		if name, ok := s.member(first); !ok {
			return false
		} else if name == nil {
			break
		} else if bit := s.value(name); bit == 0 || seen&bit != 0 {
			return false
		} else {
			seen |= bit
		}
	}
	if s.more > 0 {
		s.f.access = append(s.f.access, s.f.offRecord())
	}
	return s.i == len(s.b) && seen&hasSeq != 0 && seen&hasTime != 0 && len(s.f.kind) > 0
}

// member goes to the value of the next member of an object; no name is its end.
func (s *scanner) member(first bool) (name []byte, ok bool) {
	switch c := s.next(); {
	case c == '{' && first && s.peek() == '}', c == '}' && !first:
		return nil, c == '}' // an empty object is nothing that we write
	case c == '{' && first, c == ',' && !first:
	default:
		return nil, false
	}
	if s.next() != '"' {
		return nil, false
	}
	end := bytes.IndexByte(s.b[s.i:], '"')
	if end <= 0 {
		return nil, false
	}
	name = s.b[s.i : s.i+end]
	s.i += end + 1
	return name, s.next() == ':'
}

// value reads the value of a member of an event, and returns its bit, 0 if it is not
// what we write.
func (s *scanner) value(name []byte) int {
	f := &s.f
	switch string(name) {
	case "seq":
		return bit(hasSeq, s.count(&f.seq))
	case "time":
		return bit(hasTime, s.when(&f.time))
	case "kind":
		return bit(hasKind, s.text(&f.kind))
	case "of":
		f.hasOf = true
		return bit(hasOf, s.count(&f.of))
	case "caller":
		return bit(hasCaller, s.caller())
	case "action":
		return bit(hasAction, s.text(&f.action))
	case "access":
		return bit(hasAccess, s.accesses())
	case "more":
		return bit(hasMore, s.number(&s.more))
	case "target":
		return bit(hasTarget, s.text(nil))
	case "lease":
		return bit(hasLease, s.text(nil))
	case "revision":
		return bit(hasRevision, s.number(nil))
	case "physical":
		return bit(hasPhysical, s.flag())
	case "decision":
		return bit(hasDecision, s.text(&f.decision))
	case "rule":
		return bit(hasRule, s.text(nil))
	case "reason":
		return bit(hasReason, s.text(nil))
	case "watch":
		return bit(hasWatch, s.number(nil))
	case "code":
		return bit(hasCode, s.text(&f.code))
	case "rev":
		return bit(hasRev, s.number(&f.rev))
	case "keys":
		return bit(hasKeys, s.number(&f.keys))
	case "bytes":
		return bit(hasBytes, s.number(&f.bytes))
	case "micros":
		return bit(hasMicros, s.number(&f.micros))
	}
	return 0
}

func bit(b int, ok bool) int {
	if ok {
		return b
	}
	return 0
}

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// next is the next byte, 0 at the end, which stands nowhere in what is valid.
func (s *scanner) next() byte {
	c := s.peek()
	s.i++
	return c
}

func (s *scanner) has(text string) bool {
	if len(s.b)-s.i >= len(text) && string(s.b[s.i:s.i+len(text)]) == text {
		s.i += len(text)
		return true
	}
	return false
}

func (s *scanner) flag() bool { return s.has("true") || s.has("false") }

func (s *scanner) count(to *uint64) bool {
	var n int64
	ok := s.number(&n)
	*to = uint64(n)
	return ok
}

// number reads a whole number that is not negative, of at most 18 digits.
func (s *scanner) number(to *int64) bool {
	begin, n := s.i, int64(0)
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		n = n*10 + int64(c-'0')
		s.i++
	}
	if to != nil {
		*to = n
	}
	digits := s.i - begin
	return digits == 1 || digits > 1 && digits <= 18 && s.b[begin] != '0'
}

// text reads a string.
func (s *scanner) text(to *[]byte) bool {
	if s.next() != '"' {
		return false
	}
	begin, ascii := s.i, true
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			text := s.b[begin:s.i]
			s.i++
			if to != nil {
				*to = text
			}
			return ascii || utf8.Valid(text)
		case c == '\\':
			return s.escaped(begin, to)
		case c < ' ':
			return false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return false
}

// escaped reads a string with a backslash in it, from its first byte on.
func (s *scanner) escaped(begin int, to *[]byte) bool {
	if s.b[begin] == '\\' && s.i == begin && s.has(`\u0000"`) { // an endless range has it
		if to != nil {
			*to = endless
		}
		return true
	}
	end, ok := endOfString(s.b, s.i)
	if !ok {
		return false
	}
	var text string
	if json.Unmarshal(s.b[begin-1:end], &text) != nil {
		return false
	}
	s.i = end
	if to != nil {
		*to = []byte(text)
	}
	return true
}

var endless = []byte{0}

// endOfString is the place after the quote that ends the string around i.
func endOfString(b []byte, i int) (int, bool) {
	for ; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1, true
		}
	}
	return 0, false
}

// when reads a time, 2026-11-28T18:03:39.000000005Z, with any number of digits.
func (s *scanner) when(to *int64) bool {
	const toSeconds = len(`"2006-01-02T15:04:05`)
	if len(s.b)-s.i < toSeconds+len(`Z"`) || s.b[s.i] != '"' {
		return false
	}
	t := s.b[s.i+1 : s.i+toSeconds]
	if s.minute[0] == 0 || string(t[:len(s.minute)]) != string(s.minute[:]) {
		at, err := time.Parse("2006-01-02T15:04", string(t[:len(s.minute)]))
		if err != nil || at.Year() < 1970 || at.Year() > 2200 {
			return false
		}
		copy(s.minute[:], t)
		s.start = at.Unix()
	}
	tens, ones := t[17]-'0', t[18]-'0'
	if t[16] != ':' || tens > 5 || ones > 9 {
		return false
	}
	s.i += toSeconds
	ns := int64(0)
	if s.peek() == '.' {
		s.i++
		scale, begin := int64(1e9), s.i
		for c := s.peek(); c >= '0' && c <= '9' && scale > 1; c = s.peek() {
			scale /= 10
			ns += int64(c-'0') * scale
			s.i++
		}
		if s.i == begin {
			return false
		}
	}
	*to = (s.start+int64(tens)*10+int64(ones))*1e9 + ns
	return s.has(`Z"`)
}

// caller reads who it was. encoding/json reads every caller that comes the first time.
func (s *scanner) caller() bool {
	begin := s.i
	if s.next() != '{' {
		return false
	}
	for depth := 1; depth > 0; {
		switch s.next() {
		case '{':
			depth++
		case '}':
			depth--
		case '"':
			end, ok := endOfString(s.b, s.i)
			if !ok {
				return false
			}
			s.i = end
		case 0:
			return false
		}
	}
	raw := s.b[begin:s.i]
	if c, known := s.callers[string(raw)]; known {
		s.f.caller = c
		return true
	}
	c := new(Caller)
	if json.Unmarshal(raw, c) != nil {
		return false
	}
	if s.callers == nil || len(s.callers) >= mostCallers {
		s.callers = map[string]*Caller{}
	}
	s.callers[string(raw)] = c
	s.f.caller = c
	return true
}

func (s *scanner) accesses() bool {
	if s.next() != '[' || s.peek() != '{' {
		return false
	}
	for {
		if !s.oneAccess() {
			return false
		}
		switch s.next() {
		case ']':
			return true
		case ',':
			if s.peek() != '{' {
				return false
			}
		default:
			return false
		}
	}
}

// Members of an access, one bit each.
const (
	accessAction = 1 << iota
	accessKey
	accessEnd
	accessKeyBytes
	accessEndBytes
	accessLimit
	accessRevision
	accessLease
	accessSerializable
	accessKeysOnly
	accessCountOnly
	accessPrevKV
	accessIgnoreValue
	accessRule
)

func (s *scanner) oneAccess() bool {
	var a accessFacts
	var keyBytes, endBytes int64
	seen := 0
	for first := true; ; first = false {
		name, ok := s.member(first)
		if !ok {
			return false
		}
		if name == nil {
			break
		}
		b := 0
		switch string(name) {
		case "action":
			b = bit(accessAction, s.text(&a.action))
		case "key":
			b = bit(accessKey, s.text(&a.key))
		case "end":
			b = bit(accessEnd, s.text(&a.end))
		case "keyBytes":
			b = bit(accessKeyBytes, s.number(&keyBytes))
		case "endBytes":
			b = bit(accessEndBytes, s.number(&endBytes))
		case "limit":
			b = bit(accessLimit, s.number(nil))
		case "revision":
			b = bit(accessRevision, s.number(nil))
		case "lease":
			b = bit(accessLease, s.text(nil))
		case "serializable":
			b = bit(accessSerializable, s.flag())
		case "keysOnly":
			b = bit(accessKeysOnly, s.flag())
		case "countOnly":
			b = bit(accessCountOnly, s.flag())
		case "prevKV":
			b = bit(accessPrevKV, s.flag())
		case "ignoreValue":
			b = bit(accessIgnoreValue, s.flag())
		case "rule":
			b = bit(accessRule, s.text(nil))
		}
		if b == 0 || seen&b != 0 {
			return false
		}
		seen |= b
	}
	a.keyed, a.hasEnd = seen&(accessKey|accessEnd) != 0, seen&accessEnd != 0
	a.keyWasCut, a.endWasCut = keyBytes > 0, endBytes > 0
	s.f.access = append(s.f.access, a)
	return true
}
