package atrest

import "bytes"

// request looks into an etcdserverpb.InternalRaftRequest. What it does not know is
// searched.
func (t *tally) request(b []byte) {
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		if !ok {
			t.carve(b, inLog)
			return
		}
		b = rest
		switch {
		case f.number == 2:
			t.requestV2(f.bytes)
		case f.number == 4:
			t.put(f)
		case f.number == 6:
			t.txn(f.bytes, 0)
		case f.number == 1012 || f.number == 1100 || f.number == 1103:
			t.password(f)
		case f.number == 1, f.number == 3, f.number == 5, f.number >= 7 && f.number <= 11, f.number == 100, f.number >= 1000 && f.number < 9999:
		default:
			t.carve(f.bytes, inLog)
		}
	}
}

// put looks into a PutRequest: key 1, value 2, ignore_value 5.
func (t *tally) put(put field) {
	var key []byte
	value := field{whole: put.whole}
	for b := put.bytes; len(b) > 0; {
		f, rest, ok := nextField(b)
		if !ok {
			t.carve(b, inLog)
			break
		}
		switch b = rest; f.number {
		case 1:
			key = f.bytes
		case 2:
			value = f
		case 5:
			if f.value != 0 {
				return
			}
		}
	}
	t.logged(key, value)
}

func (t *tally) logged(key []byte, value field) {
	kind, _ := t.value(key, value.bytes, value.whole, inLog)
	if kind == Plaintext {
		t.plaintext(key, value.bytes, finding{place: inLog})
	}
}

// maxTxnDepth is far beyond what etcd takes.
const maxTxnDepth = 64

// txn looks into a TxnRequest: compare 1, success 2, failure 3; and there into
// RequestOp: request_put 2, request_txn 4.
func (t *tally) txn(b []byte, depth int) {
	if depth > maxTxnDepth {
		t.carve(b, inLog)
		return
	}
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		if !ok {
			t.carve(b, inLog)
			return
		}
		b = rest
		if f.number == 1 {
			t.compare(f.bytes)
			continue
		}
		for op := f.bytes; len(op) > 0; {
			f, rest, ok := nextField(op)
			if !ok {
				t.carve(op, inLog)
				break
			}
			switch op = rest; f.number {
			case 2:
				t.put(f)
			case 4:
				t.txn(f.bytes, depth+1)
			}
		}
	}
}

// compare looks into a Compare: key 3, value 7. A value that is compared is as much on
// the disk as one that is put.
func (t *tally) compare(b []byte) {
	var key []byte
	var value field
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		if !ok {
			t.carve(b, inLog)
			return
		}
		switch b = rest; f.number {
		case 3:
			key = f.bytes
		case 7:
			value = f
		}
	}
	if len(value.bytes) > 0 {
		t.logged(key, value)
	}
}

// password looks for the password in the requests about users: 2. Old versions of
// etcd wrote it as it was given; what follows it is a hash.
func (t *tally) password(request field) {
	for b := request.bytes; len(b) > 0; {
		f, rest, ok := nextField(b)
		if !ok {
			return
		}
		b = rest
		if f.number == 2 && len(f.bytes) > 0 {
			if name, n := cryptHash(f.bytes); name != "" {
				t.shape(name, inLog, n)
				continue
			}
			t.shape(shapePassword, inLog, len(f.bytes))
			t.fragment("", form{kind: Plaintext, detail: shapePassword}, inLog, len(f.bytes))
		}
	}
}

// isV2 reports whether b is an etcdserverpb.Request, of etcd's old store: ID 1, Method 2.
func isV2(b []byte) bool {
	f, rest, ok := nextField(b)
	if ok && f.number == 1 {
		f, _, ok = nextField(rest)
	}
	if !ok || f.number != 2 {
		return false
	}
	switch string(f.bytes) {
	case "PUT", "POST", "DELETE", "GET", "QGET", "SYNC", "HEAD":
		return true
	}
	return false
}

// requestV2 looks into such a request: Path 3, Val 4, PrevValue 6.
func (t *tally) requestV2(b []byte) {
	var path []byte
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		if !ok {
			t.carve(b, inLog)
			return
		}
		switch b = rest; f.number {
		case 3:
			path = f.bytes
		case 4, 6:
			if len(f.bytes) > 0 {
				t.valueV2(path, f)
			}
		}
	}
}

// valueV2 counts a value of the old store. Below /0 etcd keeps notes on members;
// clients' keys are below /1.
func (t *tally) valueV2(path []byte, value field) {
	if bytes.HasPrefix(path, []byte("/0/")) {
		t.fragment("members in etcd's old store", form{kind: Etcds}, inLog, len(value.bytes))
		return
	}
	t.logged(path, value)
}
