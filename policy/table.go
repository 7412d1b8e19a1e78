package policy

// table answers which rule covers a key and how far cover goes on from there. It
// never changes once made.
type table struct {
	segments []segment
}

func newTable(claims []claim) *table {
	if len(claims) == 0 {
		return nil
	}
	return &table{segments: flatten(claims)}
}

// at is the segment that key lies in, or nil. A nil table has none.
func (t *table) at(key []byte) *segment {
	if t == nil {
		return nil
	}
	low, high := 0, len(t.segments) // first segment that begins after key
	for low < high {
		middle := int(uint(low+high) >> 1)
		if string(key) < t.segments[middle].begin {
			high = middle
		} else {
			low = middle + 1
		}
	}
	if low == 0 {
		return nil
	}
	if s := &t.segments[low-1]; s.runEnd == "" || string(key) < s.runEnd {
		return s
	}
	return nil
}
