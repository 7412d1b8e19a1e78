package keyring

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/etcdguard/etcdguard/kms"
)

// healthEvery is how often providers are asked whether they work: the outage is to be
// known before the next start needs them.
const healthEvery = time.Minute

// providerHealth is what each provider answered last.
type providerHealth struct {
	mu   sync.Mutex
	last map[string]ProviderStatus
}

// checkProviders asks every provider, at once and then on a timer.
func (k *Keeper) checkProviders(ctx context.Context) {
	if len(k.config.Providers) == 0 {
		return
	}
	timer := time.NewTicker(healthEvery)
	defer timer.Stop()
	for {
		k.askProviders(ctx)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// askProviders asks all of them at the same time, and returns what they say in their
// configured order.
func (k *Keeper) askProviders(ctx context.Context) []ProviderStatus {
	all := make([]ProviderStatus, len(k.config.Providers))
	var asked sync.WaitGroup
	for i, p := range k.config.Providers {
		asked.Go(func() { all[i] = askProvider(ctx, p) })
	}
	asked.Wait()
	if ctx.Err() != nil {
		return all // no fault of theirs
	}
	k.health.mu.Lock()
	defer k.health.mu.Unlock()
	before := k.health.last
	k.health.last = map[string]ProviderStatus{}
	for _, s := range all {
		k.health.last[s.Name] = s
		value := 0.0
		if s.Healthy {
			value = 1
		}
		k.metrics.healthy.WithLabelValues(s.Name).Set(value)
		was, asked := before[s.Name]
		switch {
		case !s.Healthy && (!asked || was.Healthy):
			k.log.Error("a key provider does not work: members that start now need another one",
				slog.String("provider", s.Name), slog.String("problem", s.Problem))
		case s.Healthy && asked && !was.Healthy:
			k.log.Info("a key provider works again", slog.String("provider", s.Name))
		}
	}
	return all
}

const (
	// fresh is how old an answer of a provider may be to be shown.
	fresh = 5 * time.Second
	// impatience is how long somebody who asks for the state waits for a provider.
	impatience = 2 * time.Second
)

// providersNow is what the providers say now, or said a moment ago.
func (k *Keeper) providersNow(ctx context.Context) []ProviderStatus {
	all := make([]ProviderStatus, 0, len(k.config.Providers))
	k.health.mu.Lock()
	for _, p := range k.config.Providers {
		if s, asked := k.health.last[p.Name()]; asked && time.Since(s.Checked) < fresh {
			all = append(all, s)
		}
	}
	k.health.mu.Unlock()
	if len(all) == len(k.config.Providers) {
		return all
	}
	ctx, cancel := context.WithTimeout(ctx, impatience)
	defer cancel()
	return k.askProviders(ctx)
}

func askProvider(ctx context.Context, p kms.Provider) ProviderStatus {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := p.Status(ctx)
	out := ProviderStatus{Name: p.Name(), KeyID: s.KeyID, Checked: time.Now().UTC()}
	switch {
	case err != nil:
		out.Problem = err.Error()
	case s.Healthz != "ok":
		out.Problem = fmt.Sprintf("it says %q of its health", s.Healthz)
	default:
		out.Healthy = true
	}
	return out
}
