package guard

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/codec"
)

// sendEvents sends the events of an answer as the client is to see them.
func (w *watchStream) sendEvents(answer *pb.WatchResponse) error {
	events, err := w.encode(answer)
	if err == nil {
		return w.ServerStream.SendMsg(codec.Watch(answer, events))
	}
	// What came before the revision that can't be shown is shown. Not a part of that
	// revision: a client takes the last one that it saw for complete.
	bad := answer.Events[len(events)].Kv.ModRevision
	for len(events) > 0 && answer.Events[len(events)-1].Kv.ModRevision == bad {
		events = events[:len(events)-1]
	}
	if len(events) > 0 {
		before := &pb.WatchResponse{Header: answer.Header, WatchId: answer.WatchId}
		if err := w.ServerStream.SendMsg(codec.Watch(before, events)); err != nil {
			return err
		}
	}
	w.fail(answer.WatchId, err)
	return nil
}

// encode returns the events up to the first that does not open. etcd shows the same
// events to other watchers, at this moment: they are read and never written.
func (w *watchStream) encode(answer *pb.WatchResponse) ([]codec.Event, error) {
	prevKV := w.about(answer.WatchId, len(answer.Events))
	events := make([]codec.Event, 0, len(answer.Events))
	for _, e := range answer.Events {
		event := codec.Event{Type: e.Type}
		var err error
		if event.KV, err = w.guard.fanout.encode(e.Kv, e.Type == mvccpb.Event_DELETE); err != nil {
			return events, w.guard.unreadable(e.Kv, err)
		}
		// etcd sets PrevKv for the watchers that asked, in the event that it shows to
		// all of them (server/etcdserver/api/v3rpc/watch.go, sendLoop).
		if prevKV && e.PrevKv != nil {
			event.HasPrev = true
			if event.Prev, err = w.guard.fanout.encode(e.PrevKv, false); err != nil {
				return events, w.guard.unreadable(e.PrevKv, err)
			}
		}
		events = append(events, event)
	}
	return events, nil
}

// about counts the events that a watch is sent, and reports whether it asked for
// previous values.
func (w *watchStream) about(id int64, events int) (prevKV bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched, open := w.open[id]
	if open {
		watched.events.Add(int64(events))
	}
	return open && watched.prevKV
}
