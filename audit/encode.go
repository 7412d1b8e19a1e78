package audit

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Bounds of one line, which has 64 KiB at most. A request can name as many keys of as
// many bytes as fit into it; what a person needs to know of it is less.
const (
	mostAccesses    = 64
	mostAccessBytes = 40 << 10
	mostCallerBytes = 8 << 10
	mostKeyBytes    = 512
	mostText        = 1024
)

// line writes one JSON object, member by member. There are two of these lines in every
// write of a client: reflection would cost more than the rest of the guard.
type line struct{ b []byte }

func (l *line) name(name string) {
	if last := l.b[len(l.b)-1]; last != '{' && last != '[' {
		l.b = append(l.b, ',')
	}
	l.b = append(l.b, '"')
	l.b = append(l.b, name...)
	l.b = append(l.b, '"', ':')
}

func (l *line) text(name, value string) {
	if value == "" {
		return
	}
	l.name(name)
	l.b = appendText(l.b, value, mostText)
}

func (l *line) number(name string, n int64) {
	if n == 0 {
		return
	}
	l.name(name)
	l.b = strconv.AppendInt(l.b, n, 10)
}

func (l *line) flag(name string, on bool) {
	if on {
		l.name(name)
		l.b = append(l.b, "true"...)
	}
}

// lease is written as etcdctl does: a number of 64 bits does not survive every reader
// of JSON.
func (l *line) lease(id int64) {
	if id == 0 {
		return
	}
	l.name("lease")
	l.b = append(l.b, '"')
	l.b = strconv.AppendUint(l.b, uint64(id), 16)
	l.b = append(l.b, '"')
}

// key writes a key's name; what is no text is written in base64, under another name.
func (l *line) key(name string, key []byte) {
	shown := key
	if len(key) > mostKeyBytes {
		cut := mostKeyBytes
		for cut > mostKeyBytes-utf8.UTFMax && !utf8.RuneStart(key[cut]) {
			cut--
		}
		shown = key[:cut]
	}
	if utf8.Valid(shown) {
		l.name(name)
		l.b = appendText(l.b, shown, mostKeyBytes)
	} else {
		l.name(name + "64")
		l.b = append(l.b, '"')
		l.b = base64.StdEncoding.AppendEncode(l.b, shown)
		l.b = append(l.b, '"')
	}
	if len(shown) != len(key) {
		l.number(name+"Bytes", int64(len(key)))
	}
}

func (l *line) keys(r etcdapi.Range) {
	switch r.Kind {
	case etcdapi.Point:
		l.key("key", r.Begin)
	case etcdapi.Span:
		l.key("key", r.Begin)
		l.key("end", r.End)
	case etcdapi.Tail:
		l.key("key", r.Begin)
		l.key("end", endless)
	}
}

var endless = []byte{0}

// AppendTo appends the event's line, without a line break.
func (e *Event) AppendTo(b []byte, seq uint64, stamp []byte) []byte {
	l := line{append(b, `{"seq":`...)}
	l.b = strconv.AppendUint(l.b, seq, 10)
	l.b = append(l.b, `,"time":"`...)
	l.b = append(l.b, stamp...)
	l.b = append(l.b, `","kind":"`...)
	l.b = append(l.b, e.Kind...)
	l.b = append(l.b, '"')
	if e.Kind == Outcome {
		l.b = append(l.b, `,"of":`...)
		l.b = strconv.AppendUint(l.b, e.Of, 10)
	}
	if e.Caller != nil {
		l.b = append(l.b, e.Caller.member...)
	}
	if e.Action != etcdapi.NoAction {
		l.name("action")
		l.b = append(l.b, '"')
		l.b = append(l.b, e.Action.String()...)
		l.b = append(l.b, '"')
	}
	l.accesses(e)
	l.text("target", e.Target)
	l.lease(e.Lease)
	l.number("revision", e.Revision)
	l.flag("physical", e.Physical)
	l.text("decision", string(e.Decision))
	l.text("rule", e.Rule)
	l.text("reason", e.Reason)
	if e.Kind == Watch {
		l.name("watch")
		l.b = strconv.AppendInt(l.b, e.Watch, 10)
	}
	l.answer(e.Answer)
	l.rest(e)
	return append(l.b, '}')
}

