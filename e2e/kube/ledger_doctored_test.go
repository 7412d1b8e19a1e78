package kube

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// The big test is only as good as its ledger: each way to lose something must show.
func TestLedgerSeesEveryKindOfLoss(t *testing.T) {
	kept, gone, open := object{secrets, "kept"}, object{secrets, "gone"}, object{configMaps, "open"}
	honest := func() map[object]stored {
		return map[object]stored{kept: {"7", "a"}, open: {"9", "b"}}
	}
	for _, c := range []struct {
		name   string
		doctor func(map[object]stored)
		want   string
	}{
		{"nothing", func(map[object]stored) {}, ""},
		{"the open change was made", func(m map[object]stored) { m[open] = stored{"12", "c"} }, ""},
		{"the open change deleted", func(m map[object]stored) { delete(m, open) }, ""},
		{"an acknowledged object is lost", func(m map[object]stored) { delete(m, kept) }, "is gone"},
		{"an older content came back", func(m map[object]stored) { m[kept] = stored{"5", "older"} }, "something else"},
		{"written again behind the client's back", func(m map[object]stored) { m[kept] = stored{"8", "a"} }, "is stored at version 8"},
		{"a deleted object is back", func(m map[object]stored) { m[gone] = stored{"8", "a"} }, "was deleted"},
		{"an object nobody wrote", func(m map[object]stored) { m[object{secrets, "new"}] = stored{"8", "a"} }, "nobody ever wrote"},
		{"an open object holds what nobody asked for", func(m map[object]stored) { m[open] = stored{"12", "z"} }, "something else"},
	} {
		l := newLedger()
		l.acknowledged(kept, "first", "3")
		l.unanswered(kept, "lost on the way")
		l.acknowledged(kept, "a", "7")
		l.acknowledged(gone, "x", "4")
		l.acknowledged(gone, "", "")
		l.acknowledged(open, "b", "9")
		l.unanswered(open, "c")
		l.unanswered(open, "")
		found := honest()
		c.doctor(found)
		got := strings.Join(l.disagreements(found), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: reported %q, want %q", c.name, got, c.want)
		}
	}
}

func TestViewRefusesEventsThatCannotBe(t *testing.T) {
	event := func(kind watch.EventType, name, version string) watch.Event {
		return watch.Event{Type: kind, Object: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}}
	}
	for _, c := range []struct {
		name   string
		events []watch.Event
		ok     bool
	}{
		{"a life", []watch.Event{event(watch.Added, "a", "5"), event(watch.Modified, "a", "6"), event(watch.Bookmark, "", "7"), event(watch.Deleted, "a", "8")}, true},
		{"the same version twice", []watch.Event{event(watch.Added, "a", "5"), event(watch.Modified, "a", "5")}, false},
		{"an older version", []watch.Event{event(watch.Added, "a", "5"), event(watch.Added, "b", "4")}, false},
		{"added twice", []watch.Event{event(watch.Added, "a", "5"), event(watch.Added, "a", "6")}, false},
		{"its creation was skipped", []watch.Event{event(watch.Modified, "a", "5")}, false},
		{"deleted without having been", []watch.Event{event(watch.Deleted, "a", "5")}, false},
	} {
		v := &view{resource: secrets, items: map[string]item{}, version: "1"}
		var err error
		for _, e := range c.events {
			if err == nil {
				err = v.apply(e)
			}
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
