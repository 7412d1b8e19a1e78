package evidence

import (
	"fmt"
	"time"
)

// Report is what verification found.
type Report struct {
	Version int    `json:"version"`
	Dir     string `json:"dir"`
	Log     string `json:"log"` // the origin

	First    int64     `json:"first"` // event that is still there
	Size     int64     `json:"size"`  // the number of the next event
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Segments int       `json:"segments"`
	Bytes    int64     `json:"bytes"`

	// Signed: the events before this one are under a checkpoint that holds, but for
	// those that findings name.
	Signed      int64 `json:"signed"`
	Checkpoints int64 `json:"checkpoints"`

	Keys      []KeyReport     `json:"keys"`
	Witnesses []WitnessReport `json:"witnesses,omitempty"`
	Findings  []Finding       `json:"findings,omitempty"`
	More      int64           `json:"moreFindings,omitempty"` // than are listed
	Remarks   []string        `json:"remarks,omitempty"`
}

// KeyReport is a key that was trusted.
type KeyReport struct {
	Key string `json:"key"`
	// Trusted is why: "given", "in the directory", or "handed over".
	Trusted string `json:"trusted"`
	From    int64  `json:"from"`         // the size of the first tree that it signs
	To      int64  `json:"to,omitempty"` // the size with which it handed over
}

// WitnessReport is what another member's log, or what was exported, says of this one.
type WitnessReport struct {
	Path        string `json:"path"`
	Seen        int64  `json:"seen"`        // it vouches for the events before this one
	Checkpoints int64  `json:"checkpoints"` // that it has and that hold
	Earlier     int64  `json:"earlier"`     // that it has of what has expired
}

// Finding is something that is not as it was, or not as it must be.
type Finding struct {
	Kind    FindingKind `json:"kind"`
	Segment string      `json:"segment,omitempty"` // file
	Line    int64       `json:"line,omitempty"`    // in it; its header is line 1
	Event   int64       `json:"event"`             // the first that it is about
	Last    int64       `json:"last"`              // the last
	Text    string      `json:"text"`
}

// FindingKind names what is wrong.
type FindingKind string

// The kinds of finding.
const (
	Missing    FindingKind = "missing"    // events are not there
	Altered    FindingKind = "altered"    // events are not what was signed
	Inserted   FindingKind = "inserted"   // a line is none of the log's
	Duplicated FindingKind = "duplicated" // an event stands there again
	Moved      FindingKind = "moved"      // an event stands at another place
	Invalid    FindingKind = "invalid"    // a line is no event
	BadTime    FindingKind = "time"       // time goes back
	BadHeader  FindingKind = "header"     // of a segment
	BadHashes  FindingKind = "hashes"     // the file beside a segment
	Forged     FindingKind = "forged"     // a checkpoint is not the signer's
	ForkedLog  FindingKind = "forked"     // somebody has seen another history
	Truncated  FindingKind = "truncated"  // the end is not there
	Replaced   FindingKind = "replaced"   // it is another log, or another key's
	NoOutcome  FindingKind = "outcome"    // an intent and its outcome do not belong together
	BadKey     FindingKind = "key"        // nobody introduced it
)

// maxFindings is how many are listed: one cut can make many.
const maxFindings = 1000

func (r *Report) add(f Finding) {
	if len(r.Findings) == maxFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, f)
}

func (r *Report) remark(format string, args ...any) {
	r.Remarks = append(r.Remarks, fmt.Sprintf(format, args...))
}

// Holds says that nothing was found.
func (r *Report) Holds() bool { return len(r.Findings) == 0 }
