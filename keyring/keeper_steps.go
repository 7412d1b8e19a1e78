package keyring

import (
	"context"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// Step goes towards a phase, one single step after the other, each when every current
// member has acknowledged the last; report is told whom it waits for. Where there is no
// ring it makes one, in phase can-open. It calls check before it enters Strict on the
// way up, and before it enters Off on the way down, when nothing is written in the form
// that the new phase has no place for; an error of check stops it there. Off ends with
// every key of etcdguard removed. It may be stopped anywhere, and goes on when it is
// called again. check and report may be nil.
func (k *Keeper) Step(ctx context.Context, to Phase, check func(ctx context.Context) error, report func(line string)) error {
	return errNotYet
}

// AddKey adds a data key in state prepare, or finds the one that is there, and returns
// its number.
func (k *Keeper) AddKey(ctx context.Context) (seal.KeyNumber, error) { return 0, errNotYet }

// Activate makes a prepared data key the active one, when every current member has
// acknowledged that it can open it. One that is active already is no error.
func (k *Keeper) Activate(ctx context.Context, number seal.KeyNumber, report func(line string)) error {
	return errNotYet
}

// Remove drops a retired data key, when every current member has acknowledged that
// it is retired. What is sealed with it opens no more: to make sure that nothing is,
// is the caller's part. One that is gone already is no error.
func (k *Keeper) Remove(ctx context.Context, number seal.KeyNumber, report func(line string)) error {
	return errNotYet
}

// Rewrap has the providers of this member wrap every data key anew, with the keys that
// they use now, and drops the wraps of those named.
func (k *Keeper) Rewrap(ctx context.Context, drop ...string) error { return errNotYet }

// Export is the document with every data key wrapped by p as well, for a copy that
// opens when all else is lost.
func (k *Keeper) Export(ctx context.Context, p kms.Provider) (*Document, error) {
	return nil, errNotYet
}

// Document is the one in force on this member; nil: there is none.
func (k *Keeper) Document() *Document { return nil }
