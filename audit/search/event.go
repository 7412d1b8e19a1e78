package search

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Event is an event as its line has it. docs/design/10-audit-log.md says what the
// members mean.
type Event struct {
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Of       *uint64   `json:"of"`
	Caller   *Caller   `json:"caller"`
	Action   string    `json:"action"`
	Access   []Access  `json:"access"`
	More     int64     `json:"more"`
	Target   string    `json:"target"`
	Lease    string    `json:"lease"`
	Revision int64     `json:"revision"`
	Physical bool      `json:"physical"`

	Decision string `json:"decision"`
	Rule     string `json:"rule"`
	Reason   string `json:"reason"`
	Watch    *int64 `json:"watch"`

	Code   string `json:"code"`
	Rev    int64  `json:"rev"`
	Keys   int64  `json:"keys"`
	Bytes  int64  `json:"bytes"`
	Micros int64  `json:"micros"`

	From   string            `json:"from"`
	To     string            `json:"to"`
	Counts []Count           `json:"counts"`
	What   string            `json:"what"`
	Detail map[string]string `json:"detail"`
	Note   string            `json:"note"`
	Origin string            `json:"origin"`
	Result string            `json:"result"`

	// Line is what all of this was read from, without its line break.
	Line []byte `json:"-"`
}

// Caller is who asked, as the certificate says it and the policy knows it.
type Caller struct {
	Name            string   `json:"name,omitempty"`
	CN              string   `json:"cn,omitempty"`
	O               []string `json:"o,omitempty"`
	DNS             []string `json:"dns,omitempty"`
	IP              []string `json:"ip,omitempty"`
	URI             []string `json:"uri,omitempty"`
	Serial          string   `json:"serial,omitempty"`
	PublicKeySHA256 string   `json:"publicKeySHA256,omitempty"`
	Peer            string   `json:"peer,omitempty"`
}

// Access is one access that was judged.
type Access struct {
	Action   string  `json:"action"`
	Key      *string `json:"key"`
	End      *string `json:"end"`
	Key64    []byte  `json:"key64"`
	End64    []byte  `json:"end64"`
	KeyBytes int64   `json:"keyBytes"`
	EndBytes int64   `json:"endBytes"`

	Limit        int64  `json:"limit"`
	Revision     int64  `json:"revision"`
	Lease        string `json:"lease"`
	Serializable bool   `json:"serializable"`
	KeysOnly     bool   `json:"keysOnly"`
	CountOnly    bool   `json:"countOnly"`
	PrevKV       bool   `json:"prevKV"`
	IgnoreValue  bool   `json:"ignoreValue"`
	Rule         string `json:"rule"`
}

// Count is how often something was counted and not written.
type Count struct {
	Action string `json:"action"`
	Code   string `json:"code"`
	Level  string `json:"level"`
	N      int64  `json:"n"`
	Keys   int64  `json:"keys"`
	Bytes  int64  `json:"bytes"`
}

// The kinds of event that are treated in a way of their own here.
const (
	kindIntent    = "intent"
	kindOutcome   = "outcome"
	kindRead      = "access"
	kindDenied    = "denied"
	kindWatch     = "watch"
	kindStream    = "stream"
	kindHandshake = "handshake"
	kindSummary   = "summary"
	kindGap       = "gap"
)

const codeOK = "OK"

func decode(line []byte) (*Event, error) {
	e := new(Event)
	if err := json.Unmarshal(line, e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	if e.Kind == "" {
		return nil, errors.New("reading an event: it has no kind")
	}
	e.Line = line
	return e, nil
}

func (a *Access) facts() accessFacts {
	f := accessFacts{action: []byte(a.Action), keyWasCut: a.KeyBytes > 0, endWasCut: a.EndBytes > 0}
	var hasKey bool
	f.key, hasKey = either(a.Key, a.Key64)
	f.end, f.hasEnd = either(a.End, a.End64)
	f.keyed = hasKey || f.hasEnd
	return f
}

// Reach is the key or the range of keys that an access names, and whether it names any.
func (a *Access) Reach() (keys Keys, ok bool) {
	f := a.facts()
	return f.keys(), f.keyed
}

func either(text *string, binary []byte) ([]byte, bool) {
	if text != nil {
		return []byte(*text), true
	}
	return binary, binary != nil
}

// Keys are the keys from Begin up to, and without, End; a nil End is no end.
type Keys struct{ Begin, End []byte }

// OneKey are the keys that are this one.
func OneKey(key []byte) Keys { return Keys{key, after(key)} }

// Prefix are the keys that begin so.
func Prefix(p []byte) Keys { return Keys{p, prefixEnd(p)} }

func (k Keys) overlap(o Keys) bool {
	return (o.End == nil || bytes.Compare(k.Begin, o.End) < 0) && (k.End == nil || bytes.Compare(o.Begin, k.End) < 0)
}

// after is the next possible key.
func after(key []byte) []byte { return append(key[:len(key):len(key)], 0) }

// prefixEnd is the first key after all that begin with p, nil if there is none.
func prefixEnd(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] < 0xff {
			end := bytes.Clone(p[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}
