package ledger

import (
	"strings"
	"testing"
)

// A test is only as good as its ledger: each way to lose something must show.
func TestLedgerSeesEveryKindOfLoss(t *testing.T) {
	kept, gone, open := Object{"secrets", "kept"}, Object{"secrets", "gone"}, Object{"configmaps", "open"}
	honest := func() map[Object]Stored {
		return map[Object]Stored{kept: {"7", "a"}, open: {"9", "b"}}
	}
	for _, c := range []struct {
		name   string
		doctor func(map[Object]Stored)
		want   string
	}{
		{"nothing", func(map[Object]Stored) {}, ""},
		{"the open change was made", func(m map[Object]Stored) { m[open] = Stored{"12", "c"} }, ""},
		{"the open change deleted", func(m map[Object]Stored) { delete(m, open) }, ""},
		{"an acknowledged object is lost", func(m map[Object]Stored) { delete(m, kept) }, "is gone"},
		{"an older content came back", func(m map[Object]Stored) { m[kept] = Stored{"5", "older"} }, "something else"},
		{"written again behind the client's back", func(m map[Object]Stored) { m[kept] = Stored{"8", "a"} }, "is stored at version 8"},
		{"a deleted object is back", func(m map[Object]Stored) { m[gone] = Stored{"8", "a"} }, "was deleted"},
		{"an object nobody wrote", func(m map[Object]Stored) { m[Object{"secrets", "new"}] = Stored{"8", "a"} }, "nobody ever wrote"},
		{"an open object holds what nobody asked for", func(m map[Object]Stored) { m[open] = Stored{"12", "z"} }, "something else"},
	} {
		l := New()
		l.Acknowledged(kept, "first", "3")
		l.Unanswered(kept, "lost on the way")
		l.Acknowledged(kept, "a", "7")
		l.Acknowledged(gone, "x", "4")
		l.Acknowledged(gone, "", "")
		l.Acknowledged(open, "b", "9")
		l.Unanswered(open, "c")
		l.Unanswered(open, "")
		found := honest()
		c.doctor(found)
		got := strings.Join(l.Disagreements(found), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: reported %q, want %q", c.name, got, c.want)
		}
	}
}

func TestARewriteMovesTheVersionOnAndNothingElse(t *testing.T) {
	o := Object{"secrets", "a"}
	for _, c := range []struct {
		found Stored
		want  string
	}{
		{Stored{"7", "a"}, ""}, {Stored{"12", "a"}, ""},
		{Stored{"6", "a"}, "is stored at version 6"}, {Stored{"12", "b"}, "something else"}, {Stored{}, "is gone"},
	} {
		l := New()
		l.Rewrites = true
		l.Acknowledged(o, "a", "7")
		got := strings.Join(l.Disagreements(map[Object]Stored{o: c.found}), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%v: reported %q, want %q", c.found, got, c.want)
		}
	}
}
