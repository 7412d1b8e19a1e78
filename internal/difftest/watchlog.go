package difftest

import (
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/status"
)

// watchLog is what one side sent on one watch stream, taken apart as it came and
// held against what etcd promises of every stream by itself:
//
//   - events of a watcher come in the order of their revisions, each revision whole
//     in one response unless the watcher asked for fragments;
//   - nothing at or before an announced progress revision comes after it;
//   - a watcher is heard of only between its created and its canceled.
//
// Where responses are cut into batches is a matter of time, and is not looked at.
type watchLog struct {
	mu      sync.Mutex
	arrived []*pb.WatchResponse
	ended   *status.Status
	bell    chan struct{}

	saw func(*pb.WatchResponse) // told of each response; may be nil

	// Below: what the run has taken from arrived; it alone touches it.
	controls []*pb.WatchResponse
	events   map[incarnation][]*mvccpb.Event
	count    map[int64]int         // how many watchers had this ID so far
	live     map[int64]*watchState // watchers by ID
	progress int64                 // newest revision announced for all watchers
	asked    []bool                // for each watcher that is not answered yet: may its events be fragmented
	faults   []string              // promises broken
}

// incarnation is one watcher: IDs may be used again.
type incarnation struct {
	id int64
	n  int
}

type watchState struct {
	inc         incarnation
	mayFragment bool
	born        int64 // the head when it was created
	fragment    bool  // the last response said that more of its revision follows
	last        int64 // revision of the last event
	floor       int64 // progress announced to this watcher
}

func newWatchLog() *watchLog {
	return &watchLog{
		bell:   make(chan struct{}, 1),
		events: map[incarnation][]*mvccpb.Event{},
		count:  map[int64]int{},
		live:   map[int64]*watchState{},
	}
}

// receive runs in its own goroutine until the stream ends.
func (l *watchLog) receive(s pb.Watch_WatchClient) {
	for {
		resp, err := s.Recv()
		l.mu.Lock()
		if err != nil {
			l.ended = status.Convert(err)
		} else {
			l.arrived = append(l.arrived, resp)
		}
		l.mu.Unlock()
		select {
		case l.bell <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// await takes what arrives until done holds; false means that it did not within d.
func (l *watchLog) await(d time.Duration, done func() bool) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for {
		ended := l.take()
		if done() {
			return true
		}
		if ended {
			return false
		}
		select {
		case <-l.bell:
		case <-deadline.C:
			l.take()
			return done()
		}
	}
}

func (l *watchLog) take() (ended bool) {
	l.mu.Lock()
	arrived := l.arrived
	l.arrived = nil
	ended = l.ended != nil
	l.mu.Unlock()
	for _, resp := range arrived {
		if l.saw != nil {
			l.saw(resp)
		}
		l.read(resp)
	}
	return ended
}

func (l *watchLog) end() *status.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

func (l *watchLog) faultf(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *watchLog) read(r *pb.WatchResponse) {
	switch {
	case r.Created:
		l.controls = append(l.controls, r)
		if len(l.asked) == 0 {
			l.faultf("watcher %d was not asked for", r.WatchId)
			return
		}
		mayFragment := l.asked[0]
		l.asked = l.asked[1:]
		if !r.Canceled {
			l.count[r.WatchId]++
			l.live[r.WatchId] = &watchState{inc: incarnation{r.WatchId, l.count[r.WatchId]},
				mayFragment: mayFragment, born: r.GetHeader().GetRevision()}
		}
	case r.Canceled:
		l.controls = append(l.controls, r)
		// A watcher that compaction ended can still be cancelled by its ID, and
		// etcd answers; only then is the ID free.
		if r.CompactRevision == 0 {
			delete(l.live, r.WatchId)
		}
	case len(r.Events) == 0:
		l.readProgress(r)
	default:
		l.readEvents(r)
	}
}

func (l *watchLog) readProgress(r *pb.WatchResponse) {
	rev := r.GetHeader().GetRevision()
	if w := l.live[r.WatchId]; w != nil && r.WatchId != -1 {
		w.floor = max(w.floor, rev)
		return
	}
	if r.WatchId != -1 {
		l.faultf("progress for watcher %d, which does not exist", r.WatchId)
		return
	}
	l.progress = max(l.progress, rev)
	for _, w := range l.live {
		// etcd queues created answers and progress apart: progress to a revision that
		// was there when the watcher was created may be older than the watcher.
		if rev > w.born {
			w.floor = max(w.floor, rev)
		}
	}
}

func (l *watchLog) readEvents(r *pb.WatchResponse) {
	w := l.live[r.WatchId]
	if w == nil {
		l.faultf("events for watcher %d, which does not exist", r.WatchId)
		return
	}
	if r.Fragment && !w.mayFragment {
		l.faultf("watcher %d: fragments that were not asked for", r.WatchId)
	}
	for i, e := range r.Events {
		rev := e.GetKv().GetModRevision()
		switch {
		case rev < w.last:
			l.faultf("watcher %d: revision %d after %d", r.WatchId, rev, w.last)
		case rev == w.last && i == 0 && !w.fragment:
			l.faultf("watcher %d: revision %d torn into two responses", r.WatchId, rev)
		case rev <= w.floor:
			l.faultf("watcher %d: revision %d after progress %d", r.WatchId, rev, w.floor)
		}
		w.last = rev
	}
	if head := r.GetHeader().GetRevision(); head < w.last {
		l.faultf("watcher %d: header revision %d before its event's %d", r.WatchId, head, w.last)
	}
	w.fragment = r.Fragment
	l.events[w.inc] = append(l.events[w.inc], r.Events...)
}
