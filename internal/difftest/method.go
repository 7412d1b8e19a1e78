package difftest

import (
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// rpc is one method of the API, as the descriptors give it: nothing about the
// set of methods is written down by hand, so a method that a later etcd adds
// shows up as one that the generator does not cover.
type rpc struct {
	name string // "KV.Range"
	path string // "/etcdserverpb.KV/Range"
	desc protoreflect.MethodDescriptor
}

var (
	methods     = findMethods()
	methodNames = sortedNames(methods)
)

func findMethods() map[string]rpc {
	found := map[string]rpc{}
	for _, file := range []protoreflect.FileDescriptor{
		pb.File_rpc_proto, healthpb.File_grpc_health_v1_health_proto,
	} {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				name := fmt.Sprintf("%s.%s", s.Name(), m.Name())
				found[name] = rpc{
					name: name,
					path: fmt.Sprintf("/%s/%s", s.FullName(), m.Name()),
					desc: m,
				}
			}
		}
	}
	return found
}

func sortedNames(m map[string]rpc) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// newMessage makes an empty message of a described type.
func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		// The descriptor came from a linked-in Go package, so its type did too.
		panic(fmt.Sprintf("no Go type for %s: %v", d.FullName(), err))
	}
	return t.New().Interface()
}
