package guard

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/codec"
)

// wire is the client's end of a stream.
type wire struct {
	ctx      context.Context
	toServer chan proto.Message // closed: the client ended its side
	toClient chan proto.Message
}

func newWire(ctx context.Context) *wire {
	return &wire{ctx: ctx, toServer: make(chan proto.Message, 16), toClient: make(chan proto.Message, 16)}
}

func (w *wire) Context() context.Context { return w.ctx }

func (w *wire) RecvMsg(into any) error {
	select {
	case m, ok := <-w.toServer:
		if !ok {
			return io.EOF
		}
		proto.Merge(into.(proto.Message), m)
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *wire) SendMsg(m any) error {
	sent, err := codec.Codec{}.Marshal(m)
	if err != nil {
		return err
	}
	defer sent.Free()
	var got proto.Message = &pb.WatchResponse{}
	if p, ok := m.(proto.Message); ok {
		got = p.ProtoReflect().New().Interface()
	}
	if err := (codec.Codec{}).Unmarshal(sent, got); err != nil {
		return err
	}
	select {
	case w.toClient <- got:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *wire) SetHeader(metadata.MD) error  { return nil }
func (w *wire) SendHeader(metadata.MD) error { return nil }
func (w *wire) SetTrailer(metadata.MD)       {}

// answers is the next answer that the client gets.
func (w *wire) answer(t *testing.T) *pb.WatchResponse {
	t.Helper()
	select {
	case m := <-w.toClient:
		return m.(*pb.WatchResponse)
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
		return nil
	}
}

func (w *wire) silent(t *testing.T) {
	t.Helper()
	select {
	case m := <-w.toClient:
		t.Errorf("an answer that should not be: %v", m)
	case <-time.After(50 * time.Millisecond):
	}
}

func create(key, end string) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: b(key), RangeEnd: b(end)},
	}}
}

func cancelWatch(id int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
}

// watchServer stands for etcd: it answers in order, and only when it is let, so
// that a test can hold its answers back.
type watchServer struct {
	got     chan *pb.WatchRequest
	proceed chan struct{}
}

