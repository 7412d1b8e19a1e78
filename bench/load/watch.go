package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

const watchPrefix = "/bench/watch/"

// writers is how many writes are on their way to the watchers at a time. With
// 16 watchers on a stream that is 64 events, below the 128 that etcd queues per
// stream before it takes a watcher aside to catch up: what is measured is the
// fan-out, not the recovery from an overrun.
const writers = 4

// fanout counts the deliveries of the one write that its writer has under way.
type fanout struct {
	delivered atomic.Int64
	complete  chan struct{}
}

// runWatch keeps a few writes under way and counts each as 1,000 events when
// the last of 1,000 watchers has it.
func runWatch(ctx context.Context, s *session, pace Pace, edge func()) (Sample, error) {
	ctx, stop := context.WithCancelCause(ctx)
	var streams sync.WaitGroup
	defer func() {
		stop(nil)
		streams.Wait()
	}()

	fanouts := make([]*fanout, writers)
	for w := range fanouts {
		fanouts[w] = &fanout{complete: make(chan struct{}, 1)}
	}
	created := make(chan struct{}, Watchers)
	for c := range Clients {
		n := Watchers / Clients
		if c < Watchers%Clients {
			n++
		}
		streams.Go(func() {
			if err := watch(ctx, s.conn(c), n, fanouts, created); err != nil {
				stop(err)
			}
		})
	}
	lost := time.After(drainLimit)
	for n := range Watchers {
		select {
		case <-created:
		case <-ctx.Done():
			return Sample{}, context.Cause(ctx)
		case <-lost:
			return Sample{}, fmt.Errorf("the server created %d of %d watchers in %v", n, Watchers, drainLimit)
		}
	}

	steps := make([]step, writers)
	for w, f := range fanouts {
		put := encode(&pb.PutRequest{Key: fmt.Appendf(nil, "%s%d", watchPrefix, w), Value: value(w)})
		steps[w] = func(ctx context.Context) error { return f.write(ctx, s.conn(w), put) }
	}
	return drive(ctx, steps, Watchers, pace, edge)
}

func (f *fanout) write(ctx context.Context, conn *grpc.ClientConn, put request) error {
	if n := f.delivered.Swap(0); n != 0 && n != Watchers {
		return fmt.Errorf("a write reached %d watchers, want %d", n, Watchers)
	}
	var answer summary
	if err := call(ctx, conn, pb.KV_Put_FullMethodName, put, &answer); err != nil {
		return err
	}
	select {
	case <-f.complete:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a write reached %d of %d watchers: %w", f.delivered.Load(), Watchers, context.Cause(ctx))
	}
}

// watch holds n watchers on one stream until ctx ends.
func watch(ctx context.Context, conn *grpc.ClientConn, n int, fanouts []*fanout, created chan<- struct{}) error {
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(ctx, desc, pb.Watch_Watch_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return fmt.Errorf("opening a watch stream: %w", err)
	}
	create := encode(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(watchPrefix), RangeEnd: []byte("/bench/watch0"),
	}}})
	for range n {
		if err := stream.SendMsg(create); err != nil {
			return fmt.Errorf("creating a watcher: %w", err)
		}
	}
	var unknown error
	batch := watchBatch{onKey: func(key []byte) {
		w := len(fanouts)
		if len(key) == len(watchPrefix)+1 {
			w = int(key[len(watchPrefix)] - '0')
		}
		if w >= len(fanouts) {
			unknown = errors.New("an event for a key that nobody wrote")
			return
		}
		if fanouts[w].delivered.Add(1) == Watchers {
			fanouts[w].complete <- struct{}{}
		}
	}}
	for {
		err := stream.RecvMsg(&batch)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("reading a watch stream: %w", err)
		case unknown != nil:
			return unknown
		case batch.canceled:
			return fmt.Errorf("the server canceled a watcher: %q", batch.reason)
		case batch.created:
			created <- struct{}{}
		}
	}
}
