package atrest

import (
	"bytes"
	"encoding/binary"

	"github.com/etcdguard/etcdguard/seal"
)

// anchors are the pairs of bytes with which anything that carve knows begins: one
// bit for each pair.
var anchors = func() (set [1 << 10]uint64) {
	add := func(a, b byte) {
		pair := uint16(a) | uint16(b)<<8
		set[pair>>6] |= 1 << (pair & 63)
	}
	for _, p := range []string{"\xe5e", "k8", "--", "ey", `"a`, `"k`, "AK", "AS", "gh", "gi", "gl", "xo", "$2", "$6", "$a"} {
		add(p[0], p[1])
	}
	for c := range 256 {
		if c > 0 {
			add(0x0a, byte(c)) // KeyValue: a key of any length
			add(0x22, byte(c)) // a put in a log record
		}
		if lowerDigit(byte(c)) {
			add('.', byte(c))
		}
	}
	return set
}()

// nextAnchor returns where the first anchor of b is, or len(b).
func nextAnchor(b []byte) int {
	for i := 0; i+1 < len(b); i++ {
		pair := uint16(b[i]) | uint16(b[i+1])<<8
		if anchors[pair>>6]&(1<<(pair&63)) != 0 {
			return i
		}
	}
	return len(b)
}

// carve searches bytes that have no structure left for what can still be known:
// sealed and encrypted values, records of keys, Kubernetes objects, credentials, text.
func (t *tally) carve(b []byte, p place) { t.carveUpTo(b, len(b), p) }

// carveUpTo counts only what begins before limit; the bytes behind it help to see the
// end. It returns how far what it counted reaches.
func (t *tally) carveUpTo(b []byte, limit int, p place) int {
	at := 0
	for quiet := 0; at < limit; {
		at += nextAnchor(b[at:])
		if at >= limit {
			t.carveText(b[quiet:min(limit, len(b))], p)
			return limit
		}
		n := t.recognise(b, at, p)
		if n == 0 {
			at++
			continue
		}
		t.carveText(b[quiet:at], p)
		at += n
		quiet = min(at, limit)
	}
	return at
}

// recognise counts what begins at b[at] and returns its length, or 0.
func (t *tally) recognise(b []byte, at int, p place) int {
	s := b[at:]
	switch s[0] {
	case 0xe5:
		return t.carveSealed(s, p)
	case 'k':
		return t.carveKubernetes(s, p)
	case 0x0a:
		return t.carveKeyValue(s, p)
	case '"':
		if n := t.carvePut(s, p); n > 0 {
			return n
		}
		if bytes.HasPrefix(s, []byte(`"kind"`)) || bytes.HasPrefix(s, []byte(`"apiVersion"`)) {
			return t.carveJSON(s, p)
		}
	}
	if name, n := credential(b, at); name != "" {
		t.shape(name, p, n)
		t.fragment("", form{kind: Plaintext, detail: name}, p, n)
		return n
	}
	return 0
}

// carveSealed takes a sealed value for what it says only if its check agrees, so that
// nothing is hidden behind a few planted bytes.
func (t *tally) carveSealed(s []byte, p place) int {
	const header, sizeAt = 20, 16
	if len(s) < header || s[1] != 'e' || s[2] != 'g' || s[3] != 1 {
		return 0
	}
	size := uint64(binary.BigEndian.Uint32(s[sizeAt:])) + seal.Overhead
	if size > uint64(len(s)) {
		if size > maxRun {
			return 0
		}
		t.fragment("", classifySealed(s, false), p, header)
		return header
	}
	f := classifySealed(s[:size], true)
	t.fragment("", f, p, int(size))
	if f.kind == Damaged {
		return header
	}
	return int(size)
}

func (t *tally) carveKubernetes(s []byte, p place) int {
	if bytes.HasPrefix(s, kubeEncrypted) {
		if n := transformerLength(s); n > 0 {
			t.fragment("", form{kind: Encrypted, head: t.head(s[:n])}, p, n)
			return n
		}
		return 0
	}
	if !bytes.HasPrefix(s, kubeProtobuf) {
		return 0
	}
	kind, ok := kubeObject(s)
	if !ok {
		return 0
	}
	t.fragment(kind, form{kind: Plaintext, detail: detailKubeProt}, p, len(kind))
	return len(kubeProtobuf) + 2
}

