package member_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/etcdguard/etcdguard/internal/difftest"
	"github.com/etcdguard/etcdguard/internal/difftest/stock"
	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/member"
	"github.com/etcdguard/etcdguard/pki"
)

// allowAll lets everybody do everything that the guard itself does not refuse, so
// that every difference from stock is the guard's doing.
const allowAll = `
apiVersion: etcdguard.dev/v1
kind: Policy
callers: [{name: nobody, match: {anonymous: true}}, {name: client, match: {cn: [client]}}]
rules: [{name: everything, callers: [nobody, client], role: admin}]
`

// TestTheGuardedMemberAnswersAsStockEtcdDoes is the differential gate: what
// difftest sends is answered alike, to the letter, by stock etcd and by a member.
func TestTheGuardedMemberAnswersAsStockEtcdDoes(t *testing.T) {
	difftest.Run(t,
		difftest.Target{Name: "stock", Address: stock.Start(t, stock.Config{})},
		difftest.Target{Name: "member", Address: startForDifferential(t, transport.TLSInfo{})},
		difftest.Options{MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps})
}

// TestTheSealedMemberAnswersAsStockEtcdDoes is the same with every value sealed, and
// shows that none is stored otherwise.
func TestTheSealedMemberAnswersAsStockEtcdDoes(t *testing.T) {
	dir := t.TempDir()
	difftest.Run(t,
		difftest.Target{Name: "stock", Address: stock.Start(t, stock.Config{})},
		difftest.Target{Name: "sealed member", Address: startSealed(t, dir, transport.TLSInfo{})},
		difftest.Options{MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps, Sealed: true, OwnWrites: ownWrites})
	if t.Failed() {
		return
	}
	if inFiles(t, dir, "compact_rev_key") == 0 {
		t.Error("names of keys are not found in the member's files: the search is blind")
	}
	if n := inFiles(t, dir, difftest.Marker); n > 0 {
		t.Errorf("plaintext of values is found %d times in the database, the log or the snapshots", n)
	}
}

// inFiles counts how often text is found in the files below dir.
func inFiles(t *testing.T, dir, text string) (found int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "data"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		found += bytes.Count(data, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Without sealing the same search finds what it must not find with it.
func TestTheSearchForPlaintextFindsIt(t *testing.T) {
	dir := t.TempDir()
	address := startMember(t, dir, transport.TLSInfo{}, nil)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: []byte(difftest.Marker)}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); inFiles(t, dir, difftest.Marker) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a value that was stored in plaintext is not found")
		}
	}
}

// ownWrites bounds the revisions that a sealing member makes for itself in a run: for
// the ring, and for its presence.
const ownWrites = 100

// TestSeedsThatFoundSomethingFindNothingNow replays them.
func TestSeedsThatFoundSomethingFindNothingNow(t *testing.T) {
	difftest.RunKept(t, difftest.Options{MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps},
		func(t *testing.T) (a, b difftest.Target) {
			return difftest.Target{Name: "stock", Address: stock.Start(t, stock.Config{})},
				difftest.Target{Name: "member", Address: startForDifferential(t, transport.TLSInfo{})}
		})
}

// TestTheGuardedMemberKnowsCallersAsStockEtcdDoes is the same over mutual TLS, where
// etcd's own users are known by their certificate's common name.
func TestTheGuardedMemberKnowsCallersAsStockEtcdDoes(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	authority, err := pki.NewAuthority(pki.Clients, "differential", now)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(p pki.Profile) *pki.Leaf {
		leaf, err := authority.Issue(p, now)
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	info := transport.TLSInfo{
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"),
		TrustedCAFile: filepath.Join(dir, "ca.crt"), ClientCertAuth: true,
	}
	server := issue(pki.Profile{Use: pki.Server, Subject: pkix.Name{CommonName: "server"}, IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err := server.Save(info.CertFile, info.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(info.TrustedCAFile, pki.EncodeCertificates(authority.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	client := issue(pki.Profile{Use: pki.Client, Subject: pkix.Name{CommonName: "client"}})
	dial := &tls.Config{Certificates: []tls.Certificate{client.TLS()}, RootCAs: authority.CertPool()}
	options := difftest.Options{MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps, Steps: 1500}
	t.Run("member", func(t *testing.T) {
		difftest.Run(t,
			difftest.Target{Name: "stock", Address: stock.Start(t, stock.Config{TLS: info}), TLS: dial},
			difftest.Target{Name: "member", Address: startForDifferential(t, info), TLS: dial}, options)
	})
	t.Run("sealed member", func(t *testing.T) {
		options.Sealed, options.OwnWrites = true, ownWrites
		difftest.Run(t,
			difftest.Target{Name: "stock", Address: stock.Start(t, stock.Config{TLS: info}), TLS: dial},
			difftest.Target{Name: "sealed member", Address: startSealed(t, t.TempDir(), info), TLS: dial}, options)
	})
}

func startForDifferential(t *testing.T, info transport.TLSInfo) string {
	t.Helper()
	return startMember(t, t.TempDir(), info, nil)
}

// startSealed starts a member whose cluster is strict from birth.
func startSealed(t *testing.T, dir string, info transport.TLSInfo) string {
	t.Helper()
	kek := filepath.Join(dir, "ring-kek.key")
	if _, err := kms.CreateKeyFile(kek, nil); err != nil {
		t.Fatal(err)
	}
	return startMember(t, dir, info, &member.SealingConfig{Providers: []kms.Config{{Name: "local", Local: &kms.LocalConfig{KeyFile: kek}}}})
}

func startMember(t *testing.T, dir string, info transport.TLSInfo, sealing *member.SealingConfig) string {
	t.Helper()
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
	if info.CertFile != "" {
		cfg.ListenClientUrls[0].Scheme = "https"
		cfg.ClientTLSInfo = info
	}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := member.Start(context.Background(), member.Config{
		Etcd:     cfg,
		Guard:    &member.GuardConfig{Policy: rules, Sealing: sealing, UnsafePlaintextClients: true, UnsafePeers: true},
		Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop("the test is over") })
	return cfg.ListenClientUrls[0].Host
}
