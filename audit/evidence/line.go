package evidence

import (
	"bytes"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// kind is what verification does with an event.
type kind uint8

const (
	plain kind = iota
	intent
	outcome
	system
	checkpoint
	witness
	signer
)

var kinds = map[string]kind{
	"intent": intent, "outcome": outcome, "system": system,
	"checkpoint": checkpoint, "witness": witness, "signer": signer,
}

// flaw is what is wrong with one line, whatever stands around it.
type flaw uint8

const (
	flawless flaw = iota
	hasZeros
	tooLong
	notJSON
	noNumber // no event: it does not begin as one
	noTime
)

func (f flaw) String() string {
	return [...]string{
		"", "there are zero bytes in it", "it has more than 64 KiB", "it is no JSON as etcdguard writes it",
		"it does not begin as an event", "its time is not understood",
	}[f]
}

// maxLine is the longest line that an event may have.
const maxLine = 64 << 10

// fact is what verification knows of a line.
type fact struct {
	leaf       tlog.Hash
	seq, of    int64 // seq is -1 for none
	at         int64 // nanoseconds since 1970
	begin, end int32 // in its batch
	kind       kind
	flaw       flaw
}

// readLine reads as much of a line as verification needs, and checks all of it.
func readLine(b []byte) fact {
	f := fact{leaf: tlog.RecordHash(b), seq: -1, of: -1}
	rest, ok := bytes.CutPrefix(b, []byte(`{"seq":`))
	if ok {
		f.seq, rest, ok = number(rest)
	}
	switch {
	case bytes.IndexByte(b, 0) >= 0:
		f.flaw = hasZeros
	case !ok:
		f.flaw = noNumber
	case len(b) > maxLine:
		f.flaw = tooLong
	case !validObject(b):
		f.flaw = notJSON
	}
	if !ok || f.flaw == notJSON || f.flaw == hasZeros {
		return f
	}
	stamp, rest, ok := quoted(rest, `,"time":"`)
	if !ok || !parseTime(stamp, &f.at) {
		f.flaw = noTime
		return f
	}
	name, rest, ok := quoted(rest, `,"kind":"`)
	if !ok {
		f.flaw = notJSON
		return f
	}
	f.kind = kinds[string(name)]
	if f.kind == outcome {
		if rest, ok = bytes.CutPrefix(rest, []byte(`,"of":`)); ok {
			f.of, _, ok = number(rest)
		}
		if !ok {
			f.of, f.flaw = -1, notJSON
		}
	}
	return f
}

// number reads a decimal number as strconv writes it.
func number(b []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	if i == 0 || i > 18 || b[0] == '0' && i > 1 {
		return -1, b, false
	}
	return n, b[i:], true
}

func quoted(b []byte, before string) (text, rest []byte, ok bool) {
	if len(b) < len(before) || string(b[:len(before)]) != before {
		return nil, b, false
	}
	b = b[len(before):]
	end := bytes.IndexByte(b, '"')
	if end < 0 {
		return nil, b, false
	}
	return b[:end], b[end+1:], true
}

func parseTime(text []byte, ns *int64) bool {
	var t time.Time
	if len(text) == 0 || text[len(text)-1] != 'Z' || t.UnmarshalText(text) != nil {
		return false
	}
	*ns = t.UnixNano()
	return true
}

// validObject says whether b is one JSON object in UTF-8 without white space outside
// its strings. encoding/json says the same of valid JSON, and several times slower: a
// log of a year is checked in minutes, or it is not checked.
func validObject(b []byte) bool {
	if len(b) == 0 || b[0] != '{' || !utf8.Valid(b) {
		return false
	}
	i := skipValue(b, 0, 0)
	return i == len(b)
}

// maxDepth is how deep an event may be nested; ours are three deep.
const maxDepth = 32

// skipValue gives the place after the value at i, or -1 if there is none.
func skipValue(b []byte, i, depth int) int {
	if i >= len(b) || depth > maxDepth {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipMembers(b, i, depth)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	}
	return skipNumber(b, i)
}

func skipMembers(b []byte, i, depth int) int {
	object := b[i] == '{'
	end := byte(']')
	if object {
		end = '}'
	}
	i++
	if i < len(b) && b[i] == end {
		return i + 1
	}
	for {
		if object {
			if i = skipString(b, i); i < 0 || i >= len(b) || b[i] != ':' {
				return -1
			}
			i++
		}
		if i = skipValue(b, i, depth+1); i < 0 || i >= len(b) {
			return -1
		}
		switch b[i] {
		case ',':
			i++
		case end:
			return i + 1
		default:
			return -1
		}
	}
}

func skipString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\':
			if i = skipEscape(b, i); i < 0 {
				return -1
			}
		}
	}
	return -1
}

// skipEscape gives the place of the last byte of the escape at i.
func skipEscape(b []byte, i int) int {
	if i+1 >= len(b) {
		return -1
	}
	if b[i+1] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), b[i+1]) < 0 {
			return -1
		}
		return i + 1
	}
	if i+5 >= len(b) {
		return -1
	}
	for _, c := range b[i+2 : i+6] {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return -1
		}
	}
	return i + 5
}

func skipWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func skipNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	whole := i
	if i = skipDigits(b, i); i < 0 || b[whole] == '0' && i > whole+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = skipDigits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return skipDigits(b, i)
	}
	return i
}

// skipDigits wants one at least.
func skipDigits(b []byte, i int) int {
	begin := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == begin {
		return -1
	}
	return i
}
