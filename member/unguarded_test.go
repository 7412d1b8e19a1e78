package member

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// rpc is one RPC that the member's gRPC server has registered.
type rpc struct {
	name       string // "/etcdserverpb.KV/Range"
	descriptor protoreflect.MethodDescriptor
}

// registered is every RPC of the server, from what grpc itself knows.
func registered(t *testing.T, s *grpc.Server) []rpc {
	var all []rpc
	for service, info := range s.GetServiceInfo() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatalf("service %s: %v", service, err)
		}
		for _, m := range info.Methods {
			method := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(m.Name))
			if method == nil {
				t.Fatalf("%s has no descriptor of %s", service, m.Name)
			}
			all = append(all, rpc{"/" + service + "/" + m.Name, method})
		}
	}
	slices.SortFunc(all, func(a, b rpc) int { return strings.Compare(a.name, b.name) })
	return all
}

// requests are the least that etcd would take as this RPC's request; for requests
// whose enum decides what they do, one for each value.
func (r rpc) requests(t *testing.T) []proto.Message {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(r.descriptor.Input().FullName())
	check(t, err)
	plain := kind.New()
	fields := plain.Descriptor().Fields()
	if key := fields.ByName("key"); key != nil && key.Kind() == protoreflect.BytesKind {
		plain.Set(key, protoreflect.ValueOfBytes([]byte("k")))
	}
	if w, ok := plain.Interface().(*pb.WatchRequest); ok {
		w.RequestUnion = &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}
	}
	action := fields.ByName("action")
	if action == nil || action.Kind() != protoreflect.EnumKind {
		return []proto.Message{plain.Interface()}
	}
	var all []proto.Message
	for i := range action.Enum().Values().Len() {
		m := proto.Clone(plain.Interface()).ProtoReflect()
		m.Set(action, protoreflect.ValueOfEnum(action.Enum().Values().Get(i).Number()))
		all = append(all, m.Interface())
	}
	return all
}

// call sends one request and returns the first answer.
func (r rpc) call(ctx context.Context, t *testing.T, conn *grpc.ClientConn, request proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(r.descriptor.Output().FullName())
	check(t, err)
	answer := kind.New().Interface()
	streams := &grpc.StreamDesc{ServerStreams: r.descriptor.IsStreamingServer(), ClientStreams: r.descriptor.IsStreamingClient()}
	if !streams.ServerStreams && !streams.ClientStreams {
		return answer, conn.Invoke(ctx, r.name, request, answer)
	}
	stream, err := conn.NewStream(ctx, streams, r.name)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return answer, stream.RecvMsg(answer)
}

func TestEveryRegisteredRPCIsKnownToTheGuardAndNoOther(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	var served []string
	for _, r := range registered(t, m.door.grpc) {
		served = append(served, r.name)
		method, known := etcdapi.LookupMethod(r.name)
		if !known || method.Action == etcdapi.NoAction {
			t.Errorf("%s is served and the guard does not know it", r.name)
		}
	}
	if len(served) < 40 {
		t.Fatalf("only %d RPCs are registered: %v", len(served), served)
	}
	for _, method := range etcdapi.Methods() {
		if !slices.Contains(served, method.FullName) {
			t.Errorf("the guard knows %s, which is not served", method.FullName)
		}
	}
}

// TestACallerThatNoRuleNamesIsDeniedEveryRPC sends a valid request to every RPC of
// every registered service. The same requests of an admin pass the guard: denial
// is the policy's word, not a defect of the requests.
func TestACallerThatNoRuleNamesIsDeniedEveryRPC(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	ctx := withTimeout(t)
	admin, stranger := w.dial("admin"), w.dial("stranger")
	before := m.etcd.Server.KV().Rev()

	all := registered(t, m.door.grpc)
	for _, r := range all {
		for _, request := range r.requests(t) {
			answer, err := r.call(ctx, t, stranger, request)
			if watch, ok := answer.(*pb.WatchResponse); ok && err == nil {
				// A denied watch ends by itself; its stream goes on.
				if !watch.Created || !watch.Canceled || watch.WatchId != -1 || !strings.Contains(watch.CancelReason, "permission denied") {
					t.Errorf("%s: a stranger's watch was answered with %v", r.name, watch)
				}
				continue
			}
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s: a stranger's %v was answered with %v, %v; want PermissionDenied", r.name, request, answer, err)
			}
		}
	}
	if after := m.etcd.Server.KV().Rev(); after != before {
		t.Errorf("the denied calls moved the revision from %d to %d", before, after)
	}

	for _, r := range all {
		if r.name == "/etcdserverpb.KV/Txn" {
			continue // an empty one is etcd's to refuse; the differential test covers it
		}
		_, err := r.call(ctx, t, admin, r.requests(t)[0])
		if code := status.Code(err); code == codes.PermissionDenied || code == codes.Unimplemented || code == codes.Unavailable {
			t.Errorf("%s: an admin's request was answered with %v", r.name, err)
		}
	}
}

// Lock and Election would call etcd behind the guard's back (SEMANTICS, doors that
// a KV interceptor does not hold): not even an admin gets them.
func TestLockAndElectionAreNotServed(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := withTimeout(t)
	admin := w.dial("admin")
	files := []protoreflect.FileDescriptor{v3lockpb.File_v3lock_proto, v3electionpb.File_v3election_proto}
	called := 0
	for _, file := range files {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				d := methods.Get(j)
				r := rpc{"/" + string(d.Parent().FullName()) + "/" + string(d.Name()), d}
				for _, request := range r.requests(t) {
					called++
					_, err := r.call(ctx, t, admin, request)
					if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), string(d.Parent().FullName())) {
						t.Errorf("%s was answered with %v; want Unimplemented, naming the service", r.name, err)
					}
				}
			}
		}
	}
	if called < 7 {
		t.Fatalf("only %d RPCs were called", called)
	}
}

func TestAnRPCThatDoesNotExistIsRefusedByName(t *testing.T) {
	w := newWorld(t)
	w.start()
	const name = "/etcdserverpb.KV/Steal"
	err := w.dial("admin").Invoke(withTimeout(t), name, &pb.RangeRequest{Key: []byte("k")}, &pb.RangeResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("%s was answered with %v", name, err)
	}
	// A service that is not registered at all comes past etcd's own table.
	const foreign = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	err = w.dial("admin").Invoke(withTimeout(t), foreign, &pb.RangeRequest{Key: []byte("k")}, &pb.RangeResponse{})
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "unknown service grpc.reflection.v1.ServerReflection") {
		t.Errorf("%s was answered with %v", foreign, err)
	}
}
