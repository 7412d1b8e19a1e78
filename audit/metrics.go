package audit

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/etcdguard/etcdguard/audit/evidence"
)

// metrics is what the log counts, and what the journal says of itself when it is asked.
type metrics struct {
	log        *Log
	events     *prometheus.CounterVec
	byKind     map[Kind]prometheus.Counter
	unrecorded prometheus.Counter
	observed   *prometheus.CounterVec
	failing    *prometheus.Desc
	syncs      *prometheus.Desc
	syncTime   *prometheus.Desc
	bytes      *prometheus.Desc
	most       *prometheus.Desc
	free       *prometheus.Desc
	unsynced   *prometheus.Desc
}

var kinds = []Kind{Intent, Outcome, Read, Denied, Watch, Stream, Handshake, Summary, System, Checkpoint, Witness, SignerKey, Gap}

func newMetrics(l *Log) *metrics {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	m := &metrics{
		log: l,
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcdguard_audit_events_total",
			Help: "Events written to the audit log, by kind.",
		}, []string{"kind"}),
		byKind: map[Kind]prometheus.Counter{},
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcdguard_audit_unrecorded_total",
			Help: "Requests that were served without being recorded, because the audit log could not be written and on-failure is serve.",
		}),
		observed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcdguard_audit_observations_total",
			Help: "Looks at other members' audit logs, by result (first, consistent, unchanged, no proof, expired, stale, forked, bad signature).",
		}, []string{"result"}),
		failing:  desc("etcdguard_audit_failing", "1 while the audit log can't be written."),
		syncs:    desc("etcdguard_audit_syncs_total", "Syncs of the audit log to stable storage."),
		syncTime: desc("etcdguard_audit_sync_seconds_total", "Time that those syncs took."),
		bytes:    desc("etcdguard_audit_bytes", "What the audit log's segments take on the disk."),
		most:     desc("etcdguard_audit_max_bytes", "What they may take at most (max-bytes)."),
		free:     desc("etcdguard_audit_free_bytes", "What is free on the file system of the audit log."),
		unsynced: desc("etcdguard_audit_unsynced_bytes", "What is not known to be on stable storage."),
	}
	for _, r := range []evidence.Result{evidence.First, evidence.Consistent, evidence.Unchanged, evidence.NoProof,
		evidence.Expired, evidence.Stale, evidence.Forked, evidence.BadSignature} {
		m.observed.WithLabelValues(string(r)) // one that begins with the first fork has no rise to alert on
	}
	for _, k := range kinds {
		m.byKind[k] = m.events.WithLabelValues(string(k))
	}
	return m
}

func (m *metrics) count(k Kind) { m.byKind[k].Inc() }

func (m *metrics) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.events, m.unrecorded, m.observed, m} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.failing, m.syncs, m.syncTime, m.bytes, m.most, m.free, m.unsynced} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	s := m.log.journal.Status()
	failing := 0.0
	if s.Failed != nil || s.Full != nil {
		failing = 1
	}
	gauge := func(d *prometheus.Desc, v float64) { to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	counter := func(d *prometheus.Desc, v float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	gauge(m.failing, failing)
	counter(m.syncs, float64(s.Syncs))
	counter(m.syncTime, s.SyncTime.Seconds())
	gauge(m.bytes, float64(s.Bytes))
	gauge(m.most, float64(s.MaxBytes))
	gauge(m.free, float64(s.Free))
	gauge(m.unsynced, float64(s.Kept))
}
