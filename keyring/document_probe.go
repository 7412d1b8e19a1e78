package keyring

import (
	"context"
	"errors"
	"slices"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// Opening is which providers can unwrap one data key now.
type Opening struct {
	Number seal.KeyNumber
	State  KeyState
	// Tried has one entry for each wrap, in the document's order, and then one for each
	// provider that has none; Err is nil where it opens.
	Tried []Attempt
}

// By are the providers that unwrap the data key.
func (o Opening) By() (providers []string) {
	for _, a := range o.Tried {
		if a.Err == nil {
			providers = append(providers, a.Provider)
		}
	}
	return providers
}

var (
	errNotConfigured = errors.New("is not configured here")
	errDidNotWrap    = errors.New("did not wrap this data key")
	errHangs         = errors.New("not asked again after it did not answer")
)

// Probe asks every provider for every data key that it wrapped, so that one that stopped
// working is noticed while another still does.
func (d *Document) Probe(ctx context.Context, providers []kms.Provider) []Opening {
	hangs := map[string]bool{}
	all := make([]Opening, len(d.Keys))
	for i, k := range d.Keys {
		all[i] = Opening{Number: k.Number, State: k.State}
		for _, w := range k.Wraps {
			a := Attempt{w.Provider, w.KeyID, errNotConfigured}
			j := slices.IndexFunc(providers, func(p kms.Provider) bool { return p.Name() == w.Provider })
			switch {
			case j >= 0 && hangs[w.Provider]:
				a.Err = errHangs
			case j >= 0:
				_, hangs[w.Provider], a.Err = unwrapKey(ctx, providers[j], d.Ring, k.Number, w.Wrapped)
			}
			all[i].Tried = append(all[i].Tried, a)
		}
		for _, p := range providers {
			if k.wrap(p.Name()) == nil {
				all[i].Tried = append(all[i].Tried, Attempt{p.Name(), "", errDidNotWrap})
			}
		}
	}
	return all
}
