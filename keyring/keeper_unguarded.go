package keyring

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	probeEvery = 2 * time.Second
	probeFor   = 2 * time.Second
)

// unguarded are the members that run and keep no presence, by id.
type unguarded struct {
	mu    sync.Mutex
	names map[uint64]string
}

func (u *unguarded) has(id uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, has := u.names[id]
	return has
}

func (u *unguarded) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.names)
}

// lookForUnguarded notices a member that runs without etcdguard in a cluster that has
// a ring: its peer port has answered for longer than a lease lasts, and no presence
// came. A guarded member says that it is there before it has opened its ring, so the
// one that waits for its keys is none of these.
func (k *Keeper) lookForUnguarded(ctx context.Context) {
	if k.config.PeerProbe == nil {
		return
	}
	timer := time.NewTicker(probeEvery)
	defer timer.Stop()
	alone := map[uint64]time.Time{} // since when a member answers without presence
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if s := k.state.Load(); s.stored == nil || s.stored.Phase == Off {
			alone = map[uint64]time.Time{}
			k.noticed(nil)
			continue
		}
		present, err := k.acknowledgements(ctx)
		if err != nil {
			continue
		}
		found := map[uint64]string{}
		running := k.probe(ctx, present)
		for id := range alone {
			if _, still := running[id]; !still {
				delete(alone, id)
			}
		}
		for id, m := range running {
			if _, before := alone[id]; !before {
				alone[id] = time.Now()
			}
			if time.Since(alone[id]) >= leaseTTL {
				found[id] = m.String()
			}
		}
		k.noticed(found)
	}
}

// probe asks all members without presence at the same time whether they run.
func (k *Keeper) probe(ctx context.Context, present map[uint64]acknowledgement) map[uint64]MemberInfo {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	var mu sync.Mutex
	running := map[uint64]MemberInfo{}
	var asked sync.WaitGroup
	for _, m := range k.config.Store.Members() {
		if _, here := present[m.ID]; here || m.ID == k.config.Store.MemberID() {
			continue
		}
		asked.Go(func() {
			if answers, err := k.config.PeerProbe(ctx, m); err == nil && answers {
				mu.Lock()
				defer mu.Unlock()
				running[m.ID] = m
			}
		})
	}
	asked.Wait()
	return running
}

// noticed logs what is new.
func (k *Keeper) noticed(found map[uint64]string) {
	k.running.mu.Lock()
	before := k.running.names
	k.running.names = found
	k.running.mu.Unlock()
	for id, name := range found {
		if _, known := before[id]; !known {
			k.log.Error("a member runs without etcdguard in a sealed cluster: whoever reaches its client port is not judged, and what they write is not sealed",
				slog.String("member", name), slog.Uint64("id", id))
		}
	}
	for id, name := range before {
		if _, still := found[id]; !still {
			k.log.Info("a member that ran without etcdguard does so no more", slog.String("member", name))
		}
	}
}

// acknowledgements are the presences of members as this one knows them, by id. What is
// no acknowledgement is left out, and so counts for nothing.
func (k *Keeper) acknowledgements(ctx context.Context) (map[uint64]acknowledgement, error) {
	r, err := k.config.Store.Range(ctx, &pb.RangeRequest{Key: []byte(MembersPrefix), RangeEnd: prefixEnd(MembersPrefix), Serializable: true})
	if err != nil {
		return nil, unreadableError{err}
	}
	byKey := map[string]acknowledgement{}
	for _, kv := range r.Kvs {
		var a acknowledgement
		if err := json.Unmarshal(kv.Value, &a); err == nil && kv.Lease != 0 {
			byKey[string(kv.Key)] = a
		}
	}
	present := map[uint64]acknowledgement{}
	for _, m := range k.config.Store.Members() {
		if a, here := byKey[memberKey(m.ID)]; here {
			present[m.ID] = a
		}
	}
	return present, nil
}

// sortedNames joins names in an order that stays.
func sortedNames(names map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		all = append(all, name+" ("+names[name]+")")
	}
	return strings.Join(all, ", ")
}
