// Package ledger is what a client knows of everything it wrote, kept outside the
// store that it judges: the last change of each object that was acknowledged, and what
// was asked since without an answer.
package ledger

import (
	"fmt"
	"sort"
	"strconv"
	"sync"
)

// Ledger is the account of every object. All methods may be called concurrently.
//
// Every change that is entered is conditional (create if absent, update or
// delete at one resource version), so an acknowledgement settles whatever was open
// before it.
type Ledger struct {
	// Rewrites tells that somebody else may write an object again as it is, which moves
	// its version on, a number, and nothing else. Set it before anything is entered.
	Rewrites bool

	mu      sync.Mutex
	entries map[Object]*entry
}

// Object names an object.
type Object struct{ Resource, Name string }

type entry struct {
	version string   // of the last acknowledged change; "" after a delete
	payload string   // what the object holds then; "" means that it does not exist
	open    []string // payloads that may or may not have been written since
}

// New is an empty ledger.
func New() *Ledger { return &Ledger{entries: map[Object]*entry{}} }

func (l *Ledger) of(o Object) *entry {
	e := l.entries[o]
	if e == nil {
		e = &entry{}
		l.entries[o] = e
	}
	return e
}

// Acknowledged enters a change that the server said it made. An empty payload is a
// deletion.
func (l *Ledger) Acknowledged(o Object, payload, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.of(o) = entry{version: version, payload: payload}
}

// Unanswered enters a change whose outcome nobody told.
func (l *Ledger) Unanswered(o Object, payload string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.of(o)
	e.open = append(e.open, payload)
}

// Stored is an object as it was found at the end.
type Stored struct{ Version, Payload string }

// Disagreements compares the ledger with everything that is stored, and describes
// each difference without an object's content.
func (l *Ledger) Disagreements(found map[Object]Stored) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for o, e := range l.entries {
		out = append(out, e.disagreement(o, found[o], l.Rewrites)...)
	}
	for o := range found {
		if l.entries[o] == nil {
			out = append(out, fmt.Sprintf("%v is stored, and nobody ever wrote it", o))
		}
	}
	sort.Strings(out)
	return out
}

func (e *entry) disagreement(o Object, found Stored, rewrites bool) []string {
	if found.Payload == e.payload && (found.Version == e.version || rewrites && later(found.Version, e.version)) {
		return nil
	}
	for _, open := range e.open {
		if found.Payload == open {
			return nil
		}
	}
	switch {
	case e.payload == "":
		return []string{fmt.Sprintf("%v was deleted, acknowledged, and is stored at version %s", o, found.Version)}
	case found.Payload == "":
		return []string{fmt.Sprintf("%v was acknowledged at version %s and is gone", o, e.version)}
	case found.Payload != e.payload:
		return []string{fmt.Sprintf("%v holds something else than what was acknowledged at version %s (stored: %s)", o, e.version, found.Version)}
	default:
		return []string{fmt.Sprintf("%v is stored at version %s, acknowledged was %s", o, found.Version, e.version)}
	}
}

// Counts is how many objects should exist, how many should not, and how many may.
func (l *Ledger) Counts() (present, absent, open int) {
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

// later reports whether a is a later version than b.
func later(a, b string) bool {
	m, err := strconv.ParseInt(a, 10, 64)
	n, err2 := strconv.ParseInt(b, 10, 64)
	return err == nil && err2 == nil && m > n
}
