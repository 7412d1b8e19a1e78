package guard

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// An action is recorded before it is carried out unless it is on this list, which
// repeats the one in the code on purpose: whoever lets an action through without an
// intent says so twice.
func TestOnlyWhatChangesNothingIsServedWithoutAnIntent(t *testing.T) {
	quiet := map[string]bool{}
	for _, name := range []string{
		"KV.Range", "KV.RangeStream", "Watch.Watch", "Lease.LeaseKeepAlive", "Lease.LeaseTimeToLive", "Lease.LeaseLeases",
		"Cluster.MemberList", "Maintenance.Alarm:Get", "Maintenance.Status", "Maintenance.Hash", "Maintenance.HashKV",
		"Maintenance.Downgrade:Validate", "Auth.AuthStatus", "Auth.UserGet", "Auth.UserList", "Auth.RoleGet", "Auth.RoleList",
		"Health.Check", "Health.List", "Health.Watch", "HTTP.Health", "HTTP.Metrics", "HTTP.Version", "Seal.Status", "Seal.Count",
	} {
		quiet[name] = true
	}
	seen := 0
	for _, a := range etcdapi.Actions() {
		got := intends(a, nil)
		if got == quiet[a.String()] {
			t.Errorf("%v: intent recorded: %v", a, got)
		}
		if quiet[a.String()] {
			seen++
		}
	}
	if seen != len(quiet) {
		t.Errorf("%d of %d names are actions", seen, len(quiet))
	}
	read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}}
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a")}}}
	for _, c := range []struct {
		m    *pb.TxnRequest
		want bool
	}{
		{&pb.TxnRequest{Success: []*pb.RequestOp{read}, Failure: []*pb.RequestOp{read}}, false},
		{&pb.TxnRequest{Success: []*pb.RequestOp{read}, Failure: []*pb.RequestOp{put}}, true},
	} {
		if got := intends(etcdapi.KVTxn, c.m); got != c.want {
			t.Errorf("a Txn of %v: intent %v, want %v", c.m, got, c.want)
		}
	}
}
