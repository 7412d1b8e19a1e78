package guard

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
)

// learn sees in an answer of etcd which watch is open, and which is no more.
func (w *watchStream) learn(answer *pb.WatchResponse) {
	watched := w.learned(answer)
	switch {
	case watched == nil:
	case answer.Canceled:
		w.guard.recordWatch(watched, answer.WatchId, answer.CancelReason, watched.answer(answer.CancelReason))
	default:
		w.guard.recordWatch(watched, answer.WatchId, "", nil)
	}
}

// learned is the watch that an answer creates or ends, if it is known.
func (w *watchStream) learned(answer *pb.WatchResponse) *watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	if answer.Created {
		if len(w.creating) == 0 {
			return nil
		}
		watched := w.creating[0]
		w.creating = w.creating[1:]
		if answer.Canceled {
			w.release(watched)
			return watched
		}
		w.open[answer.WatchId] = watched
		if watched.under != w.guard.policy.Load() {
			go w.recheck() // the policy changed while etcd created the watch
		}
		return watched
	}
	watched, open := w.open[answer.WatchId]
	if open {
		delete(w.open, answer.WatchId)
		w.release(watched)
		if watched.ended != "" {
			answer.CancelReason = watched.ended
		}
	}
	return watched
}

// holdsBack reports whether the guard ended a watch whose cancellation is still to
// come: what etcd had ready by then, or goes on to make because a client that does
// not read holds up the cancellation, is not for the client any more.
//
// Progress of the whole stream waits for a watch that failed: it promises that every
// event before it was delivered, and one was not.
func (w *watchStream) holdsBack(id int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if watched, open := w.open[id]; open {
		return watched.ended != ""
	}
	if id != noWatch {
		return false
	}
	for _, watched := range w.open {
		if watched.failed {
			return true
		}
	}
	return false
}

// recheck cancels the watches that the policy in force no longer allows. Their
// events end at once; etcd itself is asked to cancel them, so that it forgets them
// too, and its answer tells the client.
func (w *watchStream) recheck() {
	c, err := w.guard.callerOf(w.ctx)
	if err != nil {
		w.end(err)
		return
	}
	var revoked []int64
	w.mu.Lock()
	for id, watched := range w.open {
		if watched.ended != "" || c.subject.Decide(etcdapi.WatchWatch, watched.keys).Allowed {
			continue
		}
		watched.ended = errPermissionDenied.Error()
		w.ending.Store(true)
		revoked = append(revoked, id)
		w.guard.deny(c, etcdapi.WatchWatch, watched.keys)
	}
	w.mu.Unlock()
	if len(revoked) > 0 {
		go w.cancelAll(revoked, errPermissionDenied)
	}
}

// cancelAll has etcd cancel watches that the guard ended for this reason.
func (w *watchStream) cancelAll(ids []int64, why error) {
	for _, id := range ids {
		cancel := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{
			CancelRequest: &pb.WatchCancelRequest{WatchId: id},
		}}
		select {
		case w.own <- cancel:
		case <-w.deaf: // no way is left to end one watch
			w.end(why)
			return
		case <-w.ctx.Done():
			return
		}
	}
}

// fail ends a watch for an event that can't be shown: a client that missed it without
// a word would act on what it does not know.
func (w *watchStream) fail(id int64, why error) {
	w.mu.Lock()
	watched, open := w.open[id]
	if open {
		watched.ended, watched.failed = status.Convert(why).Message(), true
		w.ending.Store(true)
	}
	w.mu.Unlock()
	if open {
		go w.cancelAll([]int64{id}, why)
		return
	}
	w.end(why) // a watch that etcd never said it created: nothing can be cancelled
}

// close gives back what the stream's watches took.
func (w *watchStream) close() {
	for id, watched := range w.closing() {
		w.guard.recordWatch(watched, id, "the stream ended", watched.answer("the stream ended"))
	}
}

// closing empties the stream, and returns the watches that were open.
func (w *watchStream) closing() map[int64]*watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	open := w.open
	w.open = map[int64]*watch{}
	for _, watched := range open {
		w.release(watched)
	}
	for _, watched := range w.creating {
		if !watched.denied {
			w.release(watched)
		}
	}
	w.creating = nil
	w.closed = true
	return open
}

// answer is how the watch ended, for the record.
func (w *watch) answer(reason string) *audit.Answer {
	code := codes.OK
	if reason != "" {
		code = codes.Canceled
	}
	return &audit.Answer{Code: code.String(), Keys: w.events.Load()}
}
