package etcdapi

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// served are the protobuf files whose services an etcd member registers.
var served = []protoreflect.FileDescriptor{pb.File_rpc_proto, healthpb.File_grpc_health_v1_health_proto}

// eachMethod shows f every RPC of those services.
func eachMethod(f func(full string, m protoreflect.MethodDescriptor)) {
	for _, file := range served {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				f("/"+string(s.FullName())+"/"+string(m.Name()), m)
			}
		}
	}
}

func TestEveryRPCOfTheDescriptorsIsKnownAndNoOther(t *testing.T) {
	described := map[string]bool{}
	eachMethod(func(full string, _ protoreflect.MethodDescriptor) {
		described[full] = true
		if _, ok := LookupMethod(full); !ok {
			t.Errorf("%s is served by etcd and not in the table: give it an Action", full)
		}
	})
	if len(described) < 40 {
		t.Fatalf("only %d RPCs in the descriptors: the test looks at the wrong files", len(described))
	}
	for _, m := range Methods() {
		if !described[m.FullName] {
			t.Errorf("%s is in the table and in no descriptor", m.FullName)
		}
	}
}

func TestEveryActionHasANameOfItsOwnAndAnRPC(t *testing.T) {
	reached := map[Action]bool{
		KVTxnCompare: true, KVTxnRange: true, KVTxnPut: true, KVTxnDeleteRange: true, // WalkTxn
		HTTPHealth: true, HTTPMetrics: true, HTTPVersion: true, HTTPDebug: true, // not RPCs
	}
	for _, m := range Methods() {
		reached[m.Action] = true
	}
	for _, a := range adminCalls {
		reached[a] = true
	}
	for n := range pb.AlarmRequest_AlarmAction_name {
		reached[Method{}.Of(&pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(n)})] = true
	}
	for n := range pb.DowngradeRequest_DowngradeAction_name {
		reached[Method{}.Of(&pb.DowngradeRequest{Action: pb.DowngradeRequest_DowngradeAction(n)})] = true
	}
	if reached[NoAction] {
		t.Error("an enum value of etcd's is not an Action")
	}
	names := map[string]bool{}
	for _, a := range Actions() {
		if names[a.String()] || a.String() == "" {
			t.Errorf("action %d has no name of its own: %q", a, a)
		}
		names[a.String()] = true
		if !reached[a] {
			t.Errorf("nothing leads to action %v", a)
		}
	}
}

func TestAnEnumValueThatNobodyKnowsIsNoAction(t *testing.T) {
	if a := (Method{}).Of(&pb.AlarmRequest{Action: 99}); a != NoAction {
		t.Errorf("alarm action 99 is %v", a)
	}
	if a := (Method{}).Of(&pb.DowngradeRequest{Action: 99}); a != NoAction {
		t.Errorf("downgrade action 99 is %v", a)
	}
}

func TestMatchActions(t *testing.T) {
	for pattern, want := range map[string]int{
		"*":                 len(Actions()),
		"KV.Put":            1,
		"KV.Txn":            5,
		"KV.Txn:Put":        1,
		"Lease.*":           5,
		"Maintenance.Alarm": 3,
		"KV.Nothing":        0,
		"":                  0,
		"KV":                0,
		".*":                0,
	} {
		if got := MatchActions(pattern); len(got) != want {
			t.Errorf("%q matches %v, want %d", pattern, got, want)
		}
	}
}
