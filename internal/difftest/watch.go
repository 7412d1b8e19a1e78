package difftest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// watchPair is one watch stream, open on both sides.
type watchPair struct {
	n        int // for reports
	as       identityRef
	stop     context.CancelFunc
	stream   [2]pb.Watch_WatchClient
	log      [2]*watchLog
	watchers map[int64]*watcher // what A says is there
	controls int                // created and canceled answers that are owed so far
	anchored bool               // the anchor watcher exists
	closed   bool               // half-closed by the client
	lagging  bool               // a watcher of the past may not have caught up yet
}

// watcher is what the run knows of one watcher.
type watcher struct {
	inc       incarnation
	asked     string // the request, for reports
	far       bool   // starts so far ahead that it will never see anything
	start     int64  // first revision that it wants, in A's numbers
	compacted bool   // ended by compaction, not cancelled yet
}

// The anchor is a watcher of a key that only the run writes. A stream on which
// etcd sends no progress (it is half-closed, or holds a watcher of the future) is
// known to be complete up to a put of that key once the next put has come.
const anchorID = 777

var anchorKey = []byte("sync")

// frozen reports whether etcd owes no progress on this stream.
func (p *watchPair) frozen() bool {
	if p.closed {
		return true
	}
	for _, w := range p.watchers {
		if w.far || w.compacted {
			return true
		}
	}
	return false
}

func (r *run) openStream(as identityRef) {
	ctx, stop := context.WithCancel(context.Background())
	r.streamCount++
	p := &watchPair{n: r.streamCount, as: as, stop: stop, watchers: map[int64]*watcher{}}
	for _, s := range bothSides {
		stream, err := pb.NewWatchClient(r.conn[s]).Watch(r.withToken(ctx, s, as))
		if err != nil {
			r.failf("opening a watch stream on %s: %v", r.name[s], err)
		}
		p.stream[s], p.log[s] = stream, newWatchLog()
		if s == sideA {
			p.log[s].saw = func(m *pb.WatchResponse) { r.cover.response("Watch.Watch", m) }
		}
		go p.log[s].receive(stream)
	}
	r.world.streams = append(r.world.streams, p)
	r.createWatchers(p, &pb.WatchCreateRequest{Key: anchorKey, WatchId: anchorID})
	p.anchored = p.watchers[anchorID] != nil
}

func (r *run) sendWatch(p *watchPair, req *pb.WatchRequest) {
	r.cover.request("Watch.Watch", req)
	r.note(fmt.Sprintf("Watch.Watch on stream %d %s", p.n, show(req)))
	msgs := [2]*pb.WatchRequest{req, r.names.forB(req).(*pb.WatchRequest)}
	for _, s := range bothSides {
		if err := p.stream[s].Send(msgs[s]); err != nil {
			p.log[s].await(patience, func() bool { return false }) // learn the status
			r.differ(fmt.Sprintf("watch stream %d on %s does not take requests: %v", p.n, r.name[s], p.log[s].end()))
		}
	}
}

// createWatchers asks for watchers, all before the first is answered, and waits for
// all that both sides must say to them: etcd answers in order, and names nothing.
func (r *run) createWatchers(p *watchPair, asked ...*pb.WatchCreateRequest) {
	for _, c := range asked {
		for _, s := range bothSides {
			p.log[s].asked = append(p.log[s].asked, c.Fragment)
		}
		r.sendWatch(p, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: c}})
	}
	p.controls += len(asked)
	r.awaitControls(p)
	answers := slices.Clone(p.log[sideA].controls[p.controls-len(asked):])
	for i, c := range asked {
		r.addWatcher(p, c, answers[i])
	}
}

func (r *run) addWatcher(p *watchPair, c *pb.WatchCreateRequest, created *pb.WatchResponse) {
	if !created.Created || created.Canceled {
		r.cover.texts["watcher refused: "+created.CancelReason]++
		return
	}
	w := &watcher{
		inc:   p.log[sideA].live[created.WatchId].inc,
		asked: fmt.Sprintf("%s at revision %d", show(c), r.world.head),
		start: c.StartRevision,
		far:   c.StartRevision > r.world.head+nearFuture,
	}
	p.watchers[created.WatchId] = w
	p.lagging = p.lagging || w.start > 0 && w.start <= r.world.head
	if c.StartRevision > 0 && c.StartRevision < r.world.compacted {
		// etcd says this from the loop that serves lagging watchers, later.
		w.compacted = true
		p.controls++
		r.awaitControls(p)
	}
}

