package guard

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Stream is the whole path of a streaming RPC. Every message that the client sends
// on it passes the stages on its own.
func (g *Guard) Stream(server any, inner grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancelCause(withoutGatewayMetadata(inner.Context()))
	defer cancel(nil)
	c, err := g.callerOf(ctx)
	if err != nil {
		return err
	}
	method, known := etcdapi.LookupMethod(info.FullMethod)
	if !known {
		return g.recordMethod(ctx, c, info.FullMethod, g.refuseMethod(c, info.FullMethod))
	}
	s := &stream{ServerStream: inner, guard: g, ctx: ctx, cancel: cancel, method: method}
	var guarded guardedStream = s
	switch method.Action {
	case etcdapi.WatchWatch:
		guarded = newWatchStream(s)
	case etcdapi.HealthWatch:
		guarded = &healthStream{stream: s}
	case etcdapi.KVRangeStream, etcdapi.MaintenanceSnapshot:
		if method.Action == etcdapi.KVRangeStream {
			ranged := &rangeStream{stream: s}
			guarded, next = ranged, ranged.continued(next)
		}
		// One request with a long answer; the other streams last as long as a client.
		if !c.account.begin(c.limits.InFlight) {
			r := g.newRequest(method, nil, c)
			return g.recordDenied(ctx, r, g.limited(r, "requests in flight", errTooManyRequests))
		}
		defer c.account.done()
	}
	g.streams.add(guarded)
	defer g.streams.remove(guarded)
	defer guarded.close()
	if why := g.draining.Load(); why != nil {
		return unavailable(*why) // registered too late for Drain to see it
	}
	err = next(server, guarded)
	if s.ended() != nil {
		err = s.ended() // the handler saw no more than a cancelled context
	}
	return g.recordStreamEnd(s, err)
}

// guardedStream is a stream that the guard keeps an eye on while it is open.
type guardedStream interface {
	grpc.ServerStream
	recheck()       // the policy changed
	healthChanged() // readiness changed
	end(error)      // end it with this status
	close()         // it is over
}

// stream judges what the client sends; what the server sends passes.
type stream struct {
	grpc.ServerStream
	guard  *Guard
	ctx    context.Context
	cancel context.CancelCauseFunc
	method etcdapi.Method

	judged  atomic.Pointer[Request] // the last that was let through
	carried carried
}

// carried is what a stream carried so far.
type carried struct{ keys, bytes, revision atomic.Int64 }

func (s *stream) Context() context.Context { return s.ctx }

// RecvMsg gives the server the client's next message, once it is judged.
func (s *stream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	_, err := s.judge(m.(proto.Message))
	return err
}

func (s *stream) judge(m proto.Message) (*Request, error) {
	c, err := s.guard.callerOf(s.ctx)
	if err != nil {
		return nil, err
	}
	r := s.guard.newRequest(s.method, m, c)
	if err := s.guard.judge(s.ctx, r); err != nil {
		return r, s.guard.recordDenied(s.ctx, r, err)
	}
	s.judged.Store(r)
	return r, nil
}

// SendMsg passes what the server sends.
func (s *stream) SendMsg(m any) error {
	if s.guard.audit != nil {
		s.carried.sent(m)
	}
	return s.ServerStream.SendMsg(onTheWire(m))
}

func (s *stream) recheck()       {}
func (s *stream) healthChanged() {}
func (s *stream) close()         {}

// errEnded carries the status through the context, since etcd's handlers see
// nothing but its end.
type errEnded struct{ status error }

func (e errEnded) Error() string { return e.status.Error() }

func (s *stream) end(status error) { s.cancel(errEnded{status}) }

func (s *stream) ended() error {
	if e, ok := context.Cause(s.ctx).(errEnded); ok {
		return e.status
	}
	return nil
}

// streams are the streams that are open.
type streams struct {
	mu   sync.Mutex
	open map[guardedStream]struct{}
}

func (r *streams) add(s guardedStream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[guardedStream]struct{}{}
	}
	r.open[s] = struct{}{}
}

func (r *streams) remove(s guardedStream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, s)
}

func (r *streams) all() []guardedStream {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]guardedStream, 0, len(r.open))
	for s := range r.open {
		all = append(all, s)
	}
	return all
}

// UnknownMethod answers RPCs of services that are not registered. It is reached
// through Stream, which refuses them by name; this is the second lock.
func (g *Guard) UnknownMethod(any, grpc.ServerStream) error {
	return unavailable("no such RPC")
}
