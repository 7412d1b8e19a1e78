package difftest

import (
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (g *generator) watch() {
	if len(g.w.streams) == 0 {
		g.r.openStream(g.identity())
		return
	}
	p := pick(g, g.w.streams)
	n := g.rng.IntN(100)
	switch {
	case n < 5 && g.mayOpen():
		g.r.openStream(g.identity())
	case p.closed:
		if n < 40 {
			g.r.closeStream(p)
		} else {
			g.r.barrier(p)
		}
	case n < 45:
		g.createWatcher(p)
	case n < 50:
		g.burst(p)
	case n < 68:
		g.r.cancelWatcher(p, g.watchID(p))
	case n < 80:
		g.r.barrier(p) // asks for progress
	case n < 84:
		g.r.sendWatch(p, &pb.WatchRequest{}) // says nothing; etcd overlooks it
	case n < 88:
		if g.mayFreeze(p) {
			g.halfClose(p)
		}
	case n < 93:
		g.r.closeStream(p)
	default:
		g.createWatcher(p)
	}
}

func (g *generator) mayOpen() bool { return len(g.w.streams) < 4 }

// halfClose ends the client's side of a stream. etcd goes on sending.
func (g *generator) halfClose(p *watchPair) {
	g.r.note("half-close a watch stream")
	for _, s := range bothSides {
		if err := p.stream[s].CloseSend(); err != nil {
			g.r.failf("half-closing a watch stream on %s: %v", g.r.name[s], err)
		}
	}
	p.closed = true
}

// streamFor returns a stream that watchers can be added to; of the past only if
// progress will tell when they have caught up.
func (g *generator) streamFor(past bool) *watchPair {
	for _, p := range g.w.streams {
		if !p.closed && !(past && p.frozen()) {
			return p
		}
	}
	if !g.mayOpen() {
		return nil
	}
	g.r.openStream(g.identity())
	return g.w.streams[len(g.w.streams)-1]
}

// burst asks for several watchers at once, some of which are refused. Those of the
// past and the future come one at a time.
func (g *generator) burst(p *watchPair) {
	var asked []*pb.WatchCreateRequest
	for range 2 + g.rng.IntN(4) {
		asked = append(asked, g.watchRequest(p))
	}
	g.r.createWatchers(p, asked...)
}

func (g *generator) createWatcher(p *watchPair) {
	c := g.watchRequest(p)
	switch n := g.rng.IntN(100); {
	case n < 25 && !p.frozen():
		c.StartRevision = max(1, g.w.compacted, g.w.head-int64(g.rng.IntN(25)))
	case n < 30:
		c.StartRevision = g.w.head + 1
	case n < 34:
		c.StartRevision = g.w.head + 1 + int64(g.rng.IntN(nearFuture))
	case n < 38 && g.mayFreeze(p):
		c.StartRevision = g.w.head + 1_000_000
	case n < 42 && g.w.compacted > 2 && g.mayFreeze(p):
		c.StartRevision = g.w.compacted - 1
	}
	g.r.createWatchers(p, c)
}

func (g *generator) watchRequest(p *watchPair) *pb.WatchCreateRequest {
	c := &pb.WatchCreateRequest{
		PrevKv:         g.chance(40),
		ProgressNotify: g.chance(20),
		Fragment:       g.chance(30),
	}
	switch n := g.rng.IntN(10); {
	case n < 2:
		c.Key, c.RangeEnd = nil, []byte{0} // everything; no key alone would be the key \x00
	case n < 4:
		c.Key = g.realKey()
	case n < 5:
		c.Key, c.RangeEnd = []byte{0}, []byte{0}
	default:
		c.Key, c.RangeEnd = g.span()
		if len(c.Key) == 0 && len(c.RangeEnd) == 0 {
			c.Key = g.realKey()
		}
	}
	for _, f := range []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE} {
		if g.chance(12) {
			c.Filters = append(c.Filters, f)
		}
	}
	if g.chance(2) {
		c.Filters = append(c.Filters, 5) // etcd overlooks a filter that it does not know
	}
	if g.chance(35) {
		c.WatchId = g.watchID(p)
		// Progress for watcher -1 can't be told from progress for all.
		c.ProgressNotify = c.ProgressNotify && c.WatchId != -1
	}
	if g.chance(2) {
		c.StartRevision = -1 - int64(g.rng.IntN(3))
	}
	return c
}

// mayFreeze brings a stream up to date while etcd still says how far it is. It
// reports whether the stream can then do without.
func (g *generator) mayFreeze(p *watchPair) bool {
	g.r.barrier(p)
	return p.anchored && !p.lagging
}

// watchID is the ID of a watcher that exists, or small, or one that is special.
func (g *generator) watchID(p *watchPair) int64 {
	ids := slices.Sorted(maps.Keys(p.watchers))
	switch n := g.rng.IntN(10); {
	case n < 6 && len(ids) > 0:
		return pick(g, ids)
	case n < 9:
		return int64(g.rng.IntN(6))
	default:
		return pick(g, []int64{-1, -7, 1 << 40})
	}
}
