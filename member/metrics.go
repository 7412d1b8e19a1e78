package member

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the member counts besides the guard.
type metrics struct {
	reloads       *prometheus.CounterVec
	reloadFailing *prometheus.GaugeVec
	notAfter      *prometheus.GaugeVec
	daysLeft      *prometheus.GaugeVec
	handshakes    prometheus.Counter
	closed        prometheus.Counter
	enforcing     prometheus.Gauge
	open          prometheus.GaugeFunc

	countOpen atomic.Pointer[func() int]
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcdguard_reloads_total",
			Help: "Reloads, by what was reloaded (policy, certificates) and result (ok, kept_old).",
		}, []string{"what", "result"}),
		reloadFailing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "etcdguard_reload_failing",
			Help: "1 while the last reload failed and the state before it stays in force.",
		}, []string{"what"}),
		notAfter: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "etcdguard_certificate_not_after_timestamp_seconds",
			Help: "When a certificate in force ends (client_server: that of the client port; client_ca, peer_server, peer_ca: the earliest of each).",
		}, []string{"certificate"}),
		daysLeft: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "etcdguard_certificate_days_left",
			Help: "Days until a certificate in force ends; negative once it has.",
		}, []string{"certificate"}),
		handshakes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcdguard_handshakes_failed_total",
			Help: "TLS handshakes on the client port that failed.",
		}),
		closed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcdguard_connections_closed_total",
			Help: "Connections closed because the certificate that opened them is no longer trusted.",
		}),
		enforcing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcdguard_policy_enforcing",
			Help: "1 if the policy in force denies, 0 if it only observes.",
		}),
	}
	m.open = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "etcdguard_connections_open",
		Help: "Connections that are open on the client port.",
	}, func() float64 {
		if count := m.countOpen.Load(); count != nil {
			return float64((*count)())
		}
		return 0
	})
	for _, c := range []prometheus.Collector{m.reloads, m.reloadFailing, m.notAfter, m.daysLeft, m.handshakes, m.closed, m.enforcing, m.open} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) reloaded(what string, err error) {
	result, failing := "ok", 0.0
	if err != nil {
		result, failing = "kept_old", 1
	}
	m.reloads.WithLabelValues(what, result).Inc()
	m.reloadFailing.WithLabelValues(what).Set(failing)
}

func (m *metrics) certificate(name string, notAfter, now time.Time) {
	m.notAfter.WithLabelValues(name).Set(float64(notAfter.Unix()))
	days := notAfter.Sub(now).Hours() / 24
	m.daysLeft.WithLabelValues(name).Set(math.Floor(days*100) / 100)
}