func (l *line) accesses(e *Event) {
	if len(e.Access) == 0 {
		return
	}
	l.name("access")
	l.b = append(l.b, '[')
	begin, written := len(l.b), 0
	for i := range e.Access {
		if i == mostAccesses || len(l.b)-begin > mostAccessBytes {
			break
		}
		if i > 0 {
			l.b = append(l.b, ',')
		}
		l.access(&e.Access[i], e.Rule)
		written++
	}
	l.b = append(l.b, ']')
	l.number("more", int64(len(e.Access)-written))
}

func (l *line) access(a *Access, rule string) {
	l.b = append(l.b, `{"action":"`...)
	l.b = append(l.b, a.Action.String()...)
	l.b = append(l.b, '"')
	l.keys(a.Keys)
	l.number("limit", a.Limit)
	l.number("revision", a.Revision)
	l.lease(a.Lease)
	l.flag("serializable", a.Serializable)
	l.flag("keysOnly", a.KeysOnly)
	l.flag("countOnly", a.CountOnly)
	l.flag("prevKV", a.PrevKV)
	l.flag("ignoreValue", a.KeepsOldValue)
	if a.Rule != rule {
		l.text("rule", a.Rule)
	}
	l.b = append(l.b, '}')
}

func (l *line) answer(a *Answer) {
	if a == nil {
		return
	}
	l.text("code", a.Code)
	l.number("rev", a.Revision)
	l.number("keys", a.Keys)
	l.number("bytes", a.Bytes)
	l.number("micros", a.Micros)
}

// rest is what events have that are not about one request.
func (l *line) rest(e *Event) {
	l.text("from", e.From)
	l.text("to", e.To)
	if len(e.Counts) > 0 {
		l.counts(e.Counts)
	}
	l.text("what", e.What)
	if len(e.Detail) > 0 {
		l.name("detail")
		l.b = append(l.b, '{')
		for i := 0; i+1 < len(e.Detail); i += 2 {
			l.text(e.Detail[i], e.Detail[i+1])
		}
		l.b = append(l.b, '}')
	}
	l.text("origin", e.Origin)
	l.text("result", e.Result)
	if e.Note != "" {
		l.name("note")
		l.b = appendText(l.b, e.Note, len(e.Note)) // whole, or it verifies nothing
	}
}

func (l *line) counts(counts []Count) {
	l.name("counts")
	l.b = append(l.b, '[')
	for i := range counts {
		if i > 0 {
			l.b = append(l.b, ',')
		}
		c := &counts[i]
		l.b = append(l.b, '{')
		l.text("action", c.Action)
		l.text("code", c.Code)
		l.text("level", c.Level)
		l.number("n", c.N)
		l.number("keys", c.Keys)
		l.number("bytes", c.Bytes)
		l.b = append(l.b, '}')
	}
	l.b = append(l.b, ']')
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string, of at most this many of its bytes. What is no
// text in s becomes U+FFFD, one for each byte.
func appendText[T string | []byte](b []byte, s T, most int) []byte {
	if len(s) > most {
		for most > 0 && !utf8.RuneStart(s[most]) {
			most--
		}
		s = s[:most]
	}
	b = append(b, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[done:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			done = i
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[done:i]...)
			b = append(b, "\ufffd"...)
			i++
			done = i
			continue
		}
		i += size
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}

// clock writes the time of each event. Within a second only its end changes.
type clock struct {
	last   time.Time
	second int64
	text   []byte
}

const (
	wholeSecond = "2006-01-02T15:04:05"
	timeFormat  = wholeSecond + ".000000000Z"
)

// stamp is t as it is written, or the stamp before if t is earlier: the order of
// events is that of their numbers, and a clock that was set back must not seem to say
// another.
func (c *clock) stamp(t time.Time) []byte {
	if t.Before(c.last) {
		t = c.last
	}
	c.last = t
	if second := t.Unix(); second != c.second || c.text == nil {
		c.second = second
		c.text = t.UTC().AppendFormat(c.text[:0], timeFormat)
	}
	ns := uint32(t.Nanosecond())
	digits := c.text[len(wholeSecond)+1:]
	for i := 8; i >= 0; i-- {
		digits[i] = byte('0' + ns%10)
		ns /= 10
	}
	return c.text
}
