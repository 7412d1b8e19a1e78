// Package stock runs an unmodified etcd inside a test, as the side of a
// comparison that is right by definition.
//
// It is for tests only, and the one package outside member that imports etcd's
// server; a test in internal/difftest holds that no other code imports it.
package stock

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Config says how one etcd differs from the next. The zero value is a member
// that listens in plaintext on a free loopback port.
type Config struct {
	// Name is the member's name in member lists; default "difftest".
	Name string
	// TLS, when it has a certificate, makes the client port mTLS on a free
	// loopback port. A guarded member knows its callers by certificate, and
	// etcd's own users by CN, so both sides of a comparison must agree on it.
	TLS transport.TLSInfo
	// Set changes anything else before etcd starts.
	Set func(*embed.Config)
}

// Limits that every etcd of a comparison runs with. They are far below etcd's
// defaults so that the edges (too many operations, too large a request, a watch
// response that must be split) are reached thousands of times and cheaply.
const (
	MaxRequestBytes = 64 << 10
	MaxTxnOps       = 16
	BcryptCost      = 4
	ProgressEvery   = 200 * time.Millisecond
)

// Tune sets the limits of a comparison on an etcd configuration, wherever that
// etcd runs. Durability is switched off: nothing here outlives the test.
func Tune(cfg *embed.Config) {
	cfg.MaxRequestBytes = MaxRequestBytes
	cfg.MaxTxnOps = MaxTxnOps
	cfg.BcryptCost = BcryptCost
	cfg.WatchProgressNotifyInterval = ProgressEvery
	cfg.UnsafeNoFsync = true
}

// Start runs an etcd until the test ends and returns the address of its gRPC port.
func Start(t testing.TB, c Config) string {
	t.Helper()
	dir := t.TempDir()
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "data")
	cfg.Name = c.Name
	if cfg.Name == "" {
		cfg.Name = "difftest"
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.EnableGRPCGateway = false
	Tune(cfg)

	cfg.ListenPeerUrls = []url.URL{{Scheme: "http", Host: freeAddress(t)}}
	cfg.AdvertisePeerUrls = cfg.ListenPeerUrls
	scheme := "http"
	if c.TLS.CertFile != "" {
		cfg.ClientTLSInfo = c.TLS
		scheme = "https"
	}
	// With an HTTP listener of its own, the gRPC port is served by gRPC's native
	// transport, the same as the guarded member's.
	cfg.ListenClientUrls = []url.URL{{Scheme: scheme, Host: freeAddress(t)}}
	cfg.ListenClientHttpUrls = []url.URL{{Scheme: scheme, Host: freeAddress(t)}}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if c.Set != nil {
		c.Set(cfg)
	}

	stop, err := start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("starting stock etcd: %v", err)
	}
	t.Cleanup(stop)
	return cfg.ListenClientUrls[0].Host
}

func start(ctx context.Context, cfg *embed.Config) (stop func(), err error) {
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		e.Close()
		return nil, err
	case <-time.After(time.Minute):
		e.Close()
		return nil, fmt.Errorf("not ready after a minute")
	case <-ctx.Done():
		e.Close()
		return nil, ctx.Err()
	}
	return e.Close, nil
}

// freeAddress is one that nobody listens on. A peer URL must be known before it
// is bound, because it is part of the member's identity.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}
