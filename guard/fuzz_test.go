package guard

import (
	"bytes"
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// FuzzNothingForeignReachesEtcd sends whatever bytes decode to as a caller who may
// touch /team/ alone, and looks at what etcd gets with eyes of its own: every
// message, at any depth, that has a key must lie within /team/.
func FuzzNothingForeignReachesEtcd(f *testing.F) {
	seeds := []struct {
		method int
		m      proto.Message
	}{
		{0, rangeOf("/team/", "/team0")},
		{0, rangeOf("/team/a", "\x00")},
		{1, &pb.PutRequest{Key: b("/team/a"), PrevKv: true, Lease: 1}},
		{2, &pb.DeleteRangeRequest{Key: b("/team/"), RangeEnd: b("/team0")}},
		{3, &pb.TxnRequest{Success: []*pb.RequestOp{putOp("/team/a"), txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{rangeOp("\x00", "\x00")}})}}},
		{3, &pb.TxnRequest{Compare: []*pb.Compare{{Key: b("/team/"), RangeEnd: b("/team0")}}, Failure: []*pb.RequestOp{deleteOp("/team/b", "")}}},
	}
	for _, s := range seeds {
		wire, err := proto.Marshal(s.m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s.method, wire)
	}
	methods := []struct {
		name string
		make func() proto.Message
	}{
		{"Range", func() proto.Message { return &pb.RangeRequest{} }},
		{"Put", func() proto.Message { return &pb.PutRequest{} }},
		{"DeleteRange", func() proto.Message { return &pb.DeleteRangeRequest{} }},
		{"Txn", func() proto.Message { return &pb.TxnRequest{} }},
	}
	f.Fuzz(func(t *testing.T, method int, wire []byte) {
		fix := newFixture(t)
		m := methods[uint(method)%uint(len(methods))]
		request := m.make()
		if proto.Unmarshal(wire, request) != nil {
			return
		}
		_, _ = fix.Unary(as("team"), request, &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/" + m.name},
			func(_ context.Context, seen any) (any, error) {
				everyKey(seen.(proto.Message).ProtoReflect(), func(key, end []byte) {
					if !within(key, end) {
						t.Errorf("etcd gets %q to %q: %v", key, end, seen)
					}
				})
				return nil, nil
			})
	})
}

// within reports whether all that key and end name is the team's. An empty key is
// etcd's to refuse; an interval without a key names nothing, wherever it starts
// within.
func within(key, end []byte) bool {
	if len(key) == 0 && len(end) == 0 {
		return true
	}
	if !bytes.HasPrefix(key, b("/team/")) {
		return false
	}
	return len(end) == 0 || !bytes.Equal(end, []byte{0}) && bytes.Compare(end, b("/team0")) <= 0
}

func everyKey(m protoreflect.Message, f func(key, end []byte)) {
	fields := m.Descriptor().Fields()
	if key := fields.ByName("key"); key != nil {
		var end []byte
		if fd := fields.ByName("range_end"); fd != nil {
			end = m.Get(fd).Bytes()
		}
		f(m.Get(key).Bytes(), end)
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil || fd.IsMap():
		case fd.IsList():
			for i := range v.List().Len() {
				everyKey(v.List().Get(i).Message(), f)
			}
		default:
			everyKey(v.Message(), f)
		}
		return true
	})
}

// FuzzAnyRequestIsSurvived sends whatever bytes decode to, as every RPC there is:
// a panic would end the member.
func FuzzAnyRequestIsSurvived(f *testing.F) {
	all := requestTypes()
	if len(all) < 30 {
		f.Fatalf("only %d request types", len(all))
	}
	f.Add(0, []byte{})
	f.Add(1, []byte{0x08, 0x63})
	f.Fuzz(func(t *testing.T, n int, wire []byte) {
		fix := newFixture(t)
		one := all[uint(n)%uint(len(all))]
		request := one.message.ProtoReflect().New().Interface()
		if proto.Unmarshal(wire, request) != nil {
			return
		}
		for _, cn := range []string{"", "team", "bounded", "admin"} {
			_, _ = fix.Unary(as(cn), proto.Clone(request), &grpc.UnaryServerInfo{FullMethod: one.method},
				func(context.Context, any) (any, error) { return nil, nil })
		}
	})
}

type requestType struct {
	method  string
	message proto.Message
}

func requestTypes() (all []requestType) {
	for i := range pb.File_rpc_proto.Services().Len() {
		s := pb.File_rpc_proto.Services().Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			full := "/" + string(s.FullName()) + "/" + string(m.Name())
			if _, known := etcdapi.LookupMethod(full); known {
				all = append(all, requestType{full, newMessage(m.Input().FullName())})
			}
		}
	}
	return all
}
