package difftest

import (
	"maps"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func (g *generator) kv() {
	switch n := g.rng.IntN(100); {
	case n < 30:
		g.send("KV.Range", g.rangeRequest(true))
	case n < 42:
		q := g.rangeRequest(g.chance(30))
		if g.chance(50) {
			q.SortOrder = pb.RangeRequest_NONE // the one order that etcd does not refuse
		}
		g.send("KV.RangeStream", q)
	case n < 78:
		g.send("KV.Put", g.putRequest())
	case n < 97:
		d := &pb.DeleteRangeRequest{PrevKv: g.chance(50)}
		if g.chance(70) {
			d.Key = g.key()
		} else {
			d.Key, d.RangeEnd = g.span()
		}
		g.send("KV.DeleteRange", d)
	default:
		g.compact()
	}
}

// rangeRequest is a read with any of its options; sorted allows those that a
// stream of chunks does not know.
func (g *generator) rangeRequest(sorted bool) *pb.RangeRequest {
	q := &pb.RangeRequest{
		Revision:     g.revision(),
		Serializable: g.chance(25),
		KeysOnly:     g.chance(15),
		CountOnly:    g.chance(10),
	}
	q.Key, q.RangeEnd = g.span()
	switch g.rng.IntN(8) {
	case 0, 1, 2:
		q.Limit = int64(g.rng.IntN(12))
	case 3:
		q.Limit = pick(g, []int64{-1, math.MaxInt64, math.MaxInt64 - 1, 1 << 40})
	}
	if !sorted {
		return q
	}
	if g.chance(35) {
		q.SortOrder = pb.RangeRequest_SortOrder(g.rng.IntN(3))
		q.SortTarget = pb.RangeRequest_SortTarget(g.rng.IntN(5))
		if g.chance(50) {
			q.SortTarget = pb.RangeRequest_VALUE
			if g.chance(60) { // there must be something to order
				q.Key, q.RangeEnd, q.CountOnly = []byte{0}, []byte{0}, false
				q.Revision = g.w.head * int64(g.rng.IntN(2))
			}
		}
		if g.chance(2) {
			q.SortOrder = 7 // a value that no enum has: etcd has an error of its own for it
		} else if g.chance(2) {
			q.SortTarget = 9
		}
	}
	for _, f := range []*int64{&q.MinModRevision, &q.MaxModRevision, &q.MinCreateRevision, &q.MaxCreateRevision} {
		if g.chance(7) {
			*f = g.seenRevision()
		}
	}
	return q
}

func (g *generator) putRequest() *pb.PutRequest {
	p := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.chance(30)}
	if g.chance(20) {
		p.Lease = g.leaseToAttach()
	}
	if g.chance(8) {
		p.IgnoreValue = true
		if g.chance(85) {
			p.Value = nil
		}
	}
	if g.chance(8) {
		p.IgnoreLease = true
		if g.chance(85) {
			p.Lease = 0
		}
	}
	return p
}

// compact compacts mostly a little behind the head. Watch streams are brought up
// to date first: what etcd has not sent by then may lose its prev_kv.
func (g *generator) compact() {
	g.r.barriers()
	for _, p := range g.w.streams {
		if p.lagging {
			return // an alarm keeps it from being known to have caught up
		}
	}
	rev := max(g.w.compacted+1, g.w.head-int64(g.rng.IntN(30)))
	switch g.rng.IntN(6) {
	case 0:
		rev = g.revision()
	case 1:
		rev = g.w.compacted - int64(g.rng.IntN(3))
	}
	physical := g.chance(40)
	a := g.send("KV.Compact", &pb.CompactionRequest{Revision: rev, Physical: physical})
	if a.err != nil {
		return
	}
	g.w.compacted = rev
	if !physical {
		// The store is cleaned up in the background, and HashKV shows how far that
		// is. A physical compaction of the same revision waits for it, and fails.
		g.r.do(request{rpc: "KV.Compact", as: g.anybody(), msgs: []proto.Message{
			&pb.CompactionRequest{Revision: rev, Physical: true}}})
	}
}

// big makes the epoch's store large and asks for answers that do not fit into one
// chunk or one watch response, and for requests at the limits.
func (g *generator) big() {
	limit := g.r.opt.MaxRequestBytes
	switch n := g.rng.IntN(100); {
	case n < 50:
		size := limit/8 + g.rng.IntN(limit/2)
		g.send("KV.Put", &pb.PutRequest{Key: g.realKey(), Value: g.bytes(size), PrevKv: g.chance(30)})
	case n < 62:
		g.send("KV.RangeStream", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: int64(g.rng.IntN(30))})
	case n < 72:
		// Around the limit on what goes into raft. Within a few bytes of it the
		// answer depends on how long the server's own header is.
		size := limit + pick(g, []int{-200, -120, 40, 120, 1000})
		g.send("KV.Put", &pb.PutRequest{Key: []byte("a"), Value: g.bytes(size)})
	case n < 75:
		// Around what gRPC itself takes: the limit and 512 KiB.
		size := limit + 512<<10 + pick(g, []int{-200, 40, 5000})
		g.send("KV.Put", &pb.PutRequest{Key: []byte("a"), Value: g.bytes(size)})
	case n < 82:
		txn := &pb.TxnRequest{}
		for _, k := range universe[:g.r.opt.MaxTxnOps/2] {
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{Key: []byte(k), Value: g.bytes(limit / 10)}}})
		}
		g.send("KV.Txn", txn)
	case n < 90:
		g.fragments()
	default:
		g.send("KV.Range", g.rangeRequest(true))
	}
}

// fragments has a stream catch up with more history than fits into one response,
// with and without leave to split it.
func (g *generator) fragments() {
	g.r.barriers()
	p := g.streamFor(true)
	if p == nil {
		return
	}
	for range 24 {
		g.send("KV.Put", &pb.PutRequest{Key: g.realKey(), Value: g.bytes(g.r.opt.MaxRequestBytes / 2)})
	}
	for _, fragment := range []bool{true, false} {
		g.r.createWatchers(p, &pb.WatchCreateRequest{
			Key: []byte{0}, RangeEnd: []byte{0}, Fragment: fragment, PrevKv: g.chance(50),
			StartRevision: max(g.w.head-30, g.w.compacted),
		})
	}
	g.r.barrier(p)
	for _, id := range slices.Sorted(maps.Keys(p.watchers)) {
		if id != anchorID {
			g.r.cancelWatcher(p, id)
		}
	}
}
