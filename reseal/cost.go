package reseal

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Sizes are those of this member's database, in bytes.
type Sizes struct {
	File  int64 `json:"file"`  // on disk
	InUse int64 `json:"inUse"` // without free pages
	Quota int64 `json:"quota"` // at which etcd raises its alarm
}

// Cost is what rewriting does to a cluster.
type Cost struct {
	From   int64 `json:"fromRevision"`
	To     int64 `json:"toRevision"`
	Values int64 `json:"values"` // there are
	// Rewrites is how many of them are to be rewritten. Each is one revision, and one
	// event to each watcher of its key.
	Rewrites int64 `json:"rewrites"`
	// Growth is by about how many bytes the database grows, until a compaction.
	Growth int64 `json:"growth"`
	// After is about how large the database file will be.
	After  int64  `json:"fileAfter"`
	Sizes  Sizes  `json:"sizes"`
	Prefix string `json:"prefix"`
}

// How much of the database a revision takes beside its key and value: the record of
// mvcc, the key and the header of its element in bbolt, and the space that pages
// leave. Measured: see TestGrowthIsForetold.
const (
	perRevision   = 96
	growthPercent = 135
)

// fullAt is how much of the quota a rewriting may fill, in percent. etcd stops
// taking writes at 100, and a compaction alone does not make its file smaller.
const fullAt = 80

// Estimate finds what bringing the values of a range into a form will cost.
func Estimate(ctx context.Context, s Store, r etcdapi.Range, want Form, sizes Sizes, progress func(values int64)) (*Cost, error) {
	c := &Cost{Sizes: sizes}
	var err error
	c.From, c.To, err = walk(ctx, s, r, func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			c.Values++
			if !want.has(kv.Value) {
				c.Rewrites++
				c.Growth += int64(len(kv.Key)+want.size(kv.Value)+perRevision) * growthPercent / 100
			}
		}
		if progress != nil {
			progress(c.Values)
		}
		return nil
	})
	c.After = max(sizes.File, sizes.InUse+c.Growth)
	return c, err
}

// ErrQuota says that rewriting would bring the database near its quota.
type ErrQuota struct{ Cost *Cost }

func (e *ErrQuota) Error() string {
	c := e.Cost
	return fmt.Sprintf("rewriting %d values makes the database about %d MiB large, more than %d %% of its quota of %d MiB",
		c.Rewrites, c.After>>20, fullAt, c.Sizes.Quota>>20)
}

// Hint is the way out.
func (e *ErrQuota) Hint() string {
	return "compact and defragment first (etcdctl compact REVISION, then etcdctl defrag on one member after the other), " +
		"go prefix by prefix with --prefix, or raise --quota-backend-bytes"
}

// Check refuses a cost that etcd's quota does not bear.
func (c *Cost) Check() error {
	if c.Rewrites > 0 && c.Sizes.Quota > 0 && c.After > c.Sizes.Quota/100*fullAt {
		return &ErrQuota{c}
	}
	return nil
}
