package member

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/internal/filewatch"
	"github.com/etcdguard/etcdguard/policy"
)

func (m *Member) watchCertificates(ctx context.Context) {
	if m.door.source == nil {
		return
	}
	filewatch.Watch(ctx, m.config.ReloadInterval, m.door.seen, clientTrust(m.config.Etcd).Files(), m.reloadCertificates)
}

func (m *Member) reloadCertificates() error {
	if m.door.source == nil {
		return nil
	}
	err := m.door.source.Reload()
	m.metrics.reloaded("certificates", err)
	if err != nil {
		m.act("certificates", "kept", "those before", "error", err.Error())
		m.log.Error("the certificates were not reloaded; the old ones stay in force", slog.Any("error", err))
		return err
	}
	now := m.door.source.Current()
	m.showCertificates(now)
	m.act("certificates", "serial", now.Leaf().SerialNumber.String(), "not-after", now.Leaf().NotAfter.UTC().Format(time.RFC3339))
	m.log.Info("the certificates were reloaded", slog.Time("not-after", now.Leaf().NotAfter))
	m.closeUntrusted()
	return nil
}

// sweep closes, on a timer, the connections whose certificate has ended since, and
// keeps the days that are left up to date.
func (m *Member) sweep(ctx context.Context) {
	tick := time.NewTicker(m.config.SweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.closeUntrusted()
			if m.door.source != nil {
				m.showCertificates(m.door.source.Current())
			}
		}
	}
}

func (m *Member) closeUntrusted() {
	n := m.door.certs.Sweep(func(p *certs.Peer, why error) {
		m.log.Warn("connection closed",
			slog.String("caller", policy.CallerOf(p.Leaf(), p.Address.String()).String()),
			slog.String("peer", p.Address.String()), slog.Any("reason", why))
	})
	m.metrics.closed.Add(float64(n))
}

// showCertificates puts into the metrics when the certificates in force end.
func (m *Member) showCertificates(g *certs.Generation) {
	now := time.Now()
	m.metrics.certificate("client_server", g.Leaf().NotAfter, now)
	m.showEarliest("client_ca", g.Authorities(), now)
	t := m.config.Etcd.PeerTLSInfo
	for name, file := range map[string]string{"peer_server": t.CertFile, "peer_ca": t.TrustedCAFile} {
		if file == "" {
			continue
		}
		// etcd reads these files itself; if they are bad it says so.
		if chain, err := certs.ReadCertificates(file); err == nil {
			if name == "peer_server" {
				chain = chain[:1]
			}
			m.showEarliest(name, chain, now)
		}
	}
	if g.RevocationsExpired() {
		m.log.Warn("the revocation list is past its nextUpdate; newer revocations may be missing (--client-crl-file)")
	}
}

func (m *Member) showEarliest(name string, all []*x509.Certificate, now time.Time) {
	var first time.Time
	for _, c := range all {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	if !first.IsZero() {
		m.metrics.certificate(name, first, now)
	}
}
