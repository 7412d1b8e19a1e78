package keyring

import (
	"context"

	"github.com/etcdguard/etcdguard/seal"
)

// keeperState is what this member knows of the ring, and has of it.
type keeperState struct {
	opened  *Opened // in force; nil: none
	waiting error   // why the door is shut
	refusal error   // why writes are refused
}

// Run keeps the ring until ctx ends.
func (k *Keeper) Run(ctx context.Context) { <-ctx.Done() }

func (k *Keeper) reload(seal.KeyNumber) bool { return false }
