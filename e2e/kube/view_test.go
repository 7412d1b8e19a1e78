package kube

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

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