// cancelWatcher cancels a watcher, known or not. etcd may drop what it has not
// sent of a cancelled watcher, so the stream is brought up to date first.
func (r *run) cancelWatcher(p *watchPair, id int64) {
	if p.watchers[id] != nil && !r.barrier(p) {
		return
	}
	r.sendWatch(p, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{
		CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
	if p.watchers[id] != nil {
		p.controls++
		r.awaitControls(p)
		delete(p.watchers, id)
		p.anchored = p.watchers[anchorID] != nil
	}
}

func (r *run) awaitControls(p *watchPair) {
	for _, s := range bothSides {
		if !p.log[s].await(patience, func() bool { return len(p.log[s].controls) >= p.controls }) {
			r.differ(fmt.Sprintf("watch stream %d on %s owes %d created or canceled answers and gave %d; it ended with: %v\n  gave: %s",
				p.n, r.name[s], p.controls, len(p.log[s].controls), p.log[s].end(), showControls(p.log[s].controls)))
		}
	}
}

// barrier waits until both sides have sent everything up to now on a stream, then
// compares what they sent. It reports false if nothing can be known just now, as
// while an alarm forbids the writes that it needs; a later barrier then compares.
func (r *run) barrier(p *watchPair) bool {
	var cut int64
	switch {
	case !p.frozen():
		if !r.reachStarts(p) {
			return false
		}
		cut = r.world.head
		r.awaitProgress(p)
	case p.anchored && !p.lagging && r.canWrite():
		r.internalPut(anchorKey)
		cut = r.world.head
		r.internalPut(anchorKey)
		w := p.watchers[anchorID].inc
		for _, s := range bothSides {
			want := cut + 1
			if s == sideB {
				want = r.names.revs.toB(want)
			}
			l := p.log[s]
			if !l.await(patience, func() bool { return lastRev(l.events[w]) >= want }) {
				r.differ(fmt.Sprintf("watch stream %d on %s: no event for revision %d, it ended with: %v", p.n, r.name[s], want, l.end()))
			}
		}
	default:
		return false
	}
	r.compareStream(p, cut)
	return true
}

func lastRev(evs []*mvccpb.Event) int64 {
	if len(evs) == 0 {
		return 0
	}
	return evs[len(evs)-1].Kv.ModRevision
}

// reachStarts writes until every watcher of the near future has begun, because etcd
// sends no progress before, and once more for watchers of the past. It reports whether progress can be expected.
func (r *run) reachStarts(p *watchPair) bool {
	for _, w := range p.watchers {
		for w.start > r.world.head {
			if !r.canWrite() {
				return false
			}
			r.internalPut(anchorKey)
		}
	}
	if p.lagging {
		// Progress to a revision that was there before the lagging watcher may have
		// been announced without it.
		if !r.canWrite() {
			return false
		}
		r.internalPut(anchorKey)
	}
	return true
}

// awaitProgress asks for progress until it covers everything that was written.
// etcd answers only while all watchers of the stream are in sync, which takes a
// watcher of the past a tenth of a second: hence again and again.
func (r *run) awaitProgress(p *watchPair) {
	if len(p.watchers) == 0 {
		return
	}
	ask := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	r.cover.request("Watch.Watch", ask)
	for _, s := range bothSides {
		want := r.world.head
		if s == sideB {
			want = r.names.revs.toB(want)
		}
		l := p.log[s]
		pause := 5 * time.Millisecond
		for deadline := time.Now().Add(patience); ; pause = min(2*pause, 50*time.Millisecond) {
			if err := p.stream[s].Send(ask); err != nil {
				l.await(patience, func() bool { return false })
				r.differ(fmt.Sprintf("watch stream %d on %s ended with: %v", p.n, r.name[s], l.end()))
			}
			if l.await(pause, func() bool { return l.progress >= want }) {
				break
			}
			if end := l.end(); end != nil || time.Now().After(deadline) {
				r.differ(fmt.Sprintf("watch stream %d on %s: no progress to revision %d, newest %d, it ended with: %v; watchers: %v",
					p.n, r.name[s], want, l.progress, end, p.describe()))
			}
		}
	}
	p.lagging = false
}

func (p *watchPair) describe() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(p.watchers)) {
		w := p.watchers[id]
		fmt.Fprintf(&b, "\n      %d: %s", id, w.asked)
	}
	return b.String()
}

