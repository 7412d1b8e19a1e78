package guard

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// narrowed is testPolicy without team's watches.
const narrowed = `
apiVersion: etcdguard.dev/v1
kind: Policy
callers: [{name: team, match: {cn: [team]}}]
rules: [{name: team, callers: [team], actions: [KV.Range], keys: [{prefix: /team/}]}]
`

// lastingServer treats the end of the client's side as etcd does: it stops reading,
// and its watches go on until the stream's context ends.
type lastingServer struct {
	send   chan *pb.WatchResponse // what it sends on its own
	cancel chan int64             // the cancellations that it was asked for
	eof    chan struct{}
}

func (s *lastingServer) handle(_ any, stream grpc.ServerStream) error {
	go func() {
		for {
			m := new(pb.WatchRequest)
			if err := stream.RecvMsg(m); err != nil {
				if errors.Is(err, io.EOF) {
					close(s.eof)
				}
				return
			}
			switch {
			case m.GetCreateRequest() != nil:
				s.send <- &pb.WatchResponse{Created: true, WatchId: m.GetCreateRequest().WatchId}
			case m.GetCancelRequest() != nil:
				s.cancel <- m.GetCancelRequest().WatchId
			}
		}
	}()
	for {
		select {
		case m := <-s.send:
			if err := stream.SendMsg(m); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (f *fixture) lasting(ctx context.Context) (*wire, *lastingServer, chan error) {
	w := newWire(ctx)
	s := &lastingServer{send: make(chan *pb.WatchResponse, 16), cancel: make(chan int64, 16), eof: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		ended <- f.Stream(nil, w, &grpc.StreamServerInfo{FullMethod: "/etcdserverpb.Watch/Watch"}, s.handle)
	}()
	return w, s, ended
}

func await[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("never: " + what)
	}
	return v
}

func event(id int64, key string) *pb.WatchResponse {
	return &pb.WatchResponse{WatchId: id, Events: []*mvccpb.Event{{Kv: &mvccpb.KeyValue{Key: b(key)}}}}
}

// etcd goes on sending to a client that has ended its own side, and reads nothing
// more: there is nobody left to be asked for a cancellation.
func TestARevokedWatchEndsThoughTheClientEndedItsSide(t *testing.T) {
	f := newFixture(t)
	w, s, ended := f.lasting(as("team"))
	w.toServer <- create("/team/", "/team0")
	wantCreated(t, w.answer(t), 0)
	close(w.toServer)
	await(t, "etcd stops reading", s.eof)

	s.send <- event(0, "/team/before")
	if a := w.answer(t); len(a.Events) != 1 {
		t.Fatalf("the watch does not go on: %v", a)
	}
	f.SetPolicy(parsePolicy(t, narrowed))
	wantCode(t, await(t, "the stream ends", ended), codes.PermissionDenied)
}

// A client that reads nothing keeps etcd from hearing of a cancellation; what etcd
// has ready by then must not reach it when it reads again.
func TestARevokedWatchShowsNothingMoreWhileItsCancellationWaits(t *testing.T) {
	f := newFixture(t)
	w, s, _ := f.lasting(as("team"))
	w.toServer <- create("/team/", "/team0")
	wantCreated(t, w.answer(t), 0)
	f.SetPolicy(parsePolicy(t, narrowed))
	if id := await(t, "etcd is asked to cancel", s.cancel); id != 0 {
		t.Fatalf("watch %d was to be cancelled", id)
	}
	s.send <- event(0, "/team/after")
	s.send <- &pb.WatchResponse{WatchId: 0, Canceled: true}
	a := w.answer(t)
	if len(a.Events) > 0 || !a.Canceled || a.CancelReason != errPermissionDenied.Error() {
		t.Errorf("after the policy changed came %v", a)
	}
}

// The watch_id is the client's to choose, and may be the one that stands for none.
func TestChosenWatchIDsDoNotConfuseTheGuard(t *testing.T) {
	f := newFixture(t)
	w, s, _ := f.lasting(as("team"))
	chosen := func(key, end string, id int64) *pb.WatchRequest {
		m := create(key, end)
		m.GetCreateRequest().WatchId = id
		return m
	}
	for _, id := range []int64{noWatch, 7} {
		w.toServer <- chosen("/team/", "/team0", id)
		wantCreated(t, w.answer(t), id)
	}
	w.toServer <- chosen("/other", "", 7) // denied under an id that is taken
	wantDenied(t, w.answer(t))
	s.send <- event(7, "/team/x")
	if a := w.answer(t); len(a.Events) != 1 {
		t.Errorf("a denied create cut off the watch of the same id: %v", a)
	}
	f.SetPolicy(parsePolicy(t, narrowed))
	seen := map[int64]bool{await(t, "cancel", s.cancel): true, await(t, "cancel", s.cancel): true}
	if !seen[noWatch] || !seen[7] {
		t.Errorf("revoked were %v", seen)
	}
}

// etcd does not wait for its reader when a stream ends, so a create can be judged
// after the stream's watches were given back.
func TestACreateThatIsJudgedAfterTheEndTakesNothing(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancelCause(as("bounded"))
	defer cancel(nil)
	method := "/etcdserverpb.Watch/Watch"
	s := &stream{ServerStream: newWire(ctx), guard: f.Guard, ctx: ctx, cancel: cancel}
	s.method, _ = lookup(t, method)
	w := newWatchStream(s)
	w.close()
	if pass, err := w.receive(create("/a", "")); pass || err == nil {
		t.Errorf("let through: %v, %v", pass, err)
	}
	c, err := f.callerOf(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := c.account.watchers.Load(); n != 0 {
		t.Errorf("%d watchers are never given back", n)
	}
}

// One client that never reads must hold up neither the policy, nor the end, nor
// anybody else.
func TestAClientThatNeverReadsHoldsUpNobody(t *testing.T) {
	f := newFixture(t)
	deafCtx, hangUp := context.WithCancel(as("team"))
	defer hangUp()
	deaf, s, deafEnded := f.lasting(deafCtx)
	deaf.toServer <- create("/team/", "/team0")
	wantCreated(t, deaf.answer(t), 0)
	for range 3 * cap(deaf.toClient) { // until its SendMsg blocks, with the stream's lock held
		select {
		case s.send <- event(0, "/team/x"):
		case <-time.After(20 * time.Millisecond):
		}
	}
	deaf.toServer <- create("/other", "") // its denial waits behind them

	other, _, otherEnded := f.lasting(as("apiserver"))
	other.toServer <- create("/registry/", "/registry0")
	wantCreated(t, other.answer(t), 0)

	done := make(chan struct{})
	go func() {
		f.SetPolicy(parsePolicy(t, narrowed))
		f.SetReady(false)
		f.Drain("going away")
		close(done)
	}()
	await(t, "the policy is in force and the streams are told to end", done)
	wantCode(t, await(t, "the other's stream ends", otherEnded), codes.Unavailable, "going away")
	hangUp() // or its connection is closed, as the door does in the end
	if err := await(t, "the deaf one's stream ends", deafEnded); err == nil {
		t.Error("it ended well")
	}
}

// Streams come and go by the thousand; what was kept for them goes with them.
func TestStreamsLeaveNothingBehind(t *testing.T) {
	f := newFixture(t)
	before := runtime.NumGoroutine()
	for range 2000 {
		ctx, hangUp := context.WithCancel(as("team"))
		w, _, ended := f.lasting(ctx)
		w.toServer <- create("/team/", "/team0")
		w.toServer <- create("/other", "")
		w.answer(t)
		hangUp()
		await(t, "the stream ends", ended)
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before+5 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > before+5 {
		t.Errorf("%d goroutines before, %d after", before, now)
	}
	c, err := f.callerOf(as("team"))
	if err != nil {
		t.Fatal(err)
	}
	if open, watchers := len(f.streams.all()), c.account.watchers.Load(); open != 0 || watchers != 0 {
		t.Errorf("%d streams and %d watchers are kept", open, watchers)
	}
}
