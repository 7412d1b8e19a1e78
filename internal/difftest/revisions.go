package difftest

import "math"

// revisions translates between the histories of A, which writes nothing but what
// it is asked to, and B, which may also write for itself (a key ring, a
// checkpoint). Each write that both did is the same point in both histories; in
// between, B may be ahead by a budget of writes of its own and nothing else.
type revisions struct {
	marks  []mark // where B's lead grew, ascending in both; never empty after start
	headA  int64  // newest revision that A's client writes made
	headB  int64  // B's answer to the same write
	budget int64  // how many more revisions B may spend on itself
}

// mark says: from revision a on, B's number for the same point is a + lead.
type mark struct{ a, lead int64 }

func (r *revisions) start(a, b, budget int64) {
	*r = revisions{marks: []mark{{a: math.MinInt64, lead: b - a}}, headA: a, headB: b, budget: budget}
}

func (r *revisions) lead() int64 { return r.marks[len(r.marks)-1].lead }

// saw takes the header revisions of one request's two answers. It reports false
// if B is behind, or ahead by more than it may be.
func (r *revisions) saw(a, b int64) bool {
	drift := b - (a + r.lead())
	if drift < 0 || drift > r.budget {
		return false
	}
	if a <= r.headA {
		// A read: B's own writes show in its header before the next common
		// write says where they lie. floor forgives them.
		r.headB = max(r.headB, b)
		return a == r.headA || drift == 0
	}
	if drift > 0 {
		r.marks = append(r.marks, mark{a: a, lead: b - a})
		r.budget -= drift
	}
	r.headA, r.headB = a, b
	return true
}

// toB is what B calls A's revision. Zero and negative numbers have meanings of
// their own, and the far future has no history to be shifted by.
func (r *revisions) toB(a int64) int64 {
	if a <= 0 || a > math.MaxInt64/2 {
		return a
	}
	if a > r.headA {
		return a - r.headA + r.headB
	}
	for i := len(r.marks) - 1; ; i-- {
		if a >= r.marks[i].a {
			return a + r.marks[i].lead
		}
	}
}

// toA is the opposite of toB for what B answers. exact is false for a revision
// that B made for itself; the number is then the last common one before it.
func (r *revisions) toA(b int64) (a int64, exact bool) {
	if b <= 0 || b > math.MaxInt64/2 {
		return b, true
	}
	for i := len(r.marks) - 1; ; i-- {
		a := b - r.marks[i].lead
		if i > 0 && a < r.marks[i].a {
			continue
		}
		last := r.headA
		if i+1 < len(r.marks) {
			last = r.marks[i+1].a - 1
		}
		if a > last {
			return last, false
		}
		return a, true
	}
}
