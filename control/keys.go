package control

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

// rotate adds a data key and makes it active. A key that is prepared already, by a
// rotation that was cut short, is taken on.
func (h *Handler) rotate(ctx context.Context, _ RotateRequest, s *stream) (any, error) {
	now, err := h.settled(ctx)
	if err != nil {
		return nil, err
	}
	if now.Ring == nil {
		return nil, refusal(http.StatusConflict, "there is no ring: nothing is sealed here", "begin with etcdguard seal enable")
	}
	number, err := h.Keeper.AddKey(ctx)
	if err != nil {
		return nil, err
	}
	s.line(fmt.Sprintf("data key %d is prepared: every member opens it before it is used", number))
	if err := h.Keeper.Activate(ctx, number, s.line); err != nil {
		return nil, err
	}
	return RotateResult{Number: number}, nil
}

// retire removes a data key once nothing needs it. What is looked at stays true
// after it was looked at: every member has acknowledged that the key seals nothing
// any more.
func (h *Handler) retire(ctx context.Context, r RetireRequest, s *stream) (any, error) {
	now, err := h.settled(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(now.Keys, func(k keyring.KeyStatus) bool { return k.Number == r.Number })
	switch {
	case now.Ring == nil || i < 0:
		return nil, refusal(http.StatusNotFound, fmt.Sprintf("the ring has no data key %d", r.Number), "see etcdguard seal status")
	case now.Keys[i].State != keyring.Retired:
		return nil, refusal(http.StatusConflict, fmt.Sprintf("data key %d is %v, and only a retired one can go", r.Number, now.Keys[i].State),
			"make another active with etcdguard seal rotate")
	}
	if err := allConfirmed(now); err != nil {
		return nil, err
	}
	if err := h.checkUnneeded(ctx, *now.Ring, r.Number, s); err != nil {
		return nil, err
	}
	if err := h.Keeper.Remove(ctx, r.Number, s.line); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// allConfirmed passes if every member has the newest ring in force. A member that
// does not run counts: it may have values under way in its log.
func allConfirmed(now keyring.Status) error {
	var missing []string
	for _, m := range now.Members {
		if !m.Confirmed {
			missing = append(missing, m.Name)
		}
	}
	if len(missing) > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("not every member has acknowledged generation %d of the ring: %s", now.Generation, strings.Join(missing, ", ")),
			"start or remove them, then run this again; see etcdguard seal status")
	}
	return nil
}

func (h *Handler) checkUnneeded(ctx context.Context, ring seal.RingID, number seal.KeyNumber, s *stream) error {
	if err := h.checkBackups(ctx, number); err != nil {
		return err
	}
	s.line("looking at every live value")
	live, err := reseal.NewSurvey(ctx, h.Etcd, ring, reseal.Prefix(""), s.seen)
	if err != nil {
		return err
	}
	if n := live.Total.ByKey[number]; n > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("%s sealed under data key %d; the first: %s", values(n), number, names(live.FirstByKey[number])),
			"rewrite them with etcdguard seal reseal, compact, then run this again")
	}
	s.line("looking at every revision that is kept")
	uses, err := reseal.UsesOf(ctx, h.Etcd, ring, number, s.seen)
	if err != nil {
		return err
	}
	if uses.Revisions > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("%d revisions that are kept, the newest at %d, need data key %d; the first: %s",
			uses.Revisions, uses.Newest, number, problemNames(uses.First)), compactHint(uses))
	}
	return h.checkBackups(ctx, number) // one may have been declared meanwhile
}

func (h *Handler) checkBackups(ctx context.Context, number seal.KeyNumber) error {
	backups, err := h.listBackups(ctx)
	if err != nil {
		return err
	}
	var needing []string
	for _, b := range backups {
		if slices.Contains(b.Keys, number) && (b.Until.IsZero() || b.Until.After(h.Now())) {
			needing = append(needing, b.Name)
		}
	}
	if len(needing) > 0 {
		return refusal(http.StatusConflict, fmt.Sprintf("backups need data key %d: %s", number, names(needing[:min(len(needing), reseal.Examples)])),
			"once they are destroyed: etcdguard seal backups forget NAME")
	}
	return nil
}

// compactHint is how to be rid of old revisions. Quarantined values are live, and no
// compaction takes them.
func compactHint(u *reseal.Uses) string {
	for _, p := range u.First {
		if strings.HasPrefix(string(p.Key), reseal.QuarantinePrefix) {
			return "restore or drop what is in quarantine (etcdguard seal quarantine list), compact, then run this again"
		}
	}
	return "compact to the present revision (etcdctl compact; kube-apiserver goes up to 5 minutes back every 5 minutes), wait until it is done, then run this again"
}

func problemNames(list []reseal.Problem) string {
	var all []string
	for _, p := range list {
		all = append(all, fmt.Sprintf("%s at %d", names([]string{string(p.Key)}), p.ModRevision))
	}
	return strings.Join(all, ", ")
}
