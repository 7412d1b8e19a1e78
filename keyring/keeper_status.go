package keyring

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// Status reads the state of sealing, as it has reached this member.
func (k *Keeper) Status(ctx context.Context) (Status, error) {
	s := k.state.Load()
	out := Status{
		Configured: len(k.config.Providers) > 0,
		Member:     fmt.Sprintf("%016x", k.config.Store.MemberID()),
		Keys:       []KeyStatus{},
		Providers:  k.providersNow(ctx),
	}
	if s.opened != nil {
		out.InForce = s.opened.doc.Generation
	}
	for _, trouble := range []error{s.waiting, s.refusal} {
		if trouble != nil {
			out.Refusal = trouble.Error()
		}
	}
	d := s.stored
	if d != nil {
		out.Ring, out.Generation, out.Phase = &d.Ring, d.Generation, d.Phase
		for _, key := range d.Keys {
			out.Keys = append(out.Keys, key.status())
		}
	}
	present, err := k.acknowledgements(ctx)
	if err != nil {
		return out, fmt.Errorf("reading the state of sealing: %w", err)
	}
	for _, m := range k.config.Store.Members() {
		row := MemberStatus{ID: fmt.Sprintf("%016x", m.ID), Name: m.Name, Learner: m.Learner, Unguarded: k.running.has(m.ID)}
		if a, here := present[m.ID]; here {
			row.Guarded, row.Boot, row.Version, row.Waiting = true, a.Boot, a.Version, a.Waiting
			if d != nil && a.Ring != nil && *a.Ring == d.Ring {
				row.Acknowledged, row.Phase, row.Keys = a.Generation, a.Phase, a.Keys
				row.Confirmed = a.confirms(d)
			}
		}
		out.Members = append(out.Members, row)
	}
	slices.SortFunc(out.Members, func(a, b MemberStatus) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	return out, nil
}

func (k *DataKey) status() KeyStatus {
	s := KeyStatus{Number: k.Number, State: k.State, Created: k.Created}
	for _, w := range k.Wraps {
		s.WrappedBy = append(s.WrappedBy, WrapStatus{w.Provider, w.KeyID})
	}
	return s
}
