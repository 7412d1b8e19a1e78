package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// event looks at what an event says that the log as a whole must bear out.
func (v *verifier) event(f *fact, text []byte, line int64) {
	switch f.kind {
	case intent:
		v.open(v.next)
	case outcome:
		v.answer(f.of, line)
	case system:
		v.system(text)
	case checkpoint, signer:
		v.checkpoint(f.kind, text, line)
	}
	if f.kind != checkpoint && f.kind != witness && f.kind != system {
		v.stoppedAt = 0
	}
}

// said are the members of an event that count here.
type said struct {
	What   string `json:"what"`
	Note   string `json:"note"`
	Origin string `json:"origin"`
	Result string `json:"result"`
}

func (v *verifier) checkpoint(k kind, text []byte, line int64) {
	var e said
	var c Checkpoint
	err := json.Unmarshal(text, &e)
	if err == nil && k == signer {
		err = v.keys.learn(e.Note, v.candidates)
	}
	if err == nil {
		c, err = v.keys.open(e.Note)
	}
	if err == nil && c.Size != v.next {
		if v.broken != nil {
			return
		}
		v.doesNotHold(v.next, false)
		err = fmt.Errorf("it is of %d events, and stands after %d: it was put here", c.Size, v.next)
	}
	if err != nil {
		f := Finding{Kind: Forged, Line: line, Event: v.next, Last: v.next, Text: "the checkpoint here does not count: " + err.Error()}
		if errors.Is(err, errStranger) {
			f.Kind = Replaced
		}
		if k == signer {
			f.Kind, f.Text = BadKey, "the hand-over between keys here does not count: "+err.Error()
		}
		v.find(f)
		return
	}
	v.report.Checkpoints++
	v.resolve(&c)
	v.signed(c)
}

// maxIntents is how many are followed that have no outcome. A member has as many as
// requests in flight.
const maxIntents = 1 << 20

func (v *verifier) open(n int64) {
	if len(v.intents) < maxIntents {
		v.intents[n] = v.starts
	}
}

func (v *verifier) answer(of, line int64) {
	if _, ok := v.intents[of]; ok {
		delete(v.intents, of)
		return
	}
	if of < v.report.First || v.broken != nil || v.isNoticed(of) {
		return
	}
	v.report.add(Finding{Kind: NoOutcome, Segment: v.segmentOf(v.next), Line: line, Event: v.next, Last: v.next,
		Text: fmt.Sprintf("it is the outcome of event %d, which is no intent or has an outcome already", of)})
}

// system: a member that starts gives every intent an outcome which its last run left
// without.
func (v *verifier) system(text []byte) {
	var e said
	if json.Unmarshal(text, &e) != nil {
		return
	}
	v.stoppedAt = 0
	switch e.What {
	case "started":
		v.starts++
	case "stopped":
		v.starts++
		v.stoppedAt = v.next
	}
}

func (v *verifier) finishIntents() {
	var left []int64
	for n, starts := range v.intents {
		if starts < v.starts {
			left = append(left, n)
		}
	}
	slices.Sort(left)
	excused := 0
	for _, n := range left {
		if v.anyNoticed(span{n, v.next}) { // the outcome may be what is missing
			excused++
			continue
		}
		v.report.add(Finding{Kind: NoOutcome, Event: n, Last: n, Segment: v.segmentOf(n), Text: fmt.Sprintf("event %d is an intent without an outcome, and the member has stopped or started since", n)})
	}
	if excused > 0 {
		v.report.remark("%d intents have no outcome: those may be among the events that are missing or not understood", excused)
	}
	if inFlight := len(v.intents) - len(left); inFlight > 0 {
		v.report.remark("%d requests at the end have no outcome yet: they were in flight", inFlight)
	}
}
