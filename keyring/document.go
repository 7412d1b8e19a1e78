package keyring

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// Document is the wrapped ring: what is stored in etcd under a reserved key, on each
// member's disk, and in an export. It holds no secret in the clear. Its Open makes an
// Opened of it, and only an Opened can change.
type Document struct {
	Version    int         `json:"version"`
	Ring       seal.RingID `json:"ring"`
	Generation uint64      `json:"generation"` // counted from 1; every change adds 1
	Phase      Phase       `json:"phase"`
	Keys       []DataKey   `json:"keys"` // by number, ascending
	// MAC is HMAC-SHA-256 over the canonical JSON of everything else, under a key that
	// is derived from the active data key.
	MAC []byte `json:"mac"`
}

// DataKey is one data key as a document has it.
type DataKey struct {
	Number  seal.KeyNumber `json:"number"`
	State   KeyState       `json:"state"`
	Created time.Time      `json:"created"` // UTC, whole seconds
	Wraps   []Wrap         `json:"wraps"`   // any one of them is enough
}

// Wrap is a data key as one provider wrapped it.
type Wrap struct {
	Provider string `json:"provider"`
	kms.Wrapped
}

// KeyState is where a data key is in its life. It moves on only.
type KeyState uint8

const (
	// Prepare: known to members, so that they can open what will be sealed with it.
	Prepare KeyState = iota + 1
	// Active: what is written is sealed with it. A document has exactly one.
	Active
	// Retired: opens what is still sealed with it.
	Retired
)

var stateNames = map[KeyState]string{Prepare: "prepare", Active: "active", Retired: "retired"}

func (s KeyState) String() string {
	if name, ok := stateNames[s]; ok {
		return name
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText writes the state's name.
func (s KeyState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *KeyState) UnmarshalText(text []byte) error {
	for state, name := range stateNames {
		if name == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("there is no state %q; a data key is prepare, active or retired", text)
}

const documentVersion = 1

// Marshal writes the document in its canonical form: compact JSON, the fields in the
// order of the types, a line break at the end.
func (d *Document) Marshal() []byte {
	return append(d.canonical(), '\n')
}

func (d *Document) canonical() []byte {
	data, err := json.Marshal(d)
	if err != nil {
		panic(err) // no type in it can fail
	}
	return data
}

// clone is a copy that shares nothing that can be written to.
func (d *Document) clone() *Document {
	c := *d
	c.MAC = slices.Clone(d.MAC)
	c.Keys = slices.Clone(d.Keys)
	for i := range c.Keys {
		c.Keys[i].Wraps = slices.Clone(d.Keys[i].Wraps)
		for j := range c.Keys[i].Wraps {
			w := &c.Keys[i].Wraps[j]
			w.Wrapped = w.Wrapped.Clone()
		}
	}
	return &c
}

// key is the data key of that number, or nil.
func (d *Document) key(number seal.KeyNumber) *DataKey {
	for i := range d.Keys {
		if d.Keys[i].Number == number {
			return &d.Keys[i]
		}
	}
	return nil
}

// active is the active data key; a document that was parsed or made has one.
func (d *Document) active() *DataKey {
	for i := range d.Keys {
		if d.Keys[i].State == Active {
			return &d.Keys[i]
		}
	}
	return nil
}
