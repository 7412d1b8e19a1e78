package etcdapi

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// alien is a field that no message of etcd has.
func alien() []byte {
	b := protowire.AppendTag(nil, 12345, protowire.VarintType)
	return protowire.AppendVarint(b, 1)
}

// TestUnknownFieldIsFoundWhereverItIs puts the alien field into every message that
// can lie inside any request, through every path of fields that leads there.
func TestUnknownFieldIsFoundWhereverItIs(t *testing.T) {
	places := 0
	eachMethod(func(full string, m protoreflect.MethodDescriptor) {
		var try func(at protoreflect.MessageDescriptor, depth int, wrap func(protoreflect.Message) proto.Message)
		try = func(at protoreflect.MessageDescriptor, depth int, wrap func(protoreflect.Message) proto.Message) {
			places++
			here := dynamicpb.NewMessage(at)
			here.SetUnknown(alien())
			wire, err := proto.Marshal(wrap(here))
			if err != nil {
				t.Fatal(err)
			}
			if real := decode(t, m.Input(), wire); UnknownField(real) == "" {
				t.Errorf("%s: an unknown field in a nested %s goes unnoticed", full, at.FullName())
			}
			if depth == 0 {
				return
			}
			for i := range at.Fields().Len() {
				fd := at.Fields().Get(i)
				if fd.Message() == nil || fd.IsMap() {
					continue
				}
				try(fd.Message(), depth-1, func(inner protoreflect.Message) proto.Message {
					outer := dynamicpb.NewMessage(at)
					if fd.IsList() {
						outer.Mutable(fd).List().Append(protoreflect.ValueOfMessage(inner))
					} else {
						outer.Set(fd, protoreflect.ValueOfMessage(inner))
					}
					return wrap(outer)
				})
			}
		}
		try(m.Input(), 5, func(inner protoreflect.Message) proto.Message { return inner.Interface() })
	})
	if places < 60 {
		t.Fatalf("only %d places tried", places)
	}
}

// decode makes the generated Go message of a wire form, as a server gets it.
func decode(t *testing.T, d protoreflect.MessageDescriptor, wire []byte) proto.Message {
	t.Helper()
	m := newMessage(d.FullName())
	if m == nil {
		t.Fatalf("no Go type for %s", d.FullName())
	}
	if err := proto.Unmarshal(wire, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestKnownRequestsHaveNoUnknownField(t *testing.T) {
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), TargetUnion: &pb.Compare_Value{Value: []byte("v")}}},
		Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a")}}},
			{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}},
			{},
		},
	}
	for _, m := range []proto.Message{txn, &pb.RangeRequest{Key: []byte("a")}, &pb.MemberAddRequest{PeerURLs: []string{"x"}}} {
		if where := UnknownField(m); where != "" {
			t.Errorf("%T: an unknown field is seen in %s", m, where)
		}
	}
}

// FuzzUnknownField holds the fast walk of requests against the slow one.
func FuzzUnknownField(f *testing.F) {
	inner := &pb.PutRequest{Key: []byte("k")}
	inner.ProtoReflect().SetUnknown(alien())
	for _, m := range []proto.Message{
		&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: inner}}}},
		&pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k")}}}}},
	} {
		wire, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, m := range []proto.Message{&pb.TxnRequest{}, &pb.PutRequest{}, &pb.RangeRequest{}, &pb.DeleteRangeRequest{}} {
			if proto.Unmarshal(wire, m) != nil {
				continue
			}
			if _, slow := unknownIn(m.ProtoReflect()); slow != (UnknownField(m) != "") {
				t.Errorf("%T: the slow walk says %t, the fast walk %q", m, slow, UnknownField(m))
			}
		}
	})
}
