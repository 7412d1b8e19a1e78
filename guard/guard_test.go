package guard

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func b(s string) []byte { return []byte(s) }

func rangeOf(key, end string) *pb.RangeRequest {
	return &pb.RangeRequest{Key: b(key), RangeEnd: b(end)}
}

func putOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: b(key)}}}
}

func rangeOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: rangeOf(key, end)}}
}

func deleteOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: b(key), RangeEnd: b(end)}}}
}

func txnOp(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func TestWhatNoRuleAllowsIsDenied(t *testing.T) {
	f := newFixture(t)
	for _, cn := range []string{"", "stranger", "team"} {
		f.mustDeny(cn, "KV/Range", rangeOf("/other/x", ""))
		f.mustDeny(cn, "KV/Put", &pb.PutRequest{Key: b("/other/x")})
		f.mustDeny(cn, "Maintenance/Status", &pb.StatusRequest{})
		f.mustDeny(cn, "Auth/AuthDisable", &pb.AuthDisableRequest{})
	}
	f.mustPass("admin", "KV/Range", rangeOf("/other/x", ""))
	f.mustPass("team", "KV/Range", rangeOf("/team/x", ""))
}

func TestARangeIsJudgedWhole(t *testing.T) {
	f := newFixture(t)
	f.mustPass("team", "KV/Range", rangeOf("/team/", "/team0"))
	f.mustDeny("team", "KV/Range", rangeOf("/team/", "/team1"))
	f.mustDeny("team", "KV/Range", rangeOf("/team/", "\x00")) // open-ended, CVE-2026-73499
	f.mustDeny("team", "KV/Range", rangeOf("\x00", "\x00"))
	f.mustDeny("team", "KV/Range", &pb.RangeRequest{Key: b("\x00"), RangeEnd: b("\x00"), KeysOnly: true, Serializable: true})
	f.mustDeny("team", "KV/DeleteRange", &pb.DeleteRangeRequest{Key: b("/team/"), RangeEnd: b("\x00")})
}

func TestEveryPartOfATxnIsJudged(t *testing.T) {
	f := newFixture(t)
	own := putOp("/team/a")
	f.mustPass("team", "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{own}})
	foreign := map[string]*pb.TxnRequest{
		"compare":            {Compare: []*pb.Compare{{Key: b("/other"), Target: pb.Compare_VALUE}}, Success: []*pb.RequestOp{own}},
		"compare of a range": {Compare: []*pb.Compare{{Key: b("/team/"), RangeEnd: b("\x00")}}, Success: []*pb.RequestOp{own}},
		"range":              {Success: []*pb.RequestOp{own, rangeOp("/other", "")}},
		"put":                {Success: []*pb.RequestOp{putOp("/other")}},
		"delete":             {Success: []*pb.RequestOp{deleteOp("/other", "")}},
		"failure":            {Failure: []*pb.RequestOp{putOp("/other")}},
	}
	for name, txn := range foreign {
		t.Run(name, func(t *testing.T) {
			f.t = t
			f.mustDeny("team", "KV/Txn", txn)
			// CVE-2026-33343: one level deeper, in either branch.
			f.mustDeny("team", "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{txnOp(txn)}})
			f.mustDeny("team", "KV/Txn", &pb.TxnRequest{Failure: []*pb.RequestOp{own, txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{txnOp(txn)}})}})
		})
	}
}

func TestThePreviousValueIsARead(t *testing.T) {
	f := newFixture(t)
	f.mustPass("writer", "KV/Put", &pb.PutRequest{Key: b("/team/a")})
	f.mustDeny("writer", "KV/Put", &pb.PutRequest{Key: b("/team/a"), PrevKv: true})
	f.mustPass("writer", "KV/DeleteRange", &pb.DeleteRangeRequest{Key: b("/team/a")})
	f.mustDeny("writer", "KV/DeleteRange", &pb.DeleteRangeRequest{Key: b("/team/a"), PrevKv: true})
	in := putOp("/team/a")
	in.GetRequestPut().PrevKv = true
	f.mustDeny("writer", "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{in}}) // CVE-2026-44283
	out := deleteOp("/team/a", "")
	out.GetRequestDeleteRange().PrevKv = true
	f.mustDeny("writer", "KV/Txn", &pb.TxnRequest{Failure: []*pb.RequestOp{out}})
	f.mustPass("team", "KV/Put", &pb.PutRequest{Key: b("/team/a"), PrevKv: true})
}

func TestALeaseIsJudgedByTheKeysThatHangOnIt(t *testing.T) {
	f := newFixture(t)
	f.etcd.leases = map[int64][]string{1: {"/team/a", "/team/b"}, 2: {"/team/a", "/other"}, 3: {"\x00etcdguard/x"}}

	f.mustPass("team", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 1})
	f.mustPass("team", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 9}) // etcd says that there is none
	f.mustDeny("team", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 2})
	f.mustDeny("team", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 3})

	f.mustPass("team", "KV/Put", &pb.PutRequest{Key: b("/team/c"), Lease: 1})
	f.mustDeny("team", "KV/Put", &pb.PutRequest{Key: b("/team/c"), Lease: 2})
	in := putOp("/team/c")
	in.GetRequestPut().Lease = 2
	f.mustDeny("team", "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{in}})

	ask := &pb.LeaseTimeToLiveRequest{ID: 2, Keys: true}
	shown := &pb.LeaseTimeToLiveResponse{Keys: [][]byte{b("/team/a"), b("/other")}}
	if _, got, err := f.call(as("team"), "Lease/LeaseTimeToLive", ask, shown); got != nil || err != errPermissionDenied {
		t.Errorf("key names of others are shown: %v, %v", got, err) // CVE-2023-32082
	}
	if _, got, err := f.call(as("team"), "Lease/LeaseTimeToLive", ask, &pb.LeaseTimeToLiveResponse{Keys: [][]byte{b("/team/a")}}); got == nil || err != nil {
		t.Errorf("own key names are not shown: %v", err)
	}
}

