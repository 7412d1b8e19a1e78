package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Bounds of a document. All members of a cluster fit in many times.
const (
	MaxDocument = 64 << 10
	maxKeys     = 16
	maxOthers   = 64
	maxProof    = 2 * 64
)

// Document is what one member tells the others of its log, by way of etcd. Whoever can
// write there can write anything: what counts of it is what a signature or a proof
// bears out.
type Document struct {
	Version int `json:"etcdguardAuditDocument"`

	// Checkpoint is the log's newest.
	Checkpoint string `json:"checkpoint"`
	// Keys are its verifier keys and Handovers what links them, the newest of both.
	Keys      []string `json:"keys"`
	Handovers []string `json:"handovers,omitempty"`
	// Seen is what this member has last seen of other logs.
	Seen []Seen `json:"seen,omitempty"`
	// Proofs show that the checkpoint continues what others have seen.
	Proofs []Continuation `json:"proofs,omitempty"`
}

const documentVersion = 1

// Seen is a tree that a log has signed.
type Seen struct {
	Origin string    `json:"origin"`
	Size   int64     `json:"size"`
	Root   tlog.Hash `json:"root"`
}

// Continuation is the proof that the tree of the document's checkpoint begins with
// that of the first From events; or that there is none any more, because that part of
// the log has expired.
type Continuation struct {
	From    int64       `json:"from"`
	Hashes  []tlog.Hash `json:"hashes,omitempty"`
	Expired bool        `json:"expired,omitempty"`
}

// Marshal is the document as it is kept.
func (d *Document) Marshal() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("writing a witness document: %w", err)
	}
	data, err := json.Marshal(d)
	if err == nil && len(data) > MaxDocument {
		err = fmt.Errorf("it has %d bytes, more than %d", len(data), MaxDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("writing a witness document: %w", err)
	}
	return data, nil
}

// ParseDocument takes exactly what Marshal makes.
func ParseDocument(data []byte) (*Document, error) {
	fail := func(err error) (*Document, error) {
		return nil, fmt.Errorf("reading a witness document: %w", err)
	}
	if len(data) > MaxDocument {
		return fail(fmt.Errorf("it has %d bytes, more than %d", len(data), MaxDocument))
	}
	d := &Document{}
	if err := json.Unmarshal(data, d); err != nil {
		return fail(err)
	}
	if err := d.check(); err != nil {
		return fail(err)
	}
	// One document has one form: no member twice, none that is unknown, nothing after it.
	if again, err := json.Marshal(d); err != nil || !bytes.Equal(again, data) {
		return fail(errors.New("it is not as etcdguard writes it"))
	}
	return d, nil
}

func (d *Document) check() error {
	switch {
	case d.Version != documentVersion:
		return fmt.Errorf("version %d; this etcdguard knows %d: bring the members to one release", d.Version, documentVersion)
	case len(d.Keys) == 0 || len(d.Keys) > maxKeys || len(d.Handovers) > maxKeys:
		return fmt.Errorf("%d keys and %d hand-overs: it has 1 to %d", len(d.Keys), len(d.Handovers), maxKeys)
	case len(d.Seen) > maxOthers || len(d.Proofs) > maxOthers+1:
		return fmt.Errorf("%d logs seen and %d proofs: it has at most %d", len(d.Seen), len(d.Proofs), maxOthers)
	}
	for _, s := range d.Seen {
		if s.Size < 0 || s.Origin == "" {
			return errors.New("it has seen a log without a name or a size")
		}
	}
	for _, p := range d.Proofs {
		if p.From < 1 || len(p.Hashes) > maxProof {
			return fmt.Errorf("a proof from %d events with %d hashes", p.From, len(p.Hashes))
		}
	}
	return nil
}

func (d *Document) proof(from int64) (Continuation, bool) {
	for _, p := range d.Proofs {
		if p.From == from {
			return p, true
		}
	}
	return Continuation{}, false
}

// sawOf is what the document's member has last seen of a log.
func (d *Document) sawOf(origin string) (Seen, bool) {
	for _, s := range d.Seen {
		if s.Origin == origin {
			return s, true
		}
	}
	return Seen{}, false
}
