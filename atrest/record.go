package atrest

import "encoding/binary"

// field is one field of a protobuf message: a number for wire type 0, bytes for
// wire type 2.
type field struct {
	number int
	value  uint64
	bytes  []byte
	whole  bool // the end of bytes is there
}

// nextField takes the first field off a message. Groups and what is malformed end
// the message: ok is false.
func nextField(b []byte) (f field, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, b, false
	}
	f.number, b = int(tag>>3), b[n:]
	switch tag & 7 {
	case 0:
		f.value, n = binary.Uvarint(b)
		if n <= 0 {
			return f, b, false
		}
		f.whole = true
		return f, b[n:], true
	case 1, 5:
		n = 8
		if tag&7 == 5 {
			n = 4
		}
		if len(b) < n {
			return f, b, false
		}
		return f, b[n:], true
	case 2:
		size, n := binary.Uvarint(b)
		if n <= 0 {
			return f, b, false
		}
		b = b[n:]
		if size > uint64(len(b)) {
			f.bytes = b
			return f, nil, true
		}
		f.bytes, f.whole = b[:size], true
		return f, b[size:], true
	}
	return f, b, false
}

// keyValue is a message mvccpb.KeyValue.
type keyValue struct {
	key, value []byte
	whole      bool // the value's end is there
}

// readKeyValue reads a KeyValue: key 1, create_revision 2, mod_revision 3, version 4,
// value 5, lease 6, each at most once and in this order, as every etcd writes it.
// whole says whether all of the message is there. It is not ok for anything else.
func readKeyValue(b []byte, whole bool) (kv keyValue, ok bool) {
	if kv, ok = readCommon(b); ok {
		return kv, true
	}
	return readFields(b, whole)
}

func readFields(b []byte, whole bool) (kv keyValue, ok bool) {
	f, rest, ok := nextField(b)
	if !ok || f.number != 1 || !f.whole || b[0] != 0x0a {
		return kv, false
	}
	kv.key, kv.whole = f.bytes, true
	last := 1
	for len(rest) > 0 {
		f, next, ok := nextField(rest)
		if !ok || f.number <= last || f.number > 6 || (f.number == 5) != (rest[0]&7 == 2) {
			if !whole {
				break
			}
			return kv, false
		}
		last, rest = f.number, next
		if f.number == 5 {
			kv.value, kv.whole = f.bytes, f.whole
		}
		if !f.whole && whole {
			return kv, false
		}
	}
	if last < 5 && !whole {
		kv.whole = false
	}
	return kv, true
}

// readCommon reads what nearly every KeyValue is, whole and without a lease, in a
// fraction of the time.
func readCommon(b []byte) (kv keyValue, ok bool) {
	if len(b) < 2 || b[0] != 0x0a || b[1] >= 0x80 || int(b[1])+2 > len(b) {
		return kv, false
	}
	at := int(b[1]) + 2
	kv.key = b[2:at]
	for tag := byte(0x10); tag <= 0x20; tag += 8 {
		if at >= len(b) || b[at] != tag {
			return kv, false
		}
		end := at + 9
		for at++; at < len(b) && b[at] >= 0x80; at++ {
			if at == end {
				return kv, false
			}
		}
		at++
	}
	if at >= len(b) || b[at] != 0x2a {
		return kv, false
	}
	size, n := binary.Uvarint(b[at+1:])
	at += 1 + n
	if n <= 0 || size != uint64(len(b)-at) {
		return kv, false
	}
	kv.value, kv.whole = b[at:], true
	return kv, true
}

// A key of the bucket of keys: main revision 8, '_', sub revision 8, big-endian; and a
// 't' at the end of deletions.
const (
	revisionSize  = 17
	tombstoneSize = 18
)

// readRevision reads the key of a revision; rev orders revisions, for main ones below
// 2⁴³ with fewer than 2²⁰ changes each.
func readRevision(key []byte) (rev uint64, deleted, ok bool) {
	if len(key) != revisionSize && len(key) != tombstoneSize || key[8] != '_' {
		return 0, false, false
	}
	if len(key) == tombstoneSize {
		if key[17] != 't' {
			return 0, false, false
		}
		deleted = true
	}
	main, sub := binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[9:])
	return min(main, 1<<43)<<20 | min(sub, 1<<20-1), deleted, main > 0
}
