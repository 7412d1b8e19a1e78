package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Result is what a witness made of another log's document.
type Result string

// The results. Of the first four there is an event, see Observation.Append.
const (
	First        Result = "first"      // nothing of this log was seen before
	Consistent   Result = "consistent" // it continues what was seen
	Forked       Result = "forked"     // it does not: the log has two histories
	Expired      Result = "expired"    // nobody can tell any more: it has let that part go
	Unchanged    Result = "unchanged"
	Stale        Result = "stale"         // an older tree than was seen: the log, or etcd, was put back
	NoProof      Result = "no proof"      // newer, but not yet shown to continue what was seen
	BadSignature Result = "bad signature" // nobody who speaks for this log has signed it
)

// Observation is what came of a look at a document.
type Observation struct {
	Result Result
	Origin string // of the other log, as far as it is known
	// Note is the checkpoint, verbatim.
	Note string
	// Append says that the member's own log is to get a witness event with Origin,
	// Result and Note. Recorded is to be called when it has.
	Append bool
	Why    error // for people, of results that are not good
}

// Witness is what a member has seen of the other logs. It is not safe for concurrent
// use. Its zero value has seen nothing.
type Witness struct{ seen map[string]*watched }

// watched is one other log.
type watched struct {
	last   Seen
	note   string // that it is from
	forked bool   // and that is on record
}

// Restore takes a witness event of the member's own log, in the order they are in it.
// What a log is remembered by is in that log, not in etcd: who puts etcd back does not
// make the members forget.
func (w *Witness) Restore(result Result, note string) error {
	c, err := Unverified(note)
	if err != nil {
		return fmt.Errorf("reading a witness event: %w", err)
	}
	w.record(result, c, note)
	return nil
}

func (w *Witness) record(result Result, c Checkpoint, note string) {
	if w.seen == nil {
		w.seen = map[string]*watched{}
	}
	switch known := w.seen[c.Origin]; {
	case known == nil:
		w.seen[c.Origin] = &watched{last: Seen{c.Origin, c.Size, c.Root}, note: note, forked: result == Forked}
	case result == Forked:
		known.forked = true // what it was before is what counts
	default:
		*known = watched{last: Seen{c.Origin, c.Size, c.Root}, note: note}
	}
}

// Memory are the events that Restore needs to know as much as w: for a log whose older
// ones expire.
func (w *Witness) Memory() []Observation {
	var all []Observation
	for _, origin := range slices.Sorted(maps.Keys(w.seen)) {
		known := w.seen[origin]
		result := Consistent
		if known.forked {
			result = Forked
		}
		all = append(all, Observation{Result: result, Origin: origin, Note: known.note})
	}
	return all
}

// Recorded says that the event of an observation is in the member's own log.
func (w *Witness) Recorded(o Observation) {
	if c, err := Unverified(o.Note); err == nil {
		w.record(o.Result, c, o.Note)
	}
}

// Observe looks at the document of another member. It changes nothing: an observation
// that did not come as far as the log is made again.
func (w *Witness) Observe(d *Document) Observation {
	claimed, err := Unverified(d.Checkpoint)
	if err != nil {
		return Observation{Result: BadSignature, Note: d.Checkpoint, Why: err}
	}
	o := Observation{Origin: claimed.Origin, Note: d.Checkpoint}
	known := w.seen[claimed.Origin]
	k, err := d.keys(known)
	if err != nil {
		o.Result, o.Why = BadSignature, err
		return o
	}
	c, err := k.open(d.Checkpoint)
	if err != nil {
		o.Result, o.Why = BadSignature, err
		return o
	}
	if known == nil {
		o.Result, o.Append = First, true
		return o
	}
	o.Result, o.Why = known.compare(c, d)
	o.Append = o.Result == Consistent || o.Result == Expired || o.Result == Forked && !known.forked
	return o
}

// keys are those that the document's checkpoint may be signed with. The first time,
// that is whichever it names. Afterwards one of them must have signed what was seen,
// or a key that did must have handed over to it: else whoever can write to etcd could
// go on in the name of the log.
func (d *Document) keys(known *watched) (*keys, error) {
	all, err := newKeys(d.Keys)
	if err != nil {
		return nil, err
	}
	if problems := all.learnAll(d.Handovers, nil); len(problems) > 0 {
		return nil, problems[0]
	}
	if known == nil {
		return all, nil
	}
	var trusted []string
	for _, text := range d.Keys {
		one, err := newKeys([]string{text})
		if err != nil {
			return nil, err
		}
		if _, err := one.open(known.note); err == nil {
			trusted = append(trusted, text)
		}
	}
	if len(trusted) == 0 {
		return nil, errStranger
	}
	k, err := newKeys(trusted)
	if err != nil {
		return nil, err
	}
	k.learnAll(d.Handovers, nil) // those between older keys lead nowhere
	return k, nil
}

