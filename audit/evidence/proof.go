package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxEventProof bounds the file of a proof in bytes.
const MaxEventProof = 256 << 10

// EventProof shows to whoever has a log's verifier key that an event is in the log, and
// needs neither the log nor a secret.
type EventProof struct {
	Version int `json:"etcdguardAuditProof"`

	Number int64  `json:"number"`
	Event  string `json:"event"` // the line, byte for byte

	Proof      tlog.RecordProof `json:"proof"`      // RFC 6962's audit path
	Checkpoint string           `json:"checkpoint"` // that it leads to

	// Keys are the log's verifier keys, oldest first, and Handovers what links them, for
	// who knows only one of them. They are not believed.
	Keys      []string `json:"keys"`
	Handovers []string `json:"handovers,omitempty"`
}

const proofVersion = 1

// ProveEvent makes a proof from the directory of a log, with its newest checkpoint.
func ProveEvent(dir string, number int64) (*EventProof, error) {
	p, err := proveEvent(dir, number)
	if err != nil {
		return nil, fmt.Errorf("proving event %d: %w", number, err)
	}
	return p, nil
}

func proveEvent(dir string, number int64) (*EventProof, error) {
	public, handovers, err := readPublic(dir)
	if err != nil {
		return nil, err
	}
	segments, err := lookAtSegments(dir)
	if err != nil {
		return nil, err
	}
	if number < segments[0].first {
		return nil, fmt.Errorf("%w: the oldest event is %d", ErrExpired, segments[0].first)
	}
	tree, note, err := readTree(dir, segments)
	if err != nil {
		return nil, err
	}
	c, err := Unverified(note)
	if err != nil {
		return nil, fmt.Errorf("the newest checkpoint: %w", err)
	}
	if number < 0 || number >= c.Size {
		return nil, fmt.Errorf("the newest checkpoint is of events 0 to %d: wait ten seconds for one with this event, if it has happened", c.Size-1)
	}
	p := &EventProof{Version: proofVersion, Number: number, Checkpoint: note, Keys: public, Handovers: handovers}
	lines := ReadLines(dir)
	if p.Proof, err = tree.Prover(lines).Inclusion(number, c.Size); err != nil {
		return nil, err
	}
	if err := lines(number, 1, func(line []byte) { p.Event = string(line) }); err != nil {
		return nil, err
	}
	if _, err := p.check(public); err != nil { // what can't be checked is no proof
		return nil, fmt.Errorf("%w: etcdguard audit verify says what is wrong with the log", err)
	}
	return p, nil
}

// readTree reads the tree of a log up to its newest checkpoint. Hashes beside the
// segments save most of the reading; they are not written.
func readTree(dir string, segments []*segment) (*Tree, string, error) {
	tree, err := NewTree(segments[0].first, segments[0].header.Tree)
	if err != nil {
		return nil, "", err
	}
	var newest string
	for i, s := range segments {
		if s.err != nil {
			return nil, "", s.err
		}
		hashes, err := readSidecar(s)
		if err != nil {
			return nil, "", err
		}
		last := i+1 == len(segments)
		if !last && int64(len(hashes)) == (segments[i+1].first-s.first)/BlockEvents*tlog.HashSize {
			for ; len(hashes) > 0; hashes = hashes[tlog.HashSize:] {
				if err := tree.AppendBlock(tlog.Hash(hashes[:tlog.HashSize])); err != nil {
					return nil, "", err
				}
			}
		} else if err := tree.hashSegment(s, nil); err != nil {
			return nil, "", err
		}
		if last || i+2 == len(segments) {
			// The last segment may be so new that its checkpoint is in the one before.
			if note, err := lastNote(s); err != nil {
				return nil, "", err
			} else if note != "" {
				newest = note
			}
		}
	}
	if newest == "" {
		return nil, "", fmt.Errorf("there is no checkpoint in the newest segments of %s: the member makes one within ten seconds", dir)
	}
	return tree, newest, nil
}

func lastNote(s *segment) (note string, err error) {
	err = s.each(func(line []byte) error {
		var e said
		if holdsNote(line) && bytes.Contains(line, []byte(`"kind":"checkpoint"`)) && json.Unmarshal(line, &e) == nil {
			note = e.Note
		}
		return nil
	})
	return note, err
}

// Marshal is the proof as it is handed on.
func (p *EventProof) Marshal() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		return nil, fmt.Errorf("writing a proof: %w", err)
	}
	return b.Bytes(), nil
}

// ParseEventProof reads a proof; Check says whether it is one.
func ParseEventProof(data []byte) (*EventProof, error) {
	if len(data) > MaxEventProof {
		return nil, fmt.Errorf("reading a proof: it has more than %d bytes", MaxEventProof)
	}
	p := &EventProof{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("reading a proof: %w", err)
	}
	if d.More() {
		return nil, errors.New("reading a proof: there is more than one in it")
	}
	if p.Version != proofVersion {
		return nil, fmt.Errorf("reading a proof: version %d of the format; this etcdguard knows %d", p.Version, proofVersion)
	}
	return p, nil
}

// Check says whether the event was in the log when the checkpoint was signed, by one of
// the keys that are trusted or one that it has handed over to.
func (p *EventProof) Check(trusted []string) (Checkpoint, error) {
	c, err := p.check(trusted)
	if err != nil {
		return c, fmt.Errorf("checking the proof of event %d: %w", p.Number, err)
	}
	return c, nil
}

func (p *EventProof) check(trusted []string) (Checkpoint, error) {
	if len(trusted) == 0 {
		return Checkpoint{}, errors.New("no key is trusted: a proof that brings its own key shows nothing")
	}
	k, err := newKeys(trusted)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(p.Handovers) > maxHandovers || len(p.Keys) > maxHandovers+1 {
		return Checkpoint{}, fmt.Errorf("it brings %d keys, more than %d", len(p.Keys), maxHandovers)
	}
	k.learnAll(p.Handovers, p.Keys)
	c, err := k.open(p.Checkpoint)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("its checkpoint does not count: %w", err)
	}
	f := readLine([]byte(p.Event))
	if f.flaw != flawless || f.seq != p.Number {
		return Checkpoint{}, errors.New("what it holds is not that event")
	}
	if err := tlog.CheckRecord(p.Proof, c.Size, c.Root, p.Number, f.leaf); err != nil {
		return Checkpoint{}, fmt.Errorf("the event is not the one that was signed: %w", err)
	}
	return c, nil
}

// maxHandovers is how many a proof brings: one a month for 20 years.
const maxHandovers = 240
