package difftest

import "testing"

func TestRevisionsFollowTheWritesOfB(t *testing.T) {
	var r revisions
	r.start(10, 15, 3) // B leads by 5 from the beginning
	steps := []struct {
		a, b int64
		ok   bool
	}{
		{10, 15, true}, // a read
		{11, 16, true}, // a write
		{11, 18, true}, // a read, after B wrote twice for itself
		{12, 19, true}, // a write: B's two lie before it
		{13, 20, true},
	}
	for _, s := range steps {
		if got := r.saw(s.a, s.b); got != s.ok {
			t.Fatalf("saw(%d, %d) = %v", s.a, s.b, got)
		}
	}
	for _, c := range []struct{ a, b int64 }{{0, 0}, {-1, -1}, {8, 13}, {11, 16}, {12, 19}, {13, 20}, {14, 21}, {1 << 62, 1 << 62}} {
		if got := r.toB(c.a); got != c.b {
			t.Errorf("toB(%d) = %d, want %d", c.a, got, c.b)
		}
	}
	for _, c := range []struct {
		b, a  int64
		exact bool
	}{{0, 0, true}, {16, 11, true}, {17, 11, false}, {18, 11, false}, {19, 12, true}, {20, 13, true}, {21, 13, false}} {
		if a, exact := r.toA(c.b); a != c.a || exact != c.exact {
			t.Errorf("toA(%d) = %d, %v, want %d, %v", c.b, a, exact, c.a, c.exact)
		}
	}
	for _, s := range []struct {
		a, b int64
		why  string
	}{
		{13, 19, "B is behind"},
		{14, 20, "B did not write"},
		{14, 23, "B wrote twice more, and has one left"},
		{12, 20, "A went back, B did not"},
	} {
		if r.saw(s.a, s.b) {
			t.Errorf("saw(%d, %d) is fine, but %s", s.a, s.b, s.why)
		}
	}
}
