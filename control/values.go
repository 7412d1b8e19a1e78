package control

import (
	"context"
	"fmt"
	"net/http"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
)

// reseal rewrites values in the form in which the phase in force writes them.
func (h *Handler) reseal(ctx context.Context, r ResealRequest, s *stream) (any, error) {
	want, err := h.direction(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.Rate < 0 {
		return nil, refusal(http.StatusBadRequest, "a rate is a number of values a second, above 0", "")
	}
	at := reseal.Prefix(r.Prefix)
	s.line(fmt.Sprintf("looking at what is not %v", want))
	cost, err := reseal.Estimate(ctx, h.Etcd, at, want, h.Etcd.Sizes(), s.seen)
	if err != nil {
		return nil, fmt.Errorf("looking at what there is to do: %w", err)
	}
	cost.Prefix = r.Prefix
	s.send(Event{Cost: cost})
	if r.DryRun {
		return struct{}{}, nil
	}
	if err := cost.Check(); err != nil && !r.IgnoreQuota {
		return nil, err
	}
	config := reseal.Config{
		Store: h.Etcd, Ring: h.Keeper.Ring(), Range: at, Want: want, Total: cost.Rewrites, Rate: r.Rate,
		Report: func(p reseal.Progress) { s.send(Event{Progress: &p}) },
	}
	if !r.IgnoreQuota {
		config.Sizes = h.Etcd.Sizes
	}
	result, err := reseal.Run(ctx, config)
	if err != nil && result.Problems > 0 {
		err = &Error{Message: err.Error(), Fix: "see them with etcdguard seal quarantine list", status: http.StatusConflict}
	}
	return result, err
}

// direction is the way that values are to go. It has to be said for the way down,
// so that nobody who wanted to seal ends with plaintext.
func (h *Handler) direction(ctx context.Context, r ResealRequest) (want reseal.Form, err error) {
	if len(r.Prefix) > 0 && r.Prefix[0] == 0 {
		return want, refusal(http.StatusBadRequest, "the prefix lies in etcdguard's own space", "")
	}
	now, err := h.settled(ctx)
	if err != nil {
		return want, err
	}
	if r.DryRun {
		return foreseen(now, r.ToPlaintext)
	}
	switch {
	case now.Ring == nil || now.Phase == keyring.Off:
		return want, refusal(http.StatusConflict, "nothing is sealed here", "begin with etcdguard seal enable")
	case r.ToPlaintext && now.Phase.Seals():
		return want, refusal(http.StatusConflict, fmt.Sprintf("values are written sealed in phase %v", now.Phase), "step down first: etcdguard seal phase can-open")
	case !r.ToPlaintext && !now.Phase.Seals():
		return want, refusal(http.StatusConflict, fmt.Sprintf("values are written in plaintext in phase %v", now.Phase),
			"step up first: etcdguard seal phase sealing; or, on the way down, add --to-plaintext")
	}
	return wanted(now)
}

// foreseen is the form that values are going to have. In phases in which none are
// written sealed, and where there is no ring yet, the cost is wanted all the same.
func foreseen(now keyring.Status, toPlaintext bool) (reseal.Form, error) {
	if toPlaintext {
		return reseal.Form{}, nil
	}
	if now.Ring == nil {
		return reseal.Form{Key: 1}, nil
	}
	now.Phase = keyring.Sealing
	return wanted(now)
}

// quarantine is about values that do not open.
func (h *Handler) quarantine(ctx context.Context, r QuarantineRequest, s *stream) (any, error) {
	now, err := h.Keeper.Status(ctx)
	if err != nil {
		return nil, err
	}
	if now.Refusal != "" {
		// A ring that is not open opens nothing, and everything would look broken.
		return nil, refusal(http.StatusServiceUnavailable, "this member can't tell what opens: "+now.Refusal, "ask another member")
	}
	if r.Action != "list" && (len(r.Key) == 0 || r.ModRevision <= 0) {
		return nil, refusal(http.StatusBadRequest, "a key and its mod revision are needed", "see etcdguard seal quarantine list")
	}
	ring := h.Keeper.Ring()
	switch r.Action {
	case "list":
		return h.listUnopenable(ctx, s)
	case "move":
		err = reseal.Quarantine(ctx, h.Etcd, ring, r.Key, r.ModRevision)
	case "drop":
		err = reseal.Drop(ctx, h.Etcd, ring, r.Key, r.ModRevision)
	case "restore":
		err = reseal.Restore(ctx, h.Etcd, r.Key, r.ModRevision)
	default:
		return nil, refusal(http.StatusBadRequest, fmt.Sprintf("%q is no action: list, move, drop or restore", r.Action), "")
	}
	if err != nil {
		return nil, &Error{Message: err.Error(), Fix: "see what there is: etcdguard seal quarantine list", status: http.StatusConflict}
	}
	return struct{}{}, nil
}

func (h *Handler) listUnopenable(ctx context.Context, s *stream) (any, error) {
	list := QuarantineList{Unopenable: []reseal.Problem{}, Quarantined: []reseal.Quarantined{}}
	s.line("trying to open every value")
	err := reseal.Unopenable(ctx, h.Etcd, h.Keeper.Ring(), reseal.Prefix(""), func(p reseal.Problem) error {
		if len(list.Unopenable) < MaxListed {
			list.Unopenable = append(list.Unopenable, p)
		} else {
			list.More++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	moved, err := reseal.ListQuarantined(ctx, h.Etcd)
	list.Quarantined = append(list.Quarantined, moved...)
	return list, err
}
