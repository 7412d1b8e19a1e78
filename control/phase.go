package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

// phase steps towards a phase. Before the two ends of the way every live value is
// looked at: what would be stored in a form that the phase has no place for.
func (h *Handler) phase(ctx context.Context, r PhaseRequest, s *stream) (any, error) {
	now, err := h.settled(ctx)
	if err != nil {
		return nil, err
	}
	if now.Ring == nil && r.To > keyring.Off {
		if err := h.checkUnmarked(ctx, s); err != nil {
			return nil, err
		}
	}
	check := func(ctx context.Context) error {
		if r.To == keyring.Strict {
			return h.checkSealed(ctx, s)
		}
		return h.checkPlaintext(ctx, s)
	}
	err = h.Keeper.Step(ctx, r.To, check, s.line)
	reached := PhaseResult{Phase: now.Phase}
	if after, statusErr := h.Keeper.Status(ctx); statusErr == nil {
		reached.Phase = after.Phase
	}
	return reached, err
}

// checkSealed passes if nothing is stored in plaintext.
func (h *Handler) checkSealed(ctx context.Context, s *stream) error {
	found, err := h.survey(ctx, s)
	if err != nil {
		return err
	}
	if n := found.Total.Plaintext; n > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("%s still stored in plaintext; the first: %s", values(n), names(found.FirstPlaintext)),
			"rewrite them with etcdguard seal reseal, then take this step again")
	}
	if n := found.Total.Odd; n > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("%s not sealed under this ring and can't be read; the first: %s", values(n), names(found.FirstOdd)),
			"see etcdguard seal quarantine list")
	}
	return nil
}

// checkPlaintext passes if nothing that is stored is sealed.
func (h *Handler) checkPlaintext(ctx context.Context, s *stream) error {
	// Quarantine first: what is restored from it between two looks must not be missed
	// by both.
	moved, err := reseal.ListQuarantined(ctx, h.Etcd)
	if err != nil {
		return err
	}
	if len(moved) > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("%s in quarantine, where they would be lost with the ring", values(int64(len(moved)))),
			"restore or drop them: etcdguard seal quarantine list")
	}
	found, err := h.survey(ctx, s)
	if err != nil {
		return err
	}
	sealed := append([]string(nil), found.FirstOdd...)
	for _, list := range found.FirstByKey {
		sealed = append(sealed, list...)
	}
	if n := found.Total.Values - found.Total.Plaintext; n > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("%s still sealed; the first: %s", values(n), names(sealed[:min(len(sealed), reseal.Examples)])),
			"rewrite them with etcdguard seal reseal --to-plaintext, and see etcdguard seal quarantine list for what does not open; then take this step again")
	}
	return nil
}

// checkUnmarked passes if nothing that is stored begins as sealed values do. A new
// ring could open none of it: mostly it means that the ring was lost.
func (h *Handler) checkUnmarked(ctx context.Context, s *stream) error {
	found, err := h.survey(ctx, s)
	if err != nil {
		return err
	}
	if n := found.Total.Values - found.Total.Plaintext; n > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("there is no ring, and %d stored values begin as sealed ones do; the first: %s", n, names(found.FirstOdd)),
			"they were sealed under a ring that is not here: bring it back with etcdguard ring import, and do not begin a new one")
	}
	return nil
}

// survey counts all live values.
func (h *Handler) survey(ctx context.Context, s *stream) (*reseal.Survey, error) {
	s.line("looking at every value")
	now, err := h.Keeper.Status(ctx)
	if err != nil {
		return nil, err
	}
	return h.surveyOf(ctx, now, "", s)
}

func (h *Handler) surveyOf(ctx context.Context, now keyring.Status, prefix string, s *stream) (*reseal.Survey, error) {
	if len(prefix) > 0 && prefix[0] == 0 {
		return nil, refusal(http.StatusBadRequest, "the prefix lies in etcdguard's own space", "")
	}
	var ring seal.RingID
	if now.Ring != nil {
		ring = *now.Ring
	}
	found, err := reseal.NewSurvey(ctx, h.Etcd, ring, reseal.Prefix(prefix), s.seen)
	if err != nil {
		return nil, fmt.Errorf("looking at the values: %w", err)
	}
	return found, nil
}

// count answers how values are stored.
func (h *Handler) count(ctx context.Context, r CountRequest, s *stream) (any, error) {
	now, err := h.Keeper.Status(ctx)
	if err != nil {
		return nil, err
	}
	return resultOf(h.surveyOf(ctx, now, r.Prefix, s))
}

// resultOf makes an absent result a nil of the right kind.
func resultOf[T any](result *T, err error) (any, error) {
	if result == nil {
		return nil, errors.Join(err)
	}
	return result, err
}

func values(n int64) string {
	if n == 1 {
		return "1 value is"
	}
	return fmt.Sprintf("%d values are", n)
}

func names(list []string) string {
	var quoted []string
	for _, name := range list {
		const longest = 200
		if len(name) > longest {
			name = name[:longest] + "…"
		}
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	return strings.Join(quoted, ", ")
}
