package kube

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
)

// view is what a watcher believes is stored, built from events alone.
type view struct {
	resource string
	mu       sync.Mutex
	items    map[string]item
	version  string
	events   int
	streams  int
}

// follow keeps the view up to date until ctx ends. A stream that the server closes
// is taken up again where it ended; one that skips, repeats or reorders is an error.
func (v *view) follow(ctx context.Context, t testing.TB, s store) {
	for ctx.Err() == nil {
		stream, err := s.watch(ctx, v.resource, v.version)
		if err != nil {
			continue // the context ends the retries
		}
		v.mu.Lock()
		v.streams++
		v.mu.Unlock()
		for event := range stream.ResultChan() {
			if event.Type == watch.Error && ctx.Err() != nil {
				return // that is how the client says that we stopped it
			}
			if err := v.apply(event); err != nil {
				t.Errorf("watching %s: %v", v.resource, err)
				stream.Stop()
				return
			}
		}
	}
}

func (v *view) apply(event watch.Event) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if event.Type == watch.Error {
		return fmt.Errorf("the server ended the watch: %v", event.Object)
	}
	object, err := meta.Accessor(event.Object)
	if err != nil {
		return err
	}
	newer, older := atoi(object.GetResourceVersion()), atoi(v.version)
	if event.Type == watch.Bookmark {
		v.version = object.GetResourceVersion()
		return nil
	}
	i, err := itemOf(event.Object)
	if err != nil {
		return err
	}
	if newer <= older {
		return fmt.Errorf("event %s %s at version %d came after version %d", event.Type, i.name, newer, older)
	}
	_, known := v.items[i.name]
	if known != (event.Type != watch.Added) {
		return fmt.Errorf("event %s %s at version %d, but known before: %v", event.Type, i.name, newer, known)
	}
	if event.Type == watch.Deleted {
		delete(v.items, i.name)
	} else {
		v.items[i.name] = i
	}
	v.version = i.version
	v.events++
	return nil
}

// seen is how many events came, and in how many streams.
func (v *view) seen() (events, streams int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.events, v.streams
}

// difference says how the view differs from a list; "" if it does not.
func (v *view) difference(list listed) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, want := range list.items {
		if have, ok := v.items[name]; !ok || have != want {
			return fmt.Sprintf("%s %s is listed at version %s; watched: %v, at version %s", v.resource, name, want.version, ok, have.version)
		}
	}
	for name := range v.items {
		if _, ok := list.items[name]; !ok {
			return fmt.Sprintf("%s %s was watched into being and is not listed", v.resource, name)
		}
	}
	return ""
}
