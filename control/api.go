package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

// Status answers Seal.Status. The names of its JSON are stable.
type Status struct {
	keyring.Status
	// Quarantined is how many values were moved out of the way.
	Quarantined int64        `json:"quarantined"`
	Sizes       reseal.Sizes `json:"sizes"` // of the answering member's database
}

// CountRequest asks for how values are stored: Seal.Count.
type CountRequest struct {
	Prefix string `json:"prefix,omitempty"` // "": all
}

// PhaseRequest asks for one or more steps: Seal.Phase.
type PhaseRequest struct {
	To keyring.Phase `json:"to"`
}

// UnmarshalJSON wants the phase to be said: what leaves it out must not mean off.
func (r *PhaseRequest) UnmarshalJSON(data []byte) error {
	var said struct {
		To *keyring.Phase `json:"to"`
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&said); err != nil {
		return err
	}
	if said.To == nil {
		return errors.New("the phase to go to is not said")
	}
	r.To = *said.To
	return nil
}

// PhaseResult is the phase that was reached.
type PhaseResult struct {
	Phase keyring.Phase `json:"phase"`
}

// RotateRequest asks for a new data key, and makes it active: Seal.Rotate.
type RotateRequest struct{}

// RotateResult names the data key that is active now.
type RotateResult struct {
	Number seal.KeyNumber `json:"number"`
}

// RetireRequest asks to remove a data key that nothing needs: Seal.Retire.
type RetireRequest struct {
	Number seal.KeyNumber `json:"number"`
}

// ResealRequest asks to rewrite values in the form of the phase in force: Seal.Reseal.
type ResealRequest struct {
	Prefix string `json:"prefix,omitempty"` // "": all
	DryRun bool   `json:"dryRun,omitempty"` // only the cost
	// ToPlaintext must be said where the phase is one in which values are written in
	// plaintext.
	ToPlaintext bool `json:"toPlaintext,omitempty"`
	Rate        int  `json:"rate,omitempty"` // values a second at most; 0: reseal.DefaultRate
	// IgnoreQuota rewrites even if that brings the database near its quota.
	IgnoreQuota bool `json:"ignoreQuota,omitempty"`
}

// QuarantineRequest asks about values that do not open: Seal.Quarantine.
type QuarantineRequest struct {
	Action      string `json:"action"`                // list, move, drop or restore
	Key         []byte `json:"key,omitempty"`         // not for list
	ModRevision int64  `json:"modRevision,omitempty"` // not for list
}

// QuarantineList is what there is.
type QuarantineList struct {
	// Unopenable are live values that do not open, the first MaxListed of them.
	Unopenable  []reseal.Problem     `json:"unopenable"`
	More        int64                `json:"more,omitempty"` // not listed
	Quarantined []reseal.Quarantined `json:"quarantined"`
}

// MaxListed bounds a QuarantineList.
const MaxListed = 1000

// BackupsRequest declares which backups exist: Seal.Backups.
type BackupsRequest struct {
	Action string `json:"action"` // list, add or forget
	Name   string `json:"name,omitempty"`
	// Keys are the data keys that the backup needs; none: all that the ring has.
	Keys []seal.KeyNumber `json:"keys,omitempty"`
	// Until is when the backup is destroyed at the latest; zero: when it is forgotten.
	Until time.Time `json:"until,omitzero"`
}

// Backup is a backup that was declared.
type Backup struct {
	Name  string           `json:"name"`
	Added time.Time        `json:"added"`
	Until time.Time        `json:"until,omitzero"`
	Keys  []seal.KeyNumber `json:"keys"`
}

// Event is one line of the answer to a long call. One of its fields is set, or none,
// which says that the call is still under way.
type Event struct {
	Line     string           `json:"line,omitempty"` // what happens, for people
	Seen     int64            `json:"seen,omitempty"` // values or revisions looked at so far
	Cost     *reseal.Cost     `json:"cost,omitempty"`
	Progress *reseal.Progress `json:"progress,omitempty"`
	Result   json.RawMessage  `json:"result,omitempty"` // the last line of a call that succeeded
	Error    *Error           `json:"error,omitempty"`  // the last line of one that did not
}

// Error is what went wrong and the way out of it.
type Error struct {
	Message string `json:"error"`
	Fix     string `json:"hint,omitempty"`
	// Part is what a call that failed did nevertheless.
	Part json.RawMessage `json:"part,omitempty"`

	status int
}

func (e *Error) Error() string { return e.Message }

// Hint is the way out.
func (e *Error) Hint() string { return e.Fix }