func (k *watched) compare(c Checkpoint, d *Document) (Result, error) {
	last := k.last
	switch {
	case c.Size == last.Size && c.Root == last.Root:
		return Unchanged, nil
	case c.Size == last.Size:
		return Forked, fmt.Errorf("%d events have the root %s, and had %s", c.Size, c.Root, last.Root)
	case c.Size < last.Size:
		return Stale, fmt.Errorf("it has %d events, and had %d: an older copy of the log or of etcd was put back", c.Size, last.Size)
	}
	proof, ok := d.proof(last.Size)
	switch {
	case last.Size == 0:
		return Consistent, nil // everything continues nothing
	case ok && proof.Expired:
		return Expired, fmt.Errorf("it can't show any more that its %d events continue the %d that were seen: those have expired", c.Size, last.Size)
	case !ok:
		return NoProof, fmt.Errorf("nothing shows yet that its %d events continue the %d that were seen", c.Size, last.Size)
	}
	if err := tlog.CheckTree(proof.Hashes, c.Size, c.Root, last.Size, last.Root); err != nil {
		return Forked, fmt.Errorf("its %d events do not continue the %d that were seen: %w", c.Size, last.Size, err)
	}
	return Consistent, nil
}

// Log is the member's own, as far as a document tells of it.
type Log struct {
	Signer     *Signer
	Checkpoint string // the newest
	Prover     *Prover
}

// Dispute is something that another member has seen of this log and that is not so:
// this log was put back to an older copy, or rewritten.
type Dispute struct {
	Seen  Seen
	By    string // the origin of the other's log, as far as it is known
	Error error
}

// Compose makes this member's document. The others' are those that are in etcd now;
// published is this member's own that is, or nil. What can't be proven to one member
// keeps nothing from the rest.
func (w *Witness) Compose(own Log, published *Document, others []*Document) (*Document, []Dispute, error) {
	at, err := Unverified(own.Checkpoint)
	if err != nil {
		return nil, nil, fmt.Errorf("composing the witness document: %w", err)
	}
	d := &Document{
		Version: documentVersion, Checkpoint: own.Checkpoint,
		Keys: newest(own.Signer.public, maxKeys), Handovers: newest(own.Signer.handovers, maxKeys-1),
	}
	var disputes []Dispute
	sizes := map[int64]bool{}
	if published != nil {
		// The others have seen it by now, whether they have said so or not: so they need
		// not wait a round for the proof.
		if c, err := Unverified(published.Checkpoint); err == nil && c.Size < at.Size {
			sizes[c.Size] = true
		}
	}
	for _, other := range others[:min(len(others), maxOthers)] {
		theirs, err := Unverified(other.Checkpoint)
		if err != nil {
			continue
		}
		if known := w.seen[theirs.Origin]; known != nil && !slices.Contains(d.Seen, known.last) {
			d.Seen = append(d.Seen, known.last)
		}
		saw, ok := other.sawOf(own.Signer.Origin())
		if !ok {
			continue
		}
		if err := confirm(own.Prover, saw); err != nil {
			disputes = append(disputes, Dispute{saw, theirs.Origin, err})
		} else if saw.Size < at.Size {
			sizes[saw.Size] = true
		}
	}
	for size := range sizes {
		if size == 0 {
			continue
		}
		proof, err := own.Prover.Consistency(size, at.Size)
		if errors.Is(err, ErrExpired) {
			d.Proofs = append(d.Proofs, Continuation{From: size, Expired: true})
			continue
		}
		if err != nil {
			return nil, disputes, fmt.Errorf("composing the witness document: %w", err)
		}
		d.Proofs = append(d.Proofs, Continuation{From: size, Hashes: proof})
	}
	// The same facts are the same bytes, whatever order they came in.
	slices.SortFunc(d.Proofs, func(a, b Continuation) int { return cmp.Compare(a.From, b.From) })
	slices.SortFunc(d.Seen, func(a, b Seen) int { return strings.Compare(a.Origin, b.Origin) })
	return d, disputes, nil
}

// newest are the last most of a list.
func newest(list []string, most int) []string { return slices.Clone(list[max(0, len(list)-most):]) }

// confirm looks whether another has seen this log as it is.
func confirm(p *Prover, saw Seen) error {
	if saw.Size > p.Size() {
		return fmt.Errorf("it has seen %d events of this log, which has %d: an older copy of the log was put back", saw.Size, p.Size())
	}
	root, err := p.Root(saw.Size)
	if errors.Is(err, ErrExpired) {
		return nil
	}
	if err != nil {
		return err
	}
	if root != saw.Root {
		return fmt.Errorf("it has seen %d events of this log with the root %s, and they have %s: this log is not the one that it was", saw.Size, saw.Root, root)
	}
	return nil
}

// PublishEvery is the least time between two writes of a document.
const PublishEvery = 10 * time.Second

// Due says whether a document is to be written to etcd: when it says something that
// the others need and that the published one does not. That a proof is needed no more
// is no reason: an idle cluster writes nothing.
func Due(published, fresh *Document, since time.Duration) bool {
	switch {
	case published == nil:
		return true
	case since < PublishEvery:
		return false
	case published.Checkpoint != fresh.Checkpoint,
		!slices.Equal(published.Keys, fresh.Keys),
		!slices.Equal(published.Handovers, fresh.Handovers),
		!slices.Equal(published.Seen, fresh.Seen):
		return true
	}
	return slices.ContainsFunc(fresh.Proofs, func(p Continuation) bool {
		_, ok := published.proof(p.From)
		return !ok
	})
}