func TestTheLeaseCheckIsRememberedForSecondsAndOnePolicy(t *testing.T) {
	f := newFixture(t)
	put := &pb.PutRequest{Key: b("/team/c"), Lease: 1}
	f.mustPass("team", "KV/Put", put)
	f.etcd.leases[1] = []string{"/other"}
	f.mustPass("team", "KV/Put", put) // still remembered
	f.clock = f.clock.Add(leaseCheckHolds)
	f.mustDeny("team", "KV/Put", put)

	f.etcd.leases[1] = nil
	f.mustPass("team", "KV/Put", put)
	f.etcd.leases[1] = []string{"/other"}
	f.SetPolicy(parsePolicy(t, testPolicy))
	f.mustDeny("team", "KV/Put", put)
}

func TestTheReservedSpaceIsShutForEverybody(t *testing.T) {
	f := newFixture(t)
	f.mustDeny("admin", "KV/Range", rangeOf("\x00etcdguard/ring", ""))
	f.mustDeny("admin", "KV/Put", &pb.PutRequest{Key: b("\x00etcdguard/ring")})
	f.mustDeny("admin", "KV/DeleteRange", &pb.DeleteRangeRequest{Key: b("\x00"), RangeEnd: b("\x01")})
	f.mustDeny("admin", "KV/Txn", &pb.TxnRequest{Failure: []*pb.RequestOp{txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("\x00x")}})}})
	for _, request := range []struct {
		method string
		m      proto.Message
		key    func(proto.Message) []byte
	}{
		{"KV/Range", rangeOf("\x00", "\x00"), func(m proto.Message) []byte { return m.(*pb.RangeRequest).Key }},
		{"KV/DeleteRange", &pb.DeleteRangeRequest{Key: b("\x00"), RangeEnd: b("\x00")}, func(m proto.Message) []byte { return m.(*pb.DeleteRangeRequest).Key }},
	} {
		if seen := f.mustPass("admin", request.method, request.m); string(request.key(seen)) != "\x01" {
			t.Errorf("%s over everything reaches etcd from %q on", request.method, request.key(seen))
		}
	}
}

