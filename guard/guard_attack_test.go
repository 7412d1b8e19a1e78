package guard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"

	"github.com/etcdguard/etcdguard/etcdapi"
)

func lookup(t *testing.T, name string) (etcdapi.Method, bool) {
	t.Helper()
	m, ok := etcdapi.LookupMethod(name)
	if !ok {
		t.Fatalf("%s is unknown", name)
	}
	return m, ok
}

// A revision that is not there yet when the guard looks can be there, and be the
// head, when etcd looks: the caller's own writes make it, and a follower lags.
func TestACompactionToAFutureRevisionIsNotLeftToEtcd(t *testing.T) {
	f := newFixture(t)
	for _, revision := range []int64{101, 102, 1 << 62} {
		seen, _, err := f.call(as("apiserver"), "KV/Compact", &pb.CompactionRequest{Revision: revision})
		if seen != nil || err != rpctypes.ErrGRPCFutureRev {
			t.Errorf("revision %d of 100: etcd saw %v, the client %v", revision, seen, err)
		}
	}
}

// The first entry that matches names the account, so callers with different rights
// can share one.
func TestALeaseThatOneCallerMayJoinIsNotJoinedByAnother(t *testing.T) {
	f := newFixture(t)
	f.SetPolicy(parsePolicy(t, `
apiVersion: etcdguard.dev/v1
kind: Policy
callers:
  - {name: everybody, match: {anyCertificate: true}, limits: {valueBytes: 100}}
  - {name: strong, match: {cn: [strong]}}
  - {name: weak, match: {cn: [weak]}}
rules:
  - {name: strong, callers: [strong], actions: [KV.Put], keys: [{prefix: /a/}, {prefix: /b/}]}
  - {name: weak, callers: [weak], actions: [KV.Put], keys: [{prefix: /b/}]}
`))
	f.etcd.leases[1] = []string{"/a/secret"}
	f.mustPass("strong", "KV/Put", &pb.PutRequest{Key: b("/b/x"), Lease: 1})
	f.mustDeny("weak", "KV/Put", &pb.PutRequest{Key: b("/b/x"), Lease: 1})
}

// A right to write inside a Txn was checked, not the right to write bare.
func TestALeaseCheckedForATxnIsNotCheckedForAPut(t *testing.T) {
	f := newFixture(t)
	f.SetPolicy(parsePolicy(t, `
apiVersion: etcdguard.dev/v1
kind: Policy
callers: [{name: a, match: {cn: [a]}}]
rules:
  - {name: txn, callers: [a], actions: ["KV.Txn:Put"], keys: [{prefix: /a/}, {prefix: /b/}]}
  - {name: put, callers: [a], actions: [KV.Put], keys: [{prefix: /b/}]}
`))
	f.etcd.leases[1] = []string{"/a/x"}
	put := &pb.PutRequest{Key: b("/b/x"), Lease: 1}
	f.mustPass("a", "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}})
	f.mustDeny("a", "KV/Put", put)
}

// etcd counts the operations of a Txn after the guard; each lease may cost a round
// trip to the leader.
func TestATxnOfManyLeasesIsNotLookedUpToItsEnd(t *testing.T) {
	f := newFixture(t)
	txn := &pb.TxnRequest{}
	for i := range int64(50_000) {
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: fmt.Appendf(nil, "/team/%d", i), Lease: i + 1}}})
	}
	looked := 0
	f.etcd.lookedUp = func() { looked++ }
	seen, _, err := f.call(as("team"), "KV/Txn", txn)
	if seen != nil || err != rpctypes.ErrGRPCTooManyOps {
		t.Errorf("etcd saw it: %t, the client %v", seen != nil, err)
	}
	if looked == 0 || looked > leasesRemembered {
		t.Errorf("%d leases were looked up", looked)
	}
}

// Anybody with a certificate can be denied with keys as long as a request may be.
func TestADenialLogsNoMoreThanALine(t *testing.T) {
	long := strings.Repeat("\xff", 1<<20)
	for what, send := range map[string]func(f *fixture) error{
		"a long key": func(f *fixture) error {
			_, _, err := f.call(as("stranger"), "KV/Range", &pb.RangeRequest{Key: b(long), RangeEnd: b(long + "\xff")})
			return err
		},
		"a long method": func(f *fixture) error {
			_, _, err := f.call(as("stranger"), long, &pb.RangeRequest{})
			return err
		},
		"an unknown field at the bottom of a deep Txn": func(f *fixture) error {
			bottom := &pb.TxnRequest{}
			bottom.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 1})
			for range 4000 {
				bottom = &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: bottom}}}}
			}
			_, _, err := f.call(as("stranger"), "KV/Txn", bottom)
			wantCode(t, err, codes.Unimplemented, "unknown field")
			return err
		},
	} {
		f := newFixture(t)
		begin := time.Now()
		err := send(f)
		if err == nil {
			t.Errorf("%s: let through", what)
			continue
		}
		if n := len(f.log.String()); n == 0 || n > 8<<10 {
			t.Errorf("%s: %d bytes in the log", what, n)
		}
		if n := len(err.Error()); n > 4<<10 {
			t.Errorf("%s: %d bytes for the client", what, n)
		}
		t.Logf("%s: %v, %d bytes in the log, %d for the client", what, time.Since(begin), len(f.log.String()), len(err.Error()))
	}
}

// What is being judged is in flight, or the bound bounds nothing that is expensive.
func TestWhatIsJudgedIsInFlight(t *testing.T) {
	f := newFixture(t)
	f.etcd.leases[1] = []string{"/a"}
	f.SetPolicy(parsePolicy(t, `
apiVersion: etcdguard.dev/v1
kind: Policy
callers: [{name: a, match: {cn: [a]}, limits: {inFlight: 1}}]
rules: [{name: a, callers: [a], actions: [KV.Put], keys: [{prefix: /a}]}]
`))
	inside, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f.etcd.lookedUp = func() { close(inside); <-release }
	go func() {
		_, _, err := f.call(as("a"), "KV/Put", &pb.PutRequest{Key: b("/a"), Lease: 1})
		done <- err
	}()
	await(t, "the lease is looked up", inside)
	_, _, err := f.call(as("a"), "KV/Put", &pb.PutRequest{Key: b("/a")})
	if err != errTooManyRequests {
		t.Errorf("a second request while the first is judged: %v", err)
	}
	close(release)
	if err := await(t, "the first ends", done); err != nil {
		t.Error(err)
	}
}
