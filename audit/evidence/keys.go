package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Why a checkpoint is not accepted.
var (
	errSignature = errors.New("its signature is not by the key that it names: it was forged or changed")
	errStranger  = errors.New("it is signed by a key that is not this log's: no key that is trusted has handed over to it")
	errReplaced  = errors.New("it is signed by a key that did not sign at that time: it had handed over, or had not taken over yet")
	errOrigin    = errors.New("it is about another log")
)

// keys are the verifier keys of one log that are trusted, because somebody named them
// or because one of those vouches for them: a hand-over is signed by the old key and by
// the new one, so who trusts either knows the other. A key signs trees of the sizes
// from the hand-over that introduced it to the one that it made.
type keys struct {
	origin string
	list   []*key
}

type key struct {
	text     string
	verifier note.Verifier
	from, to int64 // sizes; to is unbounded while there is no successor
	first    bool  // no hand-over to it is known
}

const unbounded = int64(^uint64(0) >> 1)

// newKeys trusts the keys that are given as verifier keys (c2sp.org/signed-note). All
// must be of one log.
func newKeys(trusted []string) (*keys, error) {
	k := &keys{}
	for _, text := range trusted {
		text = strings.TrimSpace(text)
		v, err := note.NewVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no verifier key: %w", text, err)
		}
		if k.origin == "" {
			k.origin = v.Name()
		}
		if v.Name() != k.origin {
			return nil, fmt.Errorf("keys of two logs, %s and %s", k.origin, v.Name())
		}
		k.add(text, v)
	}
	return k, nil
}

func (k *keys) add(text string, v note.Verifier) *key {
	if known := k.find(text); known != nil {
		return known
	}
	added := &key{text: text, verifier: v, to: unbounded, first: true}
	k.list = append(k.list, added)
	return added
}

func (k *keys) find(text string) *key {
	for _, known := range k.list {
		if known.text == text {
			return known
		}
	}
	return nil
}

// Verifier is for note.Open. Signatures by others are not looked at.
func (k *keys) Verifier(name string, hash uint32) (note.Verifier, error) {
	for _, known := range k.list {
		if known.verifier.Name() == name && known.verifier.KeyHash() == hash {
			return known.verifier, nil
		}
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

// open reads a checkpoint of this log that a trusted key has signed while it was its
// to sign.
func (k *keys) open(text string) (Checkpoint, error) {
	n, err := openNote(text, k)
	var invalid *note.InvalidSignatureError
	if errors.As(err, &invalid) {
		return Checkpoint{}, errSignature
	}
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := parseCheckpoint(n.Text)
	switch {
	case err != nil:
		return Checkpoint{}, err
	case c.Origin != k.origin:
		return c, errOrigin
	case len(n.Sigs) == 0:
		return c, errStranger
	}
	for _, known := range k.list {
		if signedBy(n.Sigs, known.verifier) && known.from <= c.Size && c.Size <= known.to {
			return c, nil
		}
	}
	return c, errReplaced
}

func signedBy(signatures []note.Signature, v note.Verifier) bool {
	return slices.ContainsFunc(signatures, func(s note.Signature) bool { return s.Hash == v.KeyHash() && s.Name == v.Name() })
}

// learn takes a hand-over from one key to the next. One of them must be trusted; the
// candidates are where the other may be found if that is the older one.
func (k *keys) learn(text string, candidates []string) error {
	unverified, err := openNote(text, nil)
	if err != nil {
		return err
	}
	claimed, err := parseCheckpoint(unverified.Text)
	if err != nil {
		return err
	}
	if claimed.Origin != k.origin {
		return errOrigin
	}
	taking, err := note.NewVerifier(claimed.next)
	if err != nil || taking.Name() != k.origin {
		return errors.New("it hands over to no key")
	}
	for _, from := range append(k.texts(), candidates...) {
		giving, err := note.NewVerifier(from)
		if err != nil || from == claimed.next || !signedBy(unverified.UnverifiedSigs, giving) || k.find(from) == nil && k.find(claimed.next) == nil {
			continue
		}
		n, err := note.Open([]byte(text), note.VerifierList(giving, taking))
		if err != nil || len(n.Sigs) != 2 {
			continue
		}
		return k.link(k.add(from, giving), k.add(claimed.next, taking), claimed.Size)
	}
	if k.find(claimed.next) != nil {
		return errors.New("the key that it hands over from is not known")
	}
	return errStranger
}

func (k *keys) link(from, to *key, size int64) error {
	if from.to != unbounded && from.to != size || !to.first && to.from != size {
		return fmt.Errorf("one key hands over twice, with %d events and with %d: there are two histories", min(from.to, size), size)
	}
	from.to, to.from, to.first = size, size, false
	return nil
}

func (k *keys) texts() (all []string) {
	for _, known := range k.list {
		all = append(all, known.text)
	}
	return all
}

// learnAll takes hand-overs in any order, and returns what is wrong with those that
// nothing links to a trusted key.
func (k *keys) learnAll(handovers, candidates []string) (problems []error) {
	for len(handovers) > 0 {
		var rest []string
		problems = nil
		for _, h := range handovers {
			if err := k.learn(h, candidates); err != nil {
				rest, problems = append(rest, h), append(problems, err)
			}
		}
		if len(rest) == len(handovers) {
			break
		}
		handovers = rest
	}
	return problems
}
