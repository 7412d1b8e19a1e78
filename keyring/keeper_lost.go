package keyring

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/seal"
)

// lostSample is how many values a member without a ring looks at before it opens its
// door. Data that was sealed is so throughout, and values can be large.
const lostSample = 32

// lost is why a member that finds no ring must not serve this data: values in it are
// sealed, so that there was one. Served as they are, they would be taken for what they
// stand for, and values would be written in the clear beside them.
func (k *Keeper) lost(ctx context.Context) error {
	r, err := k.config.Store.Range(ctx, &pb.RangeRequest{Key: etcdapi.FirstClientKey, RangeEnd: []byte{0},
		Limit: lostSample, Serializable: k.learner()})
	if err != nil {
		return unreadableError{err}
	}
	for _, kv := range r.Kvs {
		if e, whole := ofLostRing(kv.Value); whole {
			return briefError{"its ring is lost", fmt.Errorf("values are sealed under ring %v, data key %d, and that ring is neither in etcd nor in the mirror %s: "+
				"bring it back with etcdguard ring import, from another member's mirror or an export", e.Ring, e.Key, k.config.Mirror)}
		}
	}
	return nil
}

// ofLostRing reports whether a value was sealed, by the check at its end: bytes of a
// client that only begin alike do not have it.
func ofLostRing(stored []byte) (seal.Envelope, bool) {
	e, err := seal.Parse(stored)
	return e, err == nil && e.Whole
}
