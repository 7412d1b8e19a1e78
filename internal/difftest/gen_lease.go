package difftest

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Lease IDs that clients choose here are small, and those of leases that end by
// themselves lie in a stretch of their own, which nothing looks at again. IDs that
// the servers choose are huge, so that comparisons between the kinds come out alike.
const (
	chosenIDs   = 40
	fleetingIDs = 1_000_000
)

func isFleeting(id int64) bool { return id >= fleetingIDs && id < 2*fleetingIDs }

// longTTL is far more seconds than any run lasts.
const longTTL = 100_000

func (g *generator) lease() {
	switch n := g.rng.IntN(100); {
	case n < 30:
		g.grant()
	case n < 45:
		id := g.anyLease()
		a := g.send("Lease.LeaseRevoke", &pb.LeaseRevokeRequest{ID: id})
		if a.err == nil {
			g.w.leases = slices.DeleteFunc(g.w.leases, func(l int64) bool { return l == id })
			g.w.gone = append(g.w.gone, id)
		}
	case n < 65:
		g.send("Lease.LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: g.anyLease(), Keys: g.chance(70)})
	case n < 75:
		g.send("Lease.LeaseLeases", &pb.LeaseLeasesRequest{})
	case n < 90:
		q := request{rpc: "Lease.LeaseKeepAlive", as: g.identity()}
		for range 1 + g.rng.IntN(4) {
			q.msgs = append(q.msgs, &pb.LeaseKeepAliveRequest{ID: g.anyLease()})
		}
		g.r.do(q)
	default:
		if id := g.leaseToAttach(); id != 0 {
			g.send("KV.Put", &pb.PutRequest{Key: g.realKey(), Value: g.value(), Lease: id, PrevKv: g.chance(30)})
		}
	}
}

func (g *generator) grant() {
	q := &pb.LeaseGrantRequest{TTL: longTTL + int64(g.rng.IntN(1000)), ID: g.chosenID()}
	switch g.rng.IntN(12) {
	case 0:
		q.TTL = 9_000_000_001 // one more than etcd grants
	case 1:
		q.TTL = 9_000_000_000
	case 2:
		// Raised to the least that etcd grants, seconds: never looked at again.
		q.TTL, q.ID = int64(g.rng.IntN(3))-1, fleetingIDs+int64(g.r.sent)
	case 3, 4:
		q.ID = 0 // the server chooses
	}
	a := g.send("Lease.LeaseGrant", q)
	if a.err == nil && !isFleeting(q.ID) {
		g.w.leases = append(g.w.leases, a.msgs[0].(*pb.LeaseGrantResponse).ID)
	}
}

func (g *generator) chosenID() int64 {
	id := 1 + int64(g.rng.IntN(chosenIDs))
	if g.chance(10) {
		return -id
	}
	return id
}

// anyLease is a lease that exists, one that did, one that never did, or none.
func (g *generator) anyLease() int64 {
	switch n := g.rng.IntN(10); {
	case n < 6 && len(g.w.leases) > 0:
		return pick(g, g.w.leases)
	case n < 7 && len(g.w.gone) > 0:
		return pick(g, g.w.gone)
	case n < 8:
		return 0
	default:
		return g.chosenID()
	}
}

// leaseToAttach is a lease for a put. IDs that the servers chose differ in the
// stored bytes, so an epoch either attaches none of them or compares no hashes.
func (g *generator) leaseToAttach() int64 {
	id := g.anyLease()
	if id > fleetingIDs {
		if !g.foreign {
			return 0
		}
		g.r.names.hashes = false
	}
	return id
}
