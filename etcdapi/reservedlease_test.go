package etcdapi

import (
	"errors"
	"math"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestReservedLeasesAreNobodyElses(t *testing.T) {
	for _, n := range []uint32{0, 1, 1 << 31, math.MaxUint32} {
		id := ReservedLease(n)
		if !IsReservedLease(id) || id >= 0 {
			t.Errorf("ReservedLease(%d) is %x", n, id)
		}
		put := &pb.PutRequest{Key: []byte("k"), Lease: id}
		nested := func(r *pb.RequestOp) *pb.TxnRequest {
			return &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{
				RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{r}}}}}}
		}
		for name, request := range map[string]any{
			"grant": &pb.LeaseGrantRequest{ID: id}, "revoke": &pb.LeaseRevokeRequest{ID: id},
			"keep alive": &pb.LeaseKeepAliveRequest{ID: id}, "time to live": &pb.LeaseTimeToLiveRequest{ID: id},
			"put": put, "compare": &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("k"), TargetUnion: &pb.Compare_Lease{Lease: id}}}},
			"nested put": nested(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}),
		} {
			if err := Confine(request); name == "compare" != (err == nil) || err != nil && !errors.Is(err, ErrReserved) {
				t.Errorf("%s of lease %x: %v", name, id, err)
			}
		}
	}
	for _, id := range []int64{0, 1, -1, math.MinInt64, math.MaxInt64, reservedLeases - 1, reservedLeases + 1<<32} {
		if IsReservedLease(id) {
			t.Errorf("%x is reserved", id)
		}
		if err := Confine(&pb.LeaseRevokeRequest{ID: id}); err != nil {
			t.Errorf("revoking %x: %v", id, err)
		}
	}
}

func TestReservedLeasesAreNotListed(t *testing.T) {
	r := &pb.LeaseLeasesResponse{Leases: []*pb.LeaseStatus{{ID: ReservedLease(7)}, {ID: 5}, {ID: ReservedLease(8)}, {ID: -1}}}
	WithoutReservedLeases(r)
	if len(r.Leases) != 2 || r.Leases[0].ID != 5 || r.Leases[1].ID != -1 {
		t.Errorf("what is listed: %v", r.Leases)
	}
}