func TestWhatIsNotUnderstoodIsRefusedByName(t *testing.T) {
	f := newFixture(t)
	alien := protowire.AppendVarint(protowire.AppendTag(nil, 12345, protowire.VarintType), 1)
	put := &pb.PutRequest{Key: b("/team/a")}
	put.ProtoReflect().SetUnknown(alien)
	txn := &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}}
	for method, m := range map[string]proto.Message{"KV/Put": put, "KV/Txn": txn} {
		seen, _, err := f.call(as("admin"), method, m)
		if seen != nil {
			t.Errorf("%s with an unknown field reached etcd", method)
		}
		wantCode(t, err, codes.Unimplemented, "unknown field")
	}
	_, _, err := f.call(as("admin"), "Maintenance/Alarm", &pb.AlarmRequest{Action: 99})
	wantCode(t, err, codes.Unimplemented, "does not know")
	for method, answer := range map[string]string{
		"/v3lockpb.Lock/Lock":             "unknown service v3lockpb.Lock",
		"/v3electionpb.Election/Proclaim": "unknown service v3electionpb.Election",
		"/etcdserverpb.KV/New":            "unknown method New for service etcdserverpb.KV",
		"KV/Put":                          "unknown service KV",
		"":                                "unknown service",
	} {
		_, err := f.Unary(as("admin"), &pb.PutRequest{}, &grpc.UnaryServerInfo{FullMethod: method},
			func(context.Context, any) (any, error) { t.Errorf("%s reached etcd", method); return nil, nil })
		wantCode(t, err, codes.Unimplemented, answer)
	}
}

func TestAConnectionWithoutIdentityIsRefused(t *testing.T) {
	f := newFixture(t)
	_, _, err := f.call(context.Background(), "KV/Range", rangeOf("a", ""))
	wantCode(t, err, codes.Internal, "identity")
}

