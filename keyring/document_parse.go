package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// Bounds of a document. etcd takes 1.5 MiB in one request.
const (
	maxDocument = 1 << 20
	maxKeys     = 1000
	maxWraps    = 16
)

// ParseDocument reads a document strictly: what is not the canonical form, up to
// white space, is refused by name. It says nothing about who wrote it; Open does.
func ParseDocument(data []byte) (*Document, error) {
	d, err := parseDocument(data)
	if err != nil {
		return nil, fmt.Errorf("reading a ring's document: %w", err)
	}
	return d, nil
}

func parseDocument(data []byte) (*Document, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("it has %d bytes, and no ring has more than %d", len(data), maxDocument)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("it is empty")
	}
	if err := checkNames(data); err != nil {
		return nil, err
	}
	d := &Document{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(d); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows its end")
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	// What is left are other ways to write the same: a null, another order, a time in
	// another zone. There must be none, or two readers could see two documents.
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return nil, err
	}
	if want := d.canonical(); !bytes.Equal(compact.Bytes(), want) {
		at := firstDifference(compact.Bytes(), want)
		return nil, fmt.Errorf("it is not in canonical form at %q", excerpt(compact.Bytes(), at))
	}
	return d, nil
}

func firstDifference(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// excerpt is a little of data around at. A document holds nothing secret.
func excerpt(data []byte, at int) []byte {
	const around = 24
	return data[max(0, at-around):min(len(data), at+around)]
}

// checkNames refuses a field that is given twice, which encoding/json reads as its
// last, at any depth.
func checkNames(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		object bool
		value  bool // a name was read, its value comes
		names  map[string]bool
	}
	var open []level
	for {
		token, err := decoder.Token()
		if err == io.EOF && len(open) == 0 {
			return nil
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		var in *level
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		if in != nil && in.object && !in.value {
			if name, ok := token.(string); ok {
				if in.names[name] {
					return fmt.Errorf("the field %q is given twice", name)
				}
				in.names[name], in.value = true, true
				continue
			}
		} else if in != nil {
			in.value = false
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{object: true, names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > 8 {
			return errors.New("it is nested too deep")
		}
	}
}

// check refuses what no ring can be.
func (d *Document) check() error {
	switch {
	case d.Version != documentVersion:
		return fmt.Errorf("it is of version %d, and this etcdguard reads %d", d.Version, documentVersion)
	case d.Ring == seal.RingID{}:
		return errors.New("its ring has no id")
	case d.Generation == 0:
		return errors.New("its generation is 0; they are counted from 1")
	case d.Phase > Strict:
		return fmt.Errorf("its phase is unknown: %v", d.Phase)
	case len(d.MAC) != sha256.Size:
		return fmt.Errorf("its mac has %d bytes, and not %d", len(d.MAC), sha256.Size)
	}
	return d.checkKeys()
}

// checkKeys holds the order of a ring's life: retired keys, then the active one, then
// at most one that is prepared. So a key that an attacker had can't become active
// again, and no number is ever used twice.
func (d *Document) checkKeys() error {
	if len(d.Keys) > maxKeys {
		return fmt.Errorf("it has %d data keys, and %d are the most", len(d.Keys), maxKeys)
	}
	active, prepared := seal.KeyNumber(0), seal.KeyNumber(0)
	last := seal.KeyNumber(0)
	for i := range d.Keys {
		k := &d.Keys[i]
		if k.Number <= last {
			return fmt.Errorf("data key %d stands after %d; numbers ascend from 1", k.Number, last)
		}
		last = k.Number
		switch k.State {
		case Retired:
			if active != 0 || prepared != 0 {
				return fmt.Errorf("data key %d is retired, and a lower one is not", k.Number)
			}
		case Active:
			if active != 0 {
				return fmt.Errorf("data keys %d and %d are both active", active, k.Number)
			}
			if prepared != 0 {
				return fmt.Errorf("data key %d is active, and the lower %d only prepared", k.Number, prepared)
			}
			active = k.Number
		case Prepare:
			if prepared != 0 {
				return fmt.Errorf("data keys %d and %d are both prepared", prepared, k.Number)
			}
			prepared = k.Number
		default:
			return fmt.Errorf("data key %d has no state", k.Number)
		}
		if err := k.check(); err != nil {
			return fmt.Errorf("data key %d %w", k.Number, err)
		}
	}
	if active == 0 {
		return errors.New("it has no active data key")
	}
	return nil
}

func (k *DataKey) check() error {
	_, offset := k.Created.Zone()
	switch {
	case offset != 0:
		return errors.New("has a date that is not in UTC")
	case k.Created.IsZero() || k.Created.Year() < 0 || k.Created.Year() > 9999:
		return errors.New("has no date")
	case !k.Created.Equal(k.Created.Truncate(time.Second)):
		return errors.New("was created at a fraction of a second")
	case len(k.Wraps) == 0:
		return errors.New("is wrapped by no provider")
	case len(k.Wraps) > maxWraps:
		return fmt.Errorf("is wrapped %d times, and %d are the most", len(k.Wraps), maxWraps)
	}
	for i, w := range k.Wraps {
		if err := kms.CheckName(w.Provider); err != nil {
			return fmt.Errorf("has a wrap without provider: %w", err)
		}
		if slices.ContainsFunc(k.Wraps[:i], func(o Wrap) bool { return o.Provider == w.Provider }) {
			return fmt.Errorf("is wrapped twice by provider %q", w.Provider)
		}
		if err := w.Wrapped.Check(); err != nil {
			return fmt.Errorf("as provider %q wrapped it: %w", w.Provider, err)
		}
	}
	return nil
}
