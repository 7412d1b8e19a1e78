package guard

import (
	"context"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/policy"
)

// noWatch is the watch_id of an answer that created none (clientv3.InvalidWatchID).
const noWatch = -1

// watchStream judges each watch of one stream by itself, as etcd's own
// authorisation does: a denied watch is answered as created and cancelled, and the
// others go on.
//
// etcd answers create requests in their order, without naming them. So the guard's
// own answers wait in the same queue, or a client that sent several at once would
// take one's denial for another's.
type watchStream struct {
	*stream
	fromClient chan received         // what the client sent, read ahead by pump
	own        chan *pb.WatchRequest // cancellations by the guard itself
	deaf       chan struct{}         // closed once etcd reads no more, while its watches go on
	goneDeaf   sync.Once

	sending sync.Mutex // SendMsg is called by etcd and by the guard

	mu       sync.Mutex
	creating []*watch         // asked for and not answered, oldest first
	open     map[int64]*watch // by watch_id
	created  bool             // a watch was allowed at some time
	closed   bool             // the stream is over, and what its watches took is given back

	ending atomic.Bool // some watch was ended by the guard; until then SendMsg need not look
}

type received struct {
	message *pb.WatchRequest
	err     error
}

type watch struct {
	keys    etcdapi.Range
	under   *policy.Policy // that allowed it
	account *account
	prevKV  bool   // asked for
	denied  bool   // refused before etcd saw it; the answer is the guard's
	ended   string // why the guard cancelled it while it was open; "": it did not
	failed  bool   // it was, for an event that it can't be shown

	record watchRecord
	events atomic.Int64 // that were sent
}

func newWatchStream(s *stream) *watchStream {
	w := &watchStream{
		stream:     s,
		fromClient: make(chan received),
		own:        make(chan *pb.WatchRequest),
		deaf:       make(chan struct{}),
		open:       map[int64]*watch{},
	}
	go w.pump()
	return w
}

// pump reads from the client until the stream ends. It makes it possible to hand
// etcd a message that no client sent.
func (w *watchStream) pump() {
	for {
		m := new(pb.WatchRequest)
		err := w.ServerStream.RecvMsg(m)
		select {
		case w.fromClient <- received{m, err}:
		case <-w.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// RecvMsg gives etcd the next message that it may see.
func (w *watchStream) RecvMsg(into any) error {
	for {
		var m *pb.WatchRequest
		select {
		case m = <-w.own:
		case r := <-w.fromClient:
			if r.err != nil {
				// A client that ended its side keeps its watches: etcd stops reading and
				// goes on sending.
				w.goneDeaf.Do(func() { close(w.deaf) })
				return r.err
			}
			pass, err := w.receive(r.message)
			if err != nil {
				return err
			}
			if !pass {
				continue
			}
			m = r.message
		case <-w.ctx.Done():
			return w.ctx.Err()
		}
		target := into.(*pb.WatchRequest)
		proto.Reset(target)
		proto.Merge(target, m)
		return nil
	}
}

// receive judges one message of the client; false keeps it from etcd.
func (w *watchStream) receive(m *pb.WatchRequest) (pass bool, err error) {
	r, err := w.judge(m)
	create := m.GetCreateRequest()
	if r == nil || err != nil && (create == nil || err != errPermissionDenied) {
		return false, err // not understood, or no identity: the stream ends
	}
	if create == nil {
		return m.GetProgressRequest() == nil || w.mayAskProgress(r), nil
	}
	watched := &watch{
		keys:    etcdapi.NewRange(create.Key, create.RangeEnd).Clone(),
		under:   r.caller.policy,
		account: r.caller.account,
		prevKV:  create.PrevKv,
		denied:  err != nil,
	}
	watched.record = newWatchRecord(r, watched.keys, create)
	if !watched.denied && !w.take(r) {
		err := w.guard.recordDenied(w.ctx, r, w.guard.limited(r, "watchers", errPermissionDenied))
		if err != errPermissionDenied {
			return false, err
		}
		watched.denied = true
	}
	w.mu.Lock()
	if w.closed { // etcd does not wait for its reader when a stream ends
		w.mu.Unlock()
		if !watched.denied {
			w.release(watched)
		}
		return false, context.Canceled
	}
	w.creating = append(w.creating, watched)
	w.created = w.created || !watched.denied
	w.mu.Unlock()
	if watched.denied {
		return false, w.answerDenied()
	}
	return true, nil
}

// take counts a watch; false when the caller has as many as it may.
func (w *watchStream) take(r *Request) bool {
	n := r.caller.account.watchers.Add(1)
	if most := r.caller.limits.Watchers; most > 0 && n > int64(most) {
		r.caller.account.watchers.Add(-1)
		return false
	}
	w.guard.metrics.watchers.WithLabelValues(r.caller.account.name).Inc()
	return true
}

func (w *watchStream) release(watched *watch) {
	watched.account.watchers.Add(-1)
	w.guard.metrics.watchers.WithLabelValues(watched.account.name).Dec()
}

// mayAskProgress keeps the head revision from a caller who may watch nothing.
func (w *watchStream) mayAskProgress(r *Request) bool {
	w.mu.Lock()
	created := w.created
	w.mu.Unlock()
	return created || r.caller.subject.Decide(etcdapi.WatchWatch, everyClientKey).Allowed
}

// answerDenied sends the denials that have come to the head of the queue.
func (w *watchStream) answerDenied() error {
	w.sending.Lock()
	defer w.sending.Unlock()
	return w.answerDeniedLocked()
}

func (w *watchStream) answerDeniedLocked() error {
	for {
		w.mu.Lock()
		if len(w.creating) == 0 || !w.creating[0].denied {
			w.mu.Unlock()
			return nil
		}
		w.creating = w.creating[1:]
		w.mu.Unlock()
		err := w.ServerStream.SendMsg(&pb.WatchResponse{
			Header:       w.guard.etcd.Header(),
			WatchId:      noWatch,
			Created:      true,
			Canceled:     true,
			CancelReason: errPermissionDenied.Error(),
		})
		if err != nil {
			return err
		}
	}
}

// SendMsg passes on what etcd sends, and learns from it which watches are open.
func (w *watchStream) SendMsg(m any) error {
	answer, ok := m.(*pb.WatchResponse)
	if !ok {
		return w.ServerStream.SendMsg(m)
	}
	w.sending.Lock()
	defer w.sending.Unlock()
	if answer.Created || answer.Canceled {
		w.learn(answer)
	} else if w.ending.Load() && w.holdsBack(answer.WatchId) {
		return nil
	}
	if len(answer.Events) > 0 {
		return w.sendEvents(answer)
	}
	if err := w.ServerStream.SendMsg(answer); err != nil {
		return err
	}
	if answer.Created {
		return w.answerDeniedLocked()
	}
	return nil
}
