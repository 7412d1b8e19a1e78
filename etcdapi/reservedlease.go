package etcdapi

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// The leases of etcdguard's own keys have ids of their own, as the keys have names: a
// client that could revoke one would delete what hangs on it, and one that could keep
// it alive would make a member that is gone look present. The ids are negative, which
// etcd never chooses for anybody ("only use positive int64 id's", v3_server.go), and
// begin with a pattern that a client would not choose by chance.
const (
	reservedLeases    int64 = -0x7f65_7467 << 32
	reservedLeaseMask int64 = -1 << 32
)

// ReservedLease is a lease id of the reserved space.
func ReservedLease(n uint32) int64 { return reservedLeases | int64(n) }

// IsReservedLease reports whether a lease id is etcdguard's own.
func IsReservedLease(id int64) bool { return id&reservedLeaseMask == reservedLeases }

// confineLease refuses requests that name a lease of the reserved space.
func confineLease(id int64) error {
	if IsReservedLease(id) {
		return ErrReserved
	}
	return nil
}

// WithoutReservedLeases takes the reserved leases out of a listing, in place.
func WithoutReservedLeases(r *pb.LeaseLeasesResponse) {
	kept := r.Leases[:0]
	for _, l := range r.Leases {
		if !IsReservedLease(l.ID) {
			kept = append(kept, l)
		}
	}
	r.Leases = kept
}
