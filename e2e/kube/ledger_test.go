package kube

import (
	"fmt"
	"sort"
	"sync"
)

// ledger is what the client knows of every object, kept outside the cluster: the
// last thing that was acknowledged, and what was asked since without an answer.
//
// Every change that the load makes is conditional (create if absent, update or
// delete at one resource version), so an acknowledgement settles whatever was open
// before it.
type ledger struct {
	mu      sync.Mutex
	entries map[object]*entry
}

// object names an object within the namespace of the test.
type object struct{ resource, name string }

type entry struct {
	version string   // resource version of the last acknowledged change; "" after a delete
	payload string   // what the object holds then; "" means that it does not exist
	open    []string // payloads that may or may not have been written since
}

func newLedger() *ledger { return &ledger{entries: map[object]*entry{}} }

func (l *ledger) of(o object) *entry {
	e := l.entries[o]
	if e == nil {
		e = &entry{}
		l.entries[o] = e
	}
	return e
}

// acknowledged records a change that the server said it made.
func (l *ledger) acknowledged(o object, payload, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.of(o) = entry{version: version, payload: payload}
}

// unanswered records a change whose outcome nobody told.
func (l *ledger) unanswered(o object, payload string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.of(o)
	e.open = append(e.open, payload)
}

// stored is an object as it was found at the end.
type stored struct{ version, payload string }

// disagreements compares the ledger with everything that is stored, and describes
// each difference without an object's content.
func (l *ledger) disagreements(found map[object]stored) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for o, e := range l.entries {
		out = append(out, e.disagreement(o, found[o])...)
	}
	for o := range found {
		if l.entries[o] == nil {
			out = append(out, fmt.Sprintf("%v is stored, and nobody ever wrote it", o))
		}
	}
	sort.Strings(out)
	return out
}

func (e *entry) disagreement(o object, found stored) []string {
	if found.payload == e.payload && found.version == e.version {
		return nil
	}
	for _, open := range e.open {
		if found.payload == open {
			return nil
		}
	}
	switch {
	case e.payload == "":
		return []string{fmt.Sprintf("%v was deleted, acknowledged, and is stored at version %s", o, found.version)}
	case found.payload == "":
		return []string{fmt.Sprintf("%v was acknowledged at version %s and is gone", o, e.version)}
	case found.payload != e.payload:
		return []string{fmt.Sprintf("%v holds something else than what was acknowledged at version %s (stored: %s)", o, e.version, found.version)}
	default:
		return []string{fmt.Sprintf("%v is stored at version %s, acknowledged was %s", o, found.version, e.version)}
	}
}

// counts is how many objects should exist, how many should not, and how many may.
func (l *ledger) counts() (present, absent, open int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		switch {
		case len(e.open) > 0:
			open++
		case e.payload == "":
			absent++
		default:
			present++
		}
	}
	return present, absent, open
}
