package guard

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// result is how a decision ended.
type result uint8

const (
	allowed   result = iota
	observed         // let through by an observing policy or rule; would be denied
	denied           // no rule allows it
	overLimit        // allowed, but more than the caller's limits
	refused          // not understood, or never served
	unsureYet        // can't be decided yet; the caller may try again
	resultCount
)

var resultNames = [resultCount]string{"allowed", "observed", "denied", "limited", "refused", "postponed"}

// Metrics is what the guard counts. Its labels are bounded: callers are the names
// that the policy gives them, actions and results are this program's own words.
// Key names, certificates and addresses are never labels.
type Metrics struct {
	decisions *prometheus.CounterVec
	overhead  prometheus.Histogram
	watchers  *prometheus.GaugeVec
	// Values of requests, and of watches: there a value counts once for all watchers.
	sealed, openedForRequests, opened prometheus.Counter
	unreadable                        *prometheus.CounterVec
}

// NewMetrics makes the guard's metrics and registers them with r.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcdguard_decisions_total",
			Help: "Decisions of the guard, by the policy's name for the caller, the action and the result (allowed, observed, denied, limited, refused, postponed). A Txn counts one for its envelope and one for each compare and operation.",
		}, []string{"caller", "action", "result"}),
		overhead: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "etcdguard_request_overhead_seconds",
			Help:    "Time that the guard adds to a unary request before etcd is asked.",
			Buckets: []float64{1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2, 1e-1},
		}),
		watchers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "etcdguard_watchers",
			Help: "Watches that are open, by the policy's name for the caller.",
		}, []string{"caller"}),
		sealed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcdguard_values_sealed_total",
			Help: "Values that were sealed on their way to etcd.",
		}),
		openedForRequests: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcdguard_values_opened_total",
			Help: "Sealed values that were opened for requests, those that a compare or an order on VALUE needs included.",
		}),
		unreadable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcdguard_values_unreadable_total",
			Help: "Stored values that somebody needed and that did not open, by the reason (plaintext, version, truncated, foreign ring, unknown key, altered, moved, other).",
		}, []string{"reason"}),
		opened: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcdguard_watch_values_opened_total",
			Help: "Sealed values that were opened for watches: once for an event, however many watch it.",
		}),
	}
	for _, c := range []prometheus.Collector{m.decisions, m.overhead, m.watchers,
		m.sealed, m.openedForRequests, m.opened, m.unreadable} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	// A counter that begins to exist with the first fault has no rise to alert on.
	for _, r := range reasons {
		m.unreadable.WithLabelValues(r.word)
	}
	m.unreadable.WithLabelValues(reasonOf(nil))
	return m, nil
}

func (m *Metrics) countOpened(values int) {
	if values > 0 {
		m.openedForRequests.Add(float64(values))
	}
}

// counters are the counters of one account, resolved once: looking a counter up by
// its labels costs more than the decision that it counts.
type counters [etcdapi.ActionCount][resultCount]atomic.Pointer[prometheus.Counter]

func (g *Guard) count(c *caller, action etcdapi.Action, r result) {
	slot := &c.account.counters[action][r]
	counter := slot.Load()
	if counter == nil {
		name := "unknown"
		if action != etcdapi.NoAction {
			name = action.String()
		}
		resolved := g.metrics.decisions.WithLabelValues(c.account.name, name, resultNames[r])
		counter = &resolved
		slot.Store(counter)
	}
	(*counter).Inc()
}