// carveKeyValue finds a KeyValue that no leaf leads to. Its fields must follow one
// another as in no text: 0a <key> 10 <revision> 18 <revision> 20 <version> 2a <value>.
func (t *tally) carveKeyValue(s []byte, p place) int {
	f, rest, ok := nextField(s[:min(len(s), 8<<10)])
	if !ok || !f.whole || len(f.bytes) == 0 || len(rest) < 6 || rest[0] != 0x10 {
		return 0
	}
	at := len(s[:min(len(s), 8<<10)]) - len(rest)
	var numbers [3]uint64
	for i, tag := range []byte{0x10, 0x18, 0x20} {
		if at >= len(s) || s[at] != tag {
			return 0
		}
		n := 0
		if numbers[i], n = binary.Uvarint(s[at+1:]); n <= 0 {
			return 0
		}
		at += 1 + n
	}
	if at >= len(s) || s[at] != 0x2a || numbers[0] > numbers[1] || numbers[2] == 0 || numbers[2] > numbers[1] {
		return 0
	}
	value, _, ok := nextField(s[at:])
	if !ok {
		return 0
	}
	return t.carveValue(s, f.bytes, value, p)
}

// carvePut finds a put of a write-ahead log: 22 <length> 0a <key> 12 <value>, the
// lengths agreeing.
func (t *tally) carvePut(s []byte, p place) int {
	put, _, ok := nextField(s)
	if !ok || put.number != 4 || !put.whole || len(put.bytes) < 4 || put.bytes[0] != 0x0a {
		return 0
	}
	key, rest, ok := nextField(put.bytes)
	if !ok || !key.whole || len(key.bytes) == 0 || len(rest) < 2 || rest[0] != 0x12 {
		return 0
	}
	value, rest, ok := nextField(rest)
	if !ok || !value.whole {
		return 0
	}
	for len(rest) > 0 {
		if f, next, ok := nextField(rest); ok && f.number >= 3 && f.number <= 6 {
			rest = next
			continue
		}
		return 0
	}
	return t.carveValue(s, key.bytes, value, p)
}

// carveValue counts a value that was found with its key, and returns where in s to go
// on: behind the value if it is what it says, else within it.
func (t *tally) carveValue(s, key []byte, value field, p place) int {
	kind, _ := t.value(key, value.bytes, value.whole, p)
	if kind == Plaintext {
		t.plaintext(key, value.bytes, finding{place: p})
	}
	end := cap(s) - cap(value.bytes) // value is part of s
	if kind == Unknown || kind == Damaged {
		return end
	}
	return end + len(value.bytes)
}

// carveJSON counts an object as Kubernetes stores it in JSON, and skips to its end.
func (t *tally) carveJSON(s []byte, p place) int {
	const most = 1 << 20
	rest := bytes.TrimLeft(s[bytes.IndexByte(s[1:], '"')+2:], " \t")
	if len(rest) < 3 || rest[0] != ':' {
		return 0
	}
	name := bytes.TrimLeft(rest[1:], " \t")
	if len(name) < 2 || name[0] != '"' {
		return 0
	}
	name = name[1:]
	object := ""
	if n := run(name, 64, func(c byte) bool { return apiName([]byte{c}) }); n > 0 && n < len(name) && name[n] == '"' {
		object = string(name[:n])
	}
	end := jsonEnd(s[:min(len(s), most)])
	t.fragment(object, form{kind: Plaintext, detail: detailKubeJSON}, p, end)
	return end
}

// jsonEnd is where the object ends in whose middle s begins; at the latest where s
// stops to be text.
func jsonEnd(s []byte) int {
	depth, quoted := 1, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0:
			return i
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c >= 0x7f:
			return i
		}
	}
	return len(s)
}

// minText is how much text without a gap is taken for a part of a value. Names of keys
// are shorter.
const minText = 256

// carveText counts long text that nothing else was recognised in.
func (t *tally) carveText(b []byte, p place) {
	const stride = minText / 2
	for at := stride - 1; at < len(b); at += stride {
		if printable(b[at:at+1]) == 0 {
			continue
		}
		begin := at
		for begin > 0 && at-begin < stride && printable(b[begin-1:begin]) == 1 {
			begin--
		}
		n := printable(b[begin:])
		if n >= minText {
			f, own := notes(b[begin : begin+n])
			if !own {
				f = form{kind: Plaintext, detail: detailText}
			}
			t.fragment("", f, p, n)
		}
		at = max(at, begin+n)
	}
	if loose := len(bytes.Trim(b, "\x00")); loose > 0 {
		t.loose += int64(loose)
	}
}