// compareStream compares the control answers, and each watcher's events up to cut.
func (r *run) compareStream(p *watchPair, cut int64) {
	a, b := p.log[sideA], p.log[sideB]
	for _, s := range bothSides {
		if l := p.log[s]; len(l.faults) > 0 {
			r.differ(fmt.Sprintf("watch stream %d on %s breaks what etcd promises: %v", p.n, r.name[s], l.faults))
		}
	}
	if len(a.controls) != p.controls || len(b.controls) != p.controls {
		r.differ(fmt.Sprintf("watch stream %d: %d created or canceled answers were owed\n  %s: %s\n  %s: %s\n  watchers: %s", p.n, p.controls,
			r.name[sideA], showControls(a.controls), r.name[sideB], showControls(b.controls), p.describe()))
	}
	for i := range a.controls {
		r.compareMessages(fmt.Sprintf("watch stream %d, control answer %d", p.n, i), a.controls[i], b.controls[i])
	}
	p.controls, a.controls, b.controls = 0, a.controls[:0], b.controls[:0]

	incs := slices.Collect(maps.Keys(a.events))
	for inc := range b.events {
		if _, ok := a.events[inc]; !ok {
			incs = append(incs, inc)
		}
	}
	for _, inc := range incs {
		r.compareEvents(p, inc, cut)
	}
}

func (r *run) compareEvents(p *watchPair, inc incarnation, cut int64) {
	var evs [2][]*mvccpb.Event
	for _, s := range bothSides {
		l := p.log[s]
		limit := cut
		if s == sideB {
			limit = r.names.revs.toB(cut)
		}
		n := 0
		for n < len(l.events[inc]) && l.events[inc][n].GetKv().GetModRevision() <= limit {
			n++
		}
		for _, e := range l.events[inc][:n] {
			if r.opt.forgive != nil && r.opt.forgive(e.GetKv().GetKey()) {
				continue
			}
			evs[s] = append(evs[s], e)
		}
		l.events[inc] = l.events[inc][n:]
	}
	for i := range max(len(evs[sideA]), len(evs[sideB])) {
		where := fmt.Sprintf("watch stream %d, watcher %d, event %d since the last comparison", p.n, inc.id, i)
		if i >= len(evs[sideA]) || i >= len(evs[sideB]) {
			r.differ(fmt.Sprintf("%s: %s sent %d, %s sent %d\n  %s: %s\n  %s: %s", where,
				r.name[sideA], len(evs[sideA]), r.name[sideB], len(evs[sideB]),
				r.name[sideA], showEvents(evs[sideA]), r.name[sideB], showEvents(evs[sideB])))
		}
		r.compareMessages(where, evs[sideA][i], evs[sideB][i])
	}
}

// closeStream ends a stream from the client's side.
func (r *run) closeStream(p *watchPair) {
	r.barrier(p)
	p.stop()
	r.world.streams = slices.DeleteFunc(r.world.streams, func(q *watchPair) bool { return q == p })
}

func showControls(rs []*pb.WatchResponse) string { return showAnswer(answer{msgs: messages(rs)}) }
func showEvents(es []*mvccpb.Event) string       { return showAnswer(answer{msgs: messages(es)}) }

func messages[M proto.Message](ms []M) []proto.Message {
	out := make([]proto.Message, len(ms))
	for i, m := range ms {
		out[i] = m
	}
	return out
}
