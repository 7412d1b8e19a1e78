package reseal

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/seal"
)

// History is every revision that this member's database holds: those that can be
// read, and those that a compaction has not removed yet.
type History interface {
	// EachRevision calls each with every revision, reserved keys included, the oldest
	// first. A tombstone has a key only. It stops at the first error, and returns it.
	EachRevision(ctx context.Context, each func(kv *mvccpb.KeyValue, tombstone bool) error) error
}

// Uses is what is stored under one data key.
type Uses struct {
	Key       seal.KeyNumber `json:"key"`
	Revisions int64          `json:"revisions"` // stored, live ones and old ones
	Newest    int64          `json:"newest"`    // the highest of them
	First     []Problem      `json:"first,omitempty"`
}

// UsesOf finds what a data key is needed for.
func UsesOf(ctx context.Context, h History, ring seal.RingID, key seal.KeyNumber, progress func(revisions int64)) (*Uses, error) {
	u := &Uses{Key: key}
	seen := int64(0)
	err := h.EachRevision(ctx, func(kv *mvccpb.KeyValue, tombstone bool) error {
		if seen++; progress != nil && seen%1000 == 0 {
			progress(seen)
		}
		e, err := seal.Parse(kv.Value)
		if tombstone || err != nil || e.Ring != ring || e.Key != key {
			return nil // what is cut short opens with no key at all
		}
		u.Revisions++
		u.Newest = max(u.Newest, kv.ModRevision)
		if len(u.First) < Examples {
			u.First = append(u.First, Problem{Key: kv.Key, ModRevision: kv.ModRevision, Reason: fmt.Sprintf("is sealed under data key %d", key)})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for what needs data key %d: %w", key, err)
	}
	return u, nil
}