func (s *watchServer) handle(_ any, stream grpc.ServerStream) error {
	next := int64(0)
	received := make(chan error, 1)
	requests := make(chan *pb.WatchRequest, 16)
	go func() {
		for {
			m := new(pb.WatchRequest)
			if err := stream.RecvMsg(m); err != nil {
				received <- err
				return
			}
			s.got <- m
			requests <- m
		}
	}()
	for {
		select {
		case m := <-requests:
			<-s.proceed
			answer := &pb.WatchResponse{}
			switch {
			case m.GetCreateRequest() != nil:
				answer.Created, answer.WatchId = true, next
				next++
			case m.GetCancelRequest() != nil:
				answer.Canceled, answer.WatchId = true, m.GetCancelRequest().WatchId
			default:
				answer.WatchId = noWatch
			}
			if err := stream.SendMsg(answer); err != nil {
				return err
			}
		case err := <-received:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// watching opens a watch stream through the guard; end waits for its status.
func (f *fixture) watching(ctx context.Context, hold bool) (w *wire, s *watchServer, end func() error) {
	w, s = newWire(ctx), &watchServer{got: make(chan *pb.WatchRequest, 16), proceed: make(chan struct{}, 64)}
	if !hold {
		close(s.proceed)
	}
	status := make(chan error, 1)
	go func() {
		status <- f.Stream(nil, w, &grpc.StreamServerInfo{FullMethod: "/etcdserverpb.Watch/Watch"}, s.handle)
	}()
	return w, s, func() error {
		f.t.Helper()
		select {
		case err := <-status:
			return err
		case <-time.After(10 * time.Second):
			f.t.Fatal("the stream does not end")
			return nil
		}
	}
}

func wantDenied(t *testing.T, a *pb.WatchResponse) {
	t.Helper()
	if !a.Created || !a.Canceled || a.WatchId != -1 || a.CancelReason != errPermissionDenied.Error() || a.Header.GetRevision() != 100 {
		t.Errorf("not etcd's answer to a denied watch: %v", a)
	}
}

func wantCreated(t *testing.T, a *pb.WatchResponse, id int64) {
	t.Helper()
	if !a.Created || a.Canceled || a.WatchId != id {
		t.Errorf("not watch %d: %v", id, a)
	}
}

func TestADeniedWatchDoesNotEndTheStream(t *testing.T) {
	f := newFixture(t)
	w, s, end := f.watching(as("team"), false)
	for _, m := range []*pb.WatchRequest{
		create("/other", ""), create("/team/", "\x00"), create("\x00", "\x00"), create("", "\x00"), create("", ""), create("\x00etcdguard/ring", ""),
	} {
		w.toServer <- m
		wantDenied(t, w.answer(t))
	}
	w.toServer <- create("/team/", "/team0")
	wantCreated(t, w.answer(t), 0)
	close(w.toServer)
	if err := end(); err != nil {
		t.Error(err)
	}
	if n := len(s.got); n != 1 {
		t.Errorf("etcd saw %d requests, want the allowed one", n)
	}
}

func TestDenialsKeepTheirPlaceAmongTheAnswers(t *testing.T) {
	f := newFixture(t)
	w, s, end := f.watching(as("team"), true)
	for _, m := range []*pb.WatchRequest{create("/team/a", ""), create("/other", ""), create("/other", ""), create("/team/b", "")} {
		w.toServer <- m
	}
	<-s.got
	<-s.got
	w.silent(t) // the denials wait for the first answer
	s.proceed <- struct{}{}
	wantCreated(t, w.answer(t), 0)
	wantDenied(t, w.answer(t))
	wantDenied(t, w.answer(t))
	w.silent(t)
	s.proceed <- struct{}{}
	wantCreated(t, w.answer(t), 1)
	close(w.toServer)
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestAWatchOfEverythingReachesEtcdWithoutTheReservedSpace(t *testing.T) {
	f := newFixture(t)
	w, s, _ := f.watching(as("admin"), false)
	w.toServer <- create("", "\x00")
	if got := (<-s.got).GetCreateRequest(); string(got.Key) != "\x01" || string(got.RangeEnd) != "\x00" {
		t.Errorf("etcd watches %q to %q", got.Key, got.RangeEnd)
	}
	wantCreated(t, w.answer(t), 0)
	close(w.toServer)
}

func TestANewPolicyCancelsTheWatchesThatItDenies(t *testing.T) {
	f := newFixture(t)
	w, s, end := f.watching(as("team"), false)
	w.toServer <- create("/team/a", "")
	wantCreated(t, w.answer(t), 0)
	w.toServer <- create("/team/secret", "")
	wantCreated(t, w.answer(t), 1)
	<-s.got
	<-s.got

	narrower := strings.Replace(testPolicy, "{prefix: /team/}]}\n  - {name: writer", "{key: /team/a}]}\n  - {name: writer", 1)
	if narrower == testPolicy {
		t.Fatal("the policy was not changed")
	}
	f.SetPolicy(parsePolicy(t, narrower))
	if got := (<-s.got).GetCancelRequest(); got.GetWatchId() != 1 {
		t.Errorf("etcd is asked to cancel %v", got)
	}
	if a := w.answer(t); !a.Canceled || a.Created || a.WatchId != 1 || a.CancelReason != errPermissionDenied.Error() {
		t.Errorf("the client is told %v", a)
	}
	w.silent(t)
	w.toServer <- cancelWatch(0)
	if a := w.answer(t); !a.Canceled || a.CancelReason != "" {
		t.Errorf("the client's own cancellation: %v", a)
	}
	close(w.toServer)
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestAPolicyThatChangesWhileAWatchIsCreatedIsNotMissed(t *testing.T) {
	f := newFixture(t)
	w, s, _ := f.watching(as("team"), true)
	w.toServer <- create("/team/secret", "")
	<-s.got // allowed, and not answered yet
	f.SetPolicy(parsePolicy(t, strings.Replace(testPolicy, "cn: [team]", "cn: [nobody]", 1)))
	close(s.proceed)
	wantCreated(t, w.answer(t), 0)
	if a := w.answer(t); !a.Canceled || a.CancelReason != errPermissionDenied.Error() {
		t.Errorf("the client is told %v", a)
	}
	close(w.toServer)
}

func TestWatchersAreBoundedAndGivenBack(t *testing.T) {
	f := newFixture(t)
	w, _, end := f.watching(as("bounded"), false)
	w.toServer <- create("a", "")
	wantCreated(t, w.answer(t), 0)
	w.toServer <- create("b", "")
	wantDenied(t, w.answer(t))
	w.toServer <- cancelWatch(0)
	w.answer(t)
	w.toServer <- create("b", "")
	wantCreated(t, w.answer(t), 1)
	close(w.toServer)
	if err := end(); err != nil {
		t.Error(err)
	}
	if n := f.accountOf("bounded").watchers.Load(); n != 0 {
		t.Errorf("%d watchers are left behind", n)
	}
}

func TestProgressIsForThoseWhoWatch(t *testing.T) {
	f := newFixture(t)
	progress := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	w, s, _ := f.watching(as("team"), false)
	w.toServer <- progress
	w.silent(t)
	w.toServer <- create("/team/a", "")
	wantCreated(t, w.answer(t), 0)
	w.toServer <- progress
	if a := w.answer(t); a.WatchId != -1 || a.Created {
		t.Errorf("progress: %v", a)
	}
	close(w.toServer)
	if n := len(s.got); n != 2 {
		t.Errorf("etcd saw %d requests, want 2", n)
	}
	all, _, _ := f.watching(as("admin"), false)
	all.toServer <- progress
	if a := all.answer(t); a.WatchId != -1 {
		t.Errorf("progress of one who may watch everything: %v", a)
	}
	close(all.toServer)
}

func TestAnUnknownFieldEndsTheStream(t *testing.T) {
	f := newFixture(t)
	w, s, end := f.watching(as("admin"), false)
	m := create("a", "")
	m.GetCreateRequest().ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 12345, protowire.VarintType), 1))
	w.toServer <- m
	wantCode(t, end(), codes.Unimplemented, "unknown field", "create_request")
	if len(s.got) != 0 {
		t.Error("it reached etcd")
	}
}

func TestDrainEndsStreamsWithTheReason(t *testing.T) {
	f := newFixture(t)
	w, _, end := f.watching(as("team"), false)
	w.toServer <- create("/team/a", "")
	wantCreated(t, w.answer(t), 0)
	f.Drain("this member is stopping")
	wantCode(t, end(), codes.Unavailable, "this member is stopping")

	_, _, late := f.watching(as("team"), false)
	wantCode(t, late(), codes.Unavailable, "this member is stopping")
}

func TestEachKeepAliveIsJudged(t *testing.T) {
	f := newFixture(t)
	w := newWire(as("team"))
	w.toServer <- &pb.LeaseKeepAliveRequest{ID: 1}
	w.toServer <- &pb.LeaseKeepAliveRequest{ID: 1}
	seen := 0
	err := f.Stream(nil, w, &grpc.StreamServerInfo{FullMethod: "/etcdserverpb.Lease/LeaseKeepAlive"},
		func(_ any, s grpc.ServerStream) error {
			for {
				if err := s.RecvMsg(&pb.LeaseKeepAliveRequest{}); err != nil {
					return err
				}
				seen++
				f.SetPolicy(parsePolicy(t, strings.Replace(testPolicy, "cn: [team]", "cn: [nobody]", 1)))
			}
		})
	if err != errPermissionDenied || seen != 1 {
		t.Errorf("etcd saw %d, then %v", seen, err)
	}
}

func TestStreamsOfOneRequestAreJudged(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		method  string
		request proto.Message
	}{
		{"KV/RangeStream", &pb.RangeRequest{Key: b("/other"), RangeEnd: b("\x00")}},
		{"Maintenance/Snapshot", &pb.SnapshotRequest{}},
	} {
		for cn, want := range map[string]error{"team": errPermissionDenied, "admin": nil} {
			w := newWire(as(cn))
			w.toServer <- test.request
			err := f.Stream(nil, w, &grpc.StreamServerInfo{FullMethod: "/etcdserverpb." + test.method},
				func(_ any, s grpc.ServerStream) error {
					return s.RecvMsg(proto.Clone(test.request).ProtoReflect().New().Interface())
				})
			if err != want {
				t.Errorf("%s by %s: %v, want %v", test.method, cn, err, want)
			}
		}
	}
	w := newWire(as("admin"))
	err := f.Stream(nil, w, &grpc.StreamServerInfo{FullMethod: "/v3electionpb.Election/Observe"},
		func(any, grpc.ServerStream) error { t.Error("it reached etcd"); return nil })
	wantCode(t, err, codes.Unimplemented, "unknown service v3electionpb.Election")
}
