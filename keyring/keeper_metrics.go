package keyring

import (
	"github.com/prometheus/client_golang/prometheus"
)

// keeperMetrics is what a keeper shows. Its labels are bounded: states, and the names
// that the configuration gives to providers.
type keeperMetrics struct {
	healthy *prometheus.GaugeVec
}

func newKeeperMetrics(r prometheus.Registerer, k *Keeper) (*keeperMetrics, error) {
	m := &keeperMetrics{healthy: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "etcdguard_key_provider_healthy",
		Help: "1 if the key provider of that name worked when it was last asked, 0 if it did not.",
	}, []string{"provider"})}
	if r == nil {
		return m, nil
	}
	gauge := func(name, help string, value func(s *keeperState) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(k.state.Load()) })
	}
	collectors := []prometheus.Collector{
		m.healthy,
		gauge("etcdguard_ring_generation", "Generation of the ring's document in force on this member; 0: there is none.", func(s *keeperState) float64 {
			if s.opened == nil {
				return 0
			}
			return float64(s.opened.doc.Generation)
		}),
		gauge("etcdguard_seal_phase", "Phase of sealing in force on this member: 0 off, 1 can-open, 2 sealing, 3 strict; -1 while it is not known.", func(s *keeperState) float64 {
			switch {
			case !s.inForce:
				return -1
			case s.opened == nil:
				return float64(Off)
			}
			return float64(s.opened.doc.Phase)
		}),
		gauge("etcdguard_ring_trouble", "1 while this member refuses writes, or keeps its client port shut, because its ring does not open.", func(s *keeperState) float64 {
			if s.waiting != nil || s.refusal != nil {
				return 1
			}
			return 0
		}),
		gauge("etcdguard_unguarded_members", "Members that run without etcdguard in a cluster that has a ring.", func(*keeperState) float64 {
			return float64(k.running.count())
		}),
	}
	for _, state := range []KeyState{Prepare, Active, Retired} {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "etcdguard_seal_keys", Help: "Data keys of the ring in force, by state.", ConstLabels: prometheus.Labels{"state": state.String()},
		}, func() float64 { return float64(k.keysIn(state)) }))
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (k *Keeper) keysIn(state KeyState) (n int) {
	if s := k.state.Load(); s.opened != nil {
		for _, key := range s.opened.doc.Keys {
			if key.State == state {
				n++
			}
		}
	}
	return n
}
