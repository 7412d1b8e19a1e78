package control

import (
	"context"
	"errors"
	"net/http"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
)

func (h *Handler) status(ctx context.Context) (any, error) {
	s, err := h.Keeper.Status(ctx)
	if err != nil {
		return nil, err
	}
	quarantined, err := h.Etcd.Range(ctx, rangeOf(reseal.QuarantinePrefix, &pb.RangeRequest{CountOnly: true, Serializable: true}))
	if err != nil {
		return nil, err
	}
	return Status{Status: s, Quarantined: quarantined.Count, Sizes: h.Etcd.Sizes()}, nil
}

// ring is the wrapped ring as it is stored.
func (h *Handler) ring(context.Context) (any, error) {
	d := h.Keeper.Document()
	if d == nil {
		return nil, refusal(http.StatusNotFound, "there is no ring: nothing is sealed here", "")
	}
	return d, nil
}

// rangeOf completes r to ask for a prefix.
func rangeOf(prefix string, r *pb.RangeRequest) *pb.RangeRequest {
	at := reseal.Prefix(prefix)
	r.Key, r.RangeEnd = at.Begin, at.End
	if r.RangeEnd == nil {
		r.RangeEnd = []byte{0}
	}
	return r
}

// errNotConfigured is the answer to who would seal without providers.
var errNotConfigured = refusal(http.StatusConflict, "this member is not configured for sealing",
	`name a key provider under "sealing:" in the guard configuration of every member, and restart them one after the other; docs/sealing.md shows how`)

// settled is the state once this member has put the newest document in force, and is
// able to act on it.
func (h *Handler) settled(ctx context.Context) (keyring.Status, error) {
	const most = 30 * time.Second
	for began := time.Now(); ; {
		s, err := h.Keeper.Status(ctx)
		switch {
		case err != nil:
			return s, err
		case !s.Configured:
			return s, errNotConfigured
		case s.Refusal == "" && s.InForce == s.Generation:
			return s, nil
		case time.Since(began) > most:
			why := s.Refusal
			if why == "" {
				why = "it has not caught up with the ring yet"
			}
			return s, refusal(http.StatusServiceUnavailable, "this member can't act on the ring now: "+why, "ask another member, or see etcdguard seal status")
		}
		select {
		case <-ctx.Done():
			return s, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// wanted is the form in which values are written in a state.
func wanted(s keyring.Status) (reseal.Form, error) {
	if !s.Phase.Seals() {
		return reseal.Form{}, nil
	}
	for _, k := range s.Keys {
		if k.State == keyring.Active && s.Ring != nil {
			return reseal.Form{Ring: *s.Ring, Key: k.Number}, nil
		}
	}
	return reseal.Form{}, errors.New("the ring has no active data key")
}
