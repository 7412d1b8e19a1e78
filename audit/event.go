package audit

import (
	"github.com/etcdguard/etcdguard/etcdapi"
)

// Kind is what an event is about.
type Kind string

// The kinds of event; docs/design/10-audit-log.md says when each is written.
const (
	Intent     Kind = "intent"
	Outcome    Kind = "outcome"
	Read       Kind = "access"
	Denied     Kind = "denied"
	Watch      Kind = "watch"
	Stream     Kind = "stream"
	Handshake  Kind = "handshake"
	Summary    Kind = "summary"
	System     Kind = "system"
	Checkpoint Kind = "checkpoint"
	Witness    Kind = "witness"
	SignerKey  Kind = "signer"
	Gap        Kind = "gap"
)

// Event is what is to be recorded. Fields without a value are left out of the line.
// What it refers to must not change until it was handed to a Log, which keeps nothing of it.
type Event struct {
	Kind   Kind
	Caller *Caller
	Action etcdapi.Action
	Access []Access
	// Target is what an administrative request is about: a member's id, the name of a
	// user or a role.
	Target string
	// Lease and Revision are options of requests without keys; those of accesses stand
	// there.
	Lease, Revision int64
	Physical        bool

	Decision Decision
	Rule     string
	Reason   string

	// Of is the number of the intent that this is the outcome of.
	Of uint64
	// Answer is how the request ended; nil before it has.
	Answer *Answer
	// Watch is a watch_id. Watches have them from 0 on, so it counts for kind Watch alone.
	Watch int64

	// From and To are what a summary (times) or a gap (times or revisions) spans.
	From, To string
	Counts   []Count

	// What and Detail are an act of etcdguard's own; Detail is names and values in turn.
	What   string
	Detail []string

	Note, Origin, Result string

	clock *clock // that the line is written by
}

// Decision is what the guard said.
type Decision string

// The decisions, named as in the guard's metrics.
const (
	Allowed   Decision = "allowed"
	Observed  Decision = "observed"
	Refused   Decision = "refused"
	Limited   Decision = "limited"
	Postponed Decision = "postponed"
	NotLet    Decision = "denied"
)

// Access is one access that was judged, with the options that bear on it.
type Access struct {
	Action etcdapi.Action
	Keys   etcdapi.Range
	// Rule is the rule that decided; it is written where it is not that of the event.
	Rule string

	Limit, Revision, Lease           int64
	Serializable, KeysOnly           bool
	CountOnly, PrevKV, KeepsOldValue bool
}

// Answer is how a request ended.
type Answer struct {
	Code        string // gRPC's name of the status
	Revision    int64  // of the store, in the answer's header
	Keys, Bytes int64
	Micros      int64
}

// Lost is the code of a request whose process ended before there was an answer.
const Lost = "Lost"

// Count is how often something was not written, but counted.
type Count struct {
	Action, Code, Level string
	N, Keys, Bytes      int64
}
