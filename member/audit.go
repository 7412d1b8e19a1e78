package member

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"

	"github.com/dustin/go-humanize"
	"go.etcd.io/etcd/api/v3/version"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/policy"
)

// sizes are the fields of c that are sizes, by their names in the file.
func (c *AuditConfig) sizes() map[string]string {
	return map[string]string{"max-bytes": c.MaxBytes, "segment-bytes": c.SegmentBytes, "min-free-bytes": c.MinFreeBytes}
}

func (c *AuditConfig) check(complain func(field, message, fix string)) {
	if c.OnFailure != "" && c.OnFailure != "deny" && c.OnFailure != "serve" {
		complain("audit.on-failure", strconv.Quote(c.OnFailure)+" is neither deny nor serve", "on-failure: deny")
	}
	for name, size := range c.sizes() {
		if _, err := parseSize(size); err != nil {
			complain("audit."+name, strconv.Quote(size)+" is not a size", "write one such as 4GiB or 512MiB")
		}
	}
}

// parseSize is the size in bytes; of "", 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<60 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return int64(n), nil
}

// openAudit opens the audit log: nil if there is to be none.
func (m *Member) openAudit(ctx context.Context) (*audit.Log, error) {
	c := m.config.Guard.Audit
	if c == nil {
		m.log.Warn("there is no audit log: nobody will be able to tell who did what; add an audit section to the guard's configuration")
		return nil, nil
	}
	dir := c.Dir
	if dir == "" {
		dir = filepath.Join(m.config.Etcd.Dir, "audit")
	}
	maximum, _ := parseSize(c.MaxBytes) // LoadGuardConfig has checked them
	segment, _ := parseSize(c.SegmentBytes)
	free, _ := parseSize(c.MinFreeBytes)
	return audit.Open(ctx, audit.Config{
		Dir: dir, MaxBytes: maximum, SegmentBytes: segment, MinFreeBytes: free,
		ServeUnrecorded: c.OnFailure == "serve",
		Revision:        m.etcd.Server.KV().Rev(),
		Started: []string{"etcd", version.Version, "name", m.config.Etcd.Name,
			"member", m.etcd.Server.MemberID().String(), "revision", strconv.FormatInt(m.etcd.Server.KV().Rev(), 10)},
		Log: m.log.With(slog.String("audit", dir)), Registry: m.config.Registry,
	})
}

func (m *Member) runAudit(ctx context.Context) {
	if m.audit != nil {
		m.audit.Run(ctx)
	}
}

// exchangeAudit begins once the ring is there: the first member may only make one that
// is strict while nothing was ever written.
func (m *Member) exchangeAudit(ctx context.Context) {
	if m.audit != nil {
		m.audit.Exchange(ctx, carrier{store{server{m.etcd.Server}}})
	}
}

func (m *Member) closeAudit(reason string) {
	if m.audit == nil {
		return
	}
	if err := m.audit.Close(reason); err != nil {
		m.log.Error("the audit log did not close as it should", slog.Any("error", err))
	}
}

// act records something that the member did by itself.
func (m *Member) act(what string, detail ...string) {
	if m.audit != nil {
		m.audit.Act(what, detail...)
	}
}

// recordHandshake puts on record who was turned away before a request. The certificate
// is what was shown, not what was believed.
func (m *Member) recordHandshake(from net.Addr, shown *x509.Certificate, why error) {
	if m.audit == nil {
		return
	}
	who := policy.CallerOf(shown, from.String())
	e := audit.Event{Kind: audit.Handshake, Decision: audit.Refused, Reason: why.Error(),
		Caller: audit.NewCaller(audit.Identity{Name: "unverified", CN: who.CN, O: who.O, DNS: who.DNS, URI: who.URI, IP: who.IP,
			Serial: who.Serial, PublicKeySHA256: who.PublicKeySHA256, Peer: who.Peer})}
	if more := m.rejectedMore.Swap(0); more > 0 {
		e.Counts = []audit.Count{{Code: "not written before this", N: more}}
	}
	if err := m.audit.Record(context.Background(), &e); err != nil {
		m.log.Error("a failed handshake is not in the audit log", slog.Any("error", err))
	}
}
