package member_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/etcdguard/etcdguard/internal/difftest"
	"github.com/etcdguard/etcdguard/internal/difftest/stock"
	"github.com/etcdguard/etcdguard/member"
)

// allowAll lets everybody do everything that the guard itself does not refuse, so
// that every difference from stock is the guard's doing.
const allowAll = `
apiVersion: etcdguard.dev/v1
kind: Policy
callers: [{name: everybody, match: {anonymous: true}}]
rules: [{name: everything, callers: [everybody], role: admin}]
`

// TestTheGuardedMemberAnswersAsStockEtcdDoes is the differential gate: what
// difftest sends is answered alike, to the letter, by stock etcd and by a member.
func TestTheGuardedMemberAnswersAsStockEtcdDoes(t *testing.T) {
	difftest.Run(t,
		difftest.Target{Name: "stock", Address: stock.Start(t, stock.Config{})},
		difftest.Target{Name: "member", Address: startForDifferential(t)},
		difftest.Options{MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps})
}

func startForDifferential(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	rules := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(rules, []byte(allowAll), 0o600); err != nil {
		t.Fatal(err)
	}
	free := func() url.URL {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return url.URL{Scheme: "http", Host: l.Addr().String()}
	}
	cfg := embed.NewConfig()
	stock.Tune(cfg)
	cfg.Name = "difftest"
	cfg.Dir = filepath.Join(dir, "data")
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.ListenPeerUrls = []url.URL{free()}
	cfg.AdvertisePeerUrls = cfg.ListenPeerUrls
	cfg.ListenClientUrls = []url.URL{free()}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := member.Start(context.Background(), member.Config{
		Etcd:     cfg,
		Guard:    &member.GuardConfig{Policy: rules, UnsafePlaintextClients: true, UnsafePeers: true},
		Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop("the test is over") })
	return cfg.ListenClientUrls[0].Host
}