func TestOpenEndedDeleteOverAPutIsRefusedInEtcdsWords(t *testing.T) {
	f := newFixture(t)
	seen, _, err := f.call(as("admin"), "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("b"), deleteOp("a", "\x00")}})
	if seen != nil || err != rpctypes.ErrGRPCDuplicateKey {
		t.Errorf("got %v, reached etcd: %v", err, seen != nil)
	}
}

func TestLimits(t *testing.T) {
	f := newFixture(t)
	f.mustPass("bounded", "KV/Range", &pb.RangeRequest{Key: b("a"), RangeEnd: b("b"), Limit: 10})
	f.mustPass("bounded", "KV/Range", rangeOf("a", ""))
	f.mustPass("bounded", "KV/Range", &pb.RangeRequest{Key: b("a"), RangeEnd: b("b"), CountOnly: true})
	f.mustDeny("bounded", "KV/Range", &pb.RangeRequest{Key: b("a"), RangeEnd: b("b"), Limit: 11})
	f.mustDeny("bounded", "KV/Range", rangeOf("a", "b"))
	f.mustDeny("bounded", "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{rangeOp("a", "b")}})

	f.mustPass("bounded", "KV/Put", &pb.PutRequest{Key: b("a"), Value: b("12345")})
	_, _, err := f.call(as("bounded"), "KV/Put", &pb.PutRequest{Key: b("a"), Value: b("123456")})
	if err != rpctypes.ErrGRPCRequestTooLarge {
		t.Errorf("a value over the limit: %v", err)
	}

	// One request may be in flight; the place is given back, also after an error.
	_, err = f.Unary(as("bounded"), rangeOf("a", ""), &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Range"},
		func(context.Context, any) (any, error) {
			_, _, err := f.call(as("bounded"), "KV/Range", rangeOf("a", ""))
			if err != rpctypes.ErrGRPCRequestTooManyRequests {
				t.Errorf("a second request in flight: %v", err)
			}
			return nil, rpctypes.ErrGRPCTimeout
		})
	if err != rpctypes.ErrGRPCTimeout {
		t.Errorf("etcd's error is not passed on: %v", err)
	}
	f.mustPass("bounded", "KV/Range", rangeOf("a", ""))
	if n := f.counted("bounded", "KV.Range", "limited"); n != 3 {
		t.Errorf("%v requests counted over the limit, want 3", n)
	}
}

func TestCompactionKeepsWhatIsYoung(t *testing.T) {
	f := newFixture(t)
	compact := func(revision int64) *pb.CompactionRequest { return &pb.CompactionRequest{Revision: revision} }
	for second := range 60 { // the head was at 50 for a minute, then it moved to 100
		f.heads.add(50)
		f.clock = f.clock.Add(time.Second)
		if second == 0 {
			f.mustDeny("apiserver", "KV/Compact", compact(51)) // seen to come later
		}
	}
	f.heads.add(100)
	f.mustPass("apiserver", "KV/Compact", compact(50))
	f.mustPass("apiserver", "KV/Compact", compact(10))
	f.mustDeny("apiserver", "KV/Compact", compact(51))
	f.mustDeny("apiserver", "KV/Compact", compact(100)) // to the head: THREATS T8
	f.mustPass("admin", "KV/Compact", compact(100))     // no age is asked of admin
	f.mustDeny("team", "KV/Compact", compact(1))
	if _, _, err := f.call(as("apiserver"), "KV/Compact", compact(101)); err != rpctypes.ErrGRPCFutureRev {
		t.Errorf("compaction to the future: %v", err)
	}
}

// TestOfWhatAMemberDidNotSeeItIsUnsure: a member that was away must not deny what
// the others know to be old, nor allow what may be young.
func TestOfWhatAMemberDidNotSeeItIsUnsure(t *testing.T) {
	f := newFixture(t)
	const age = time.Minute
	judge := func(revision int64, want oldness) {
		t.Helper()
		if got := f.heads.judge(revision, age); got != want {
			t.Errorf("revision %d after %v: %d, want %d", revision, f.clock.Format(time.TimeOnly), got, want)
		}
	}
	judge(1, unsure) // nothing seen at all
	f.heads.add(50)
	judge(50, unsure) // it may have been there for long
	judge(51, young)

	f.clock = f.clock.Add(30 * time.Second) // away; then the head is at 80
	f.heads.add(80)
	f.clock = f.clock.Add(30 * time.Second)
	f.heads.add(90)
	judge(50, old)
	judge(51, young) // nearly: the head was seen at 50 just at the limit
	f.clock = f.clock.Add(10 * time.Second)
	judge(60, unsure) // came between 70 and 40 seconds ago
	judge(80, unsure)
	judge(81, young)
	f.clock = f.clock.Add(20 * time.Second)
	judge(80, old)
	judge(90, young)

	f.etcd.revision = 100
	_, _, err := f.call(as("apiserver"), "KV/Compact", &pb.CompactionRequest{Revision: 95})
	if f.heads.judge(95, age) != young || err != errPermissionDenied {
		t.Errorf("what is young: %v", err)
	}
	f.heads.samples = f.heads.samples[2:]
	_, _, err = f.call(as("apiserver"), "KV/Compact", &pb.CompactionRequest{Revision: 90})
	wantCode(t, err, codes.Unavailable, "does not know yet")
	if n := f.counted("apiserver", "KV.Compact", "postponed"); n != 1 {
		t.Errorf("%v counted as postponed", n)
	}
}

func TestTheHistoryOfHeadsSurvivesARestartAsFarAsItCanBeTrue(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	file := filepath.Join(dir, "heads.json")
	quiet := slog.New(slog.DiscardHandler)
	first := newHeads(file, Head{}, clock, quiet)
	first.add(10)
	now = now.Add(time.Minute)
	first.add(20)
	first.save()

	reborn := func(onDisk Head, head int64) *heads {
		h := newHeads(file, onDisk, clock, quiet)
		h.restore(head)
		return h
	}
	died := Head{Time: now.Add(10 * time.Second), Revision: 30}
	now = now.Add(time.Hour)
	for name, test := range map[string]struct {
		h    *heads
		want []int64
	}{
		"all of it":                      {reborn(died, 40), []int64{10, 20, 30}},
		"a store restored from a backup": {reborn(died, 15), []int64{10}},
		"data from the future":           {reborn(Head{now.Add(time.Second), 30}, 40), []int64{10, 20}},
		"data older than what was saved": {reborn(Head{now.Add(-2 * time.Hour), 30}, 40), []int64{10, 20}},
		"no data":                        {reborn(Head{}, 40), []int64{10, 20}},
	} {
		var got []int64
		for _, s := range test.h.samples {
			got = append(got, s.Revision)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h := reborn(died, 40); len(h.samples) != 1 {
		t.Errorf("a file that can't be read: %v", h.samples)
	}
}

func TestADenialIsLoggedWithTheWayToAllowItAndSaysNothingToTheClient(t *testing.T) {
	f := newFixture(t)
	f.mustDeny("team", "KV/Put", &pb.PutRequest{Key: b("/other/x"), Value: b("hunter2")})
	logged := f.log.String()
	for _, part := range []string{"request denied", "CN=team", "known-as=team", "peer=127.0.0.1:4711", "action=KV.Put", "/other/x", "fix="} {
		if !strings.Contains(logged, part) {
			t.Errorf("the log does not say %q:\n%s", part, logged)
		}
	}
	if strings.Contains(logged, "hunter2") {
		t.Error("the log has the value")
	}
	if n := f.counted("team", "KV.Put", "denied"); n != 1 {
		t.Errorf("%v denials counted", n)
	}
}

func TestAFloodOfDenialsNeitherFillsTheLogNorHidesOthers(t *testing.T) {
	f := newFixture(t)
	for range 5000 {
		f.call(as("team"), "KV/Range", rangeOf("/other", ""))
	}
	if lines := strings.Count(f.log.String(), "\n"); lines < 50 || lines > 500 {
		t.Errorf("%d lines for 5,000 denials", lines)
	}
	if n := f.counted("team", "KV.Range", "denied"); n != 5000 {
		t.Errorf("%v denials counted, want all 5,000", n)
	}
	f.mustDeny("apiserver", "Maintenance/Snapshot", &pb.SnapshotRequest{})
	if logged := f.log.String(); !strings.Contains(logged, "known-as=apiserver") || !regexp.MustCompile("suppressed=[1-9]").MatchString(logged) {
		t.Error("the one denial of another caller is not logged, or not how many were left out")
	}
}

func TestAMemberUpdateThatWouldEndEveryMemberIsRefused(t *testing.T) {
	f := newFixture(t)
	for _, urls := range [][]string{nil, {""}, {"127.0.0.1:2380"}, {"http://127.0.0.1:2380", "http://%zz"}, {"http://127.0.0.1"}, {"ftp://127.0.0.1:1"}} {
		seen, _, err := f.call(as("admin"), "Cluster/MemberUpdate", &pb.MemberUpdateRequest{ID: 1, PeerURLs: urls})
		if seen != nil || err != rpctypes.ErrGRPCMemberBadURLs {
			t.Errorf("%q: %v, reached etcd: %v", urls, err, seen != nil)
		}
	}
	f.mustPass("admin", "Cluster/MemberUpdate", &pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"https://127.0.0.1:2380"}})
	f.mustPass("admin", "Cluster/MemberUpdate", &pb.MemberUpdateRequest{ID: 2}) // etcd finds no such member
}

func TestWhatOnlyAnObservingPolicyLetsCompactIsObserved(t *testing.T) {
	f := newFixture(t)
	f.SetPolicy(parsePolicy(t, strings.Replace(testPolicy, "kind: Policy", "kind: Policy\nmode: observe", 1)))
	f.heads.add(50)
	f.clock = f.clock.Add(2 * time.Minute)
	f.heads.add(100)
	f.mustPass("apiserver", "KV/Compact", &pb.CompactionRequest{Revision: 50})
	if n := f.counted("apiserver", "KV.Compact", "observed"); n != 0 {
		t.Errorf("%v observed of what is allowed", n)
	}
	f.mustPass("apiserver", "KV/Compact", &pb.CompactionRequest{Revision: 100})
	if n := f.counted("apiserver", "KV.Compact", "observed"); n != 1 {
		t.Errorf("%v observed, want 1", n)
	}
}

func TestAnObservingPolicyLetsThroughAndCounts(t *testing.T) {
	f := newFixture(t)
	f.SetPolicy(parsePolicy(t, strings.Replace(testPolicy, "kind: Policy", "kind: Policy\nmode: observe", 1)))
	f.mustPass("team", "KV/Put", &pb.PutRequest{Key: b("/other")})
	if n := f.counted("team", "KV.Put", "observed"); n != 1 {
		t.Errorf("%v observed, want 1", n)
	}
	if !strings.Contains(f.log.String(), "would be denied") {
		t.Error("the log does not say what would be denied")
	}
	f.mustDeny("admin", "KV/Put", &pb.PutRequest{Key: b("\x00etcdguard/ring")}) // never observed only
}

func TestANewPolicyCountsForTheNextRequestOfAnOpenConnection(t *testing.T) {
	f := newFixture(t)
	connection := as("team")
	if _, _, err := f.call(connection, "KV/Range", rangeOf("/team/a", "")); err != nil {
		t.Fatal(err)
	}
	f.SetPolicy(parsePolicy(t, strings.Replace(testPolicy, "cn: [team]", "cn: [nobody]", 1)))
	if _, _, err := f.call(connection, "KV/Range", rangeOf("/team/a", "")); err != errPermissionDenied {
		t.Errorf("under the new policy: %v", err)
	}
}

func TestGatewayMetadataIsDropped(t *testing.T) {
	f := newFixture(t)
	ctx := metadata.NewIncomingContext(as("admin"), metadata.Pairs("grpcgateway-accept", "x", "hasleader", "true"))
	_, err := f.Unary(ctx, rangeOf("a", ""), &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Range"},
		func(ctx context.Context, _ any) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			if len(md["grpcgateway-accept"]) > 0 || len(md["hasleader"]) != 1 {
				t.Errorf("etcd sees %v", md)
			}
			return nil, nil
		})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHealthNeedsBothEtcdAndTheGuard(t *testing.T) {
	f := newFixture(t)
	check := func() healthpb.HealthCheckResponse_ServingStatus {
		got, err := f.Unary(as("admin"), &healthpb.HealthCheckRequest{}, &grpc.UnaryServerInfo{FullMethod: "/grpc.health.v1.Health/Check"},
			func(context.Context, any) (any, error) {
				return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return got.(*healthpb.HealthCheckResponse).Status
	}
	if check() != healthpb.HealthCheckResponse_SERVING {
		t.Error("ready, and not serving")
	}
	f.SetReady(false)
	if check() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Error("not ready, and serving")
	}
}

func TestNamesThatEtcdCannotStoreAreRefused(t *testing.T) {
	f := newFixture(t)
	name := strings.Repeat("n", 32<<10)
	for method, of := range map[string]func(string) proto.Message{
		"Auth/UserAdd": func(n string) proto.Message { return &pb.AuthUserAddRequest{Name: n} },
		"Auth/RoleAdd": func(n string) proto.Message { return &pb.AuthRoleAddRequest{Name: n} },
	} {
		f.mustPass("admin", method, of(name))
		seen, _, err := f.call(as("admin"), method, of(name+"n"))
		if seen != nil || err != rpctypes.ErrGRPCRequestTooLarge {
			t.Errorf("%s: got %v", method, err)
		}
	}
}
