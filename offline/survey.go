package offline

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

// Opener returns the value that stored stands for under that key name; its errors are
// those of keyring.Ring.Open.
type Opener func(name, stored []byte) ([]byte, error)

// WithRing opens with a ring's data keys, whatever its phase. Where the phase is
// strict, plaintext is ErrPlaintext: somebody who can write to the disk put it there;
// unless plaintext is true.
func WithRing(o *keyring.Opened, plaintext bool) Opener {
	phase := keyring.Sealing // both forms
	if o.Phase() == keyring.Strict && !plaintext {
		phase = keyring.Strict
	}
	return keyring.Static(o.ID(), phase, o.Keys()...).Open
}

// Report is what a snapshot holds, over all its revisions.
type Report struct {
	Records    int64 `json:"records"`    // revisions of keys, deletions included
	Deletions  int64 `json:"deletions"`  // copied as they are
	Plaintext  int64 `json:"plaintext"`  // values that are not sealed
	Sealed     int64 `json:"sealed"`     // values that open
	Reserved   int64 `json:"reserved"`   // records of etcdguard's own keys, left out
	Quarantine int64 `json:"quarantine"` // keys in quarantine, left out with those
	Revision   int64 `json:"revision"`   // the last one
	// ByKey are the sealed values by data key, those that do not open included.
	ByKey map[seal.KeyNumber]int64 `json:"byKey"`
	// Unreadable are the values that do not open, in the order of revisions.
	Unreadable []Unreadable `json:"unreadable"`

	at     map[string]bool // where the unreadable are; true: the newest of its key
	holder []byte          // of a reserved record that is needed to hold the last revision
}

// Unreadable is a value that does not open.
type Unreadable struct {
	Key      []byte `json:"key"`
	Revision int64  `json:"modRevision"`
	Newest   bool   `json:"newest"` // no later revision of the key is there
	Reason   string `json:"reason"`
}

// maxUnreadable bounds what is kept of them. When more do not open, the ring is not
// the one, and a list helps nobody.
const maxUnreadable = 100_000

var errTooMany = fmt.Errorf("more than %d values do not open", maxUnreadable)

// Survey opens every value and keeps none. That some do not open is no error, but it
// is one if they are very many.
func (s *Snapshot) Survey(ctx context.Context, open Opener, progress Progress) (*Report, error) {
	w := survey{report: &Report{ByKey: map[seal.KeyNumber]int64{}, Unreadable: []Unreadable{}, at: map[string]bool{}},
		open: open, newest: map[string]newest{}, quarantine: map[string]bool{}}
	err := s.view(func(tx *bolt.Tx) error {
		return s.records(ctx, tx, progress, w.record)
	})
	w.report.Quarantine = int64(len(w.quarantine))
	if errors.Is(err, errTooMany) {
		last := w.report.Unreadable[len(w.report.Unreadable)-1]
		return nil, fmt.Errorf("reading %s: %w, the last of them: key %q, which %s; is this the ring of that snapshot?", s.file, err, last.Key, last.Reason)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.file, err)
	}
	return w.report, nil
}

type survey struct {
	report     *Report
	open       Opener
	newest     map[string]newest // by key, where its newest revision does not open
	quarantine map[string]bool
}

type newest struct {
	index int // in Unreadable
	at    string
}

func (w *survey) record(r *record) error {
	rep := w.report
	rep.Records++
	rep.Revision = r.revision
	if r.reserved() {
		w.reserved(r)
		return nil
	}
	rep.holder = nil
	if n, there := w.newest[string(r.kv.Key)]; there {
		rep.Unreadable[n.index].Newest = false
		rep.at[n.at] = false
		delete(w.newest, string(r.kv.Key))
	}
	if r.tombstone {
		rep.Deletions++
		return nil
	}
	if e, err := seal.Header(r.kv.Value); err == nil {
		rep.ByKey[e.Key]++
	}
	value, err := w.open(r.kv.Key, r.kv.Value)
	switch {
	case err != nil:
		return w.unreadable(r, err)
	case seal.IsSealed(r.kv.Value):
		rep.Sealed++
	default:
		rep.Plaintext++
		if !bytes.Equal(value, r.kv.Value) {
			return errors.New("a value that is not sealed changed when it was opened") // would be this program's fault
		}
	}
	return nil
}

func (w *survey) reserved(r *record) {
	w.report.Reserved++
	w.report.holder = bytes.Clone(r.at[:putSize])
	if bytes.HasPrefix(r.kv.Key, []byte(keyring.ReservedPrefix+"quarantine/")) {
		if w.quarantine[string(r.kv.Key)] = true; r.tombstone {
			delete(w.quarantine, string(r.kv.Key))
		}
	}
}

func (w *survey) unreadable(r *record, err error) error {
	rep := w.report
	at := string(r.at)
	w.newest[string(r.kv.Key)] = newest{len(rep.Unreadable), at}
	rep.at[at] = true
	rep.Unreadable = append(rep.Unreadable, Unreadable{Key: bytes.Clone(r.kv.Key), Revision: r.revision, Newest: true, Reason: err.Error()})
	if len(rep.Unreadable) > maxUnreadable {
		return errTooMany
	}
	return nil
}
