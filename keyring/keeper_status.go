package keyring

import (
	"context"
	"errors"
	"time"

	"github.com/etcdguard/etcdguard/seal"
)

// Status is the state of sealing as one member knows it; the JSON names are stable.
type Status struct {
	Configured bool             `json:"configured"`           // this member has key providers
	Ring       *seal.RingID     `json:"ring,omitempty"`       // nil: there is no ring
	Generation uint64           `json:"generation,omitempty"` // of the document in etcd
	Phase      Phase            `json:"phase"`                // of the document in etcd
	Keys       []KeyStatus      `json:"keys"`
	Providers  []ProviderStatus `json:"providers"`
	Members    []MemberStatus   `json:"members"`

	Member  string `json:"member"`            // the one that answers: its id, 16 hex digits
	InForce uint64 `json:"inForce,omitempty"` // the generation in force there
	Refusal string `json:"refusal,omitempty"` // why it refuses writes, or keeps its door shut
}

// KeyStatus is a data key.
type KeyStatus struct {
	Number    seal.KeyNumber `json:"number"`
	State     KeyState       `json:"state"`
	Created   time.Time      `json:"created"`
	WrappedBy []WrapStatus   `json:"wrappedBy"`
}

// WrapStatus is the key-encryption key that a data key is wrapped with.
type WrapStatus struct {
	Provider string `json:"provider"`
	KeyID    string `json:"keyID"`
}

// ProviderStatus is a key provider as the answering member reaches it.
type ProviderStatus struct {
	Name    string    `json:"name"`
	Healthy bool      `json:"healthy"`
	KeyID   string    `json:"keyID,omitempty"`
	Problem string    `json:"problem,omitempty"`
	Checked time.Time `json:"checked"`
}

// MemberStatus is a current member of the cluster.
type MemberStatus struct {
	ID      string `json:"id"` // 16 hex digits
	Name    string `json:"name"`
	Learner bool   `json:"learner"`
	// Guarded: it keeps its presence, as etcdguard does while it runs.
	Guarded bool `json:"guarded"`
	// Unguarded: it runs, and keeps no presence.
	Unguarded bool `json:"unguarded"`

	Boot         string           `json:"boot,omitempty"`         // of this start of it
	Acknowledged uint64           `json:"acknowledged,omitempty"` // the last generation; 0: none since it started
	Phase        Phase            `json:"phase"`                  // as acknowledged
	Keys         []seal.KeyNumber `json:"keys,omitempty"`         // that it can open
	Version      string           `json:"version,omitempty"`
	Waiting      string           `json:"waiting,omitempty"` // why it does not serve
	Confirmed    bool             `json:"confirmed"`         // it acknowledged the generation in etcd
}

var errNotYet = errors.New("not yet")

// Status reads the state of sealing. On a learner, and without a quorum, it is as this
// member knows it.
func (k *Keeper) Status(ctx context.Context) (Status, error) { return Status{}, errNotYet }
