package guard

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// recorded is an event as a reader sees it.
type recorded struct {
	Seq      uint64
	Kind     string
	Caller   struct{ Name, CN, Serial, PublicKeySHA256, Peer string }
	Action   string
	Access   []map[string]any
	Target   string
	Decision string
	Rule     string
	Reason   string
	Of       *uint64
	Code     string
	Rev      int64
	Keys     int64
	Bytes    int64
	Counts   []audit.Count
	Lease    string
}

// recording is a fixture whose requests are recorded in a real log.
type recording struct {
	*fixture
	dir      string
	log      *audit.Log
	registry *prometheus.Registry
}

func newRecording(t testing.TB, change func(*audit.Config)) *recording {
	t.Helper()
	r := &recording{fixture: newFixture(t), dir: t.TempDir(), registry: prometheus.NewRegistry()}
	c := audit.Config{Dir: r.dir, SegmentBytes: 1 << 20, Log: slog.New(slog.NewTextHandler(r.fixture.log, nil)), Registry: r.registry}
	if change != nil {
		change(&c)
	}
	var err error
	if r.log, err = audit.Open(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	r.Guard.audit = r.log
	t.Cleanup(func() { _ = r.log.Close("the test is over") })
	return r
}

// bytes are all segments, as they are on disk now.
func (r *recording) bytes() []byte {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		r.t.Fatalf("no segments in %s: %v", r.dir, err)
	}
	var all []byte
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, bytes.TrimRight(data, "\x00")...)
	}
	return all
}

// events are those that are about requests.
func (r *recording) events() (all []recorded) {
	r.t.Helper()
	s := bufio.NewScanner(bytes.NewReader(r.bytes()))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var e recorded
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			r.t.Fatalf("%v in %s", err, s.Bytes())
		}
		if e.Kind != "" && e.Kind != "system" {
			all = append(all, e)
		}
	}
	return all
}

// since are the events after the first n, once there are as many as wanted: reads come
// to the file a moment later.
func (r *recording) since(n, wanted int) []recorded {
	r.t.Helper()
	for range 500 {
		if all := r.events(); len(all) >= n+wanted {
			return all[n:]
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("%d events, want %d", len(r.events())-n, wanted)
	return nil
}

func TestRequestsAreOnRecord(t *testing.T) {
	unknownField := &pb.StatusRequest{}
	unknownField.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 1}) // field 127
	r := newRecording(t, nil)
	kv := &mvccpb.KeyValue{Key: b("/team/a"), Value: b("four"), ModRevision: 3}
	header := &pb.ResponseHeader{Revision: 42}
	const write, read, no = "intent outcome", "access", "denied"
	for _, c := range []struct {
		name, cn, method string
		request          proto.Message
		answer           any
		kinds            string
		action, decision string
		key              string
		code             string
		keys, bytes      int64
	}{
		{"a put", "team", "KV/Put", &pb.PutRequest{Key: b("/team/a"), Value: b("abc")}, &pb.PutResponse{Header: header},
			write, "KV.Put", "allowed", "/team/a", "OK", 1, 3},
		{"a put with the previous value", "team", "KV/Put", &pb.PutRequest{Key: b("/team/a"), Value: b("abc"), PrevKv: true}, &pb.PutResponse{Header: header, PrevKv: kv},
			write, "KV.Put", "allowed", "/team/a", "OK", 1, 7},
		{"a deletion", "team", "KV/DeleteRange", &pb.DeleteRangeRequest{Key: b("/team/"), RangeEnd: b("/team0")}, &pb.DeleteRangeResponse{Header: header, Deleted: 5},
			write, "KV.DeleteRange", "allowed", "/team/", "OK", 5, 0},
		{"a Txn that writes", "admin", "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{putOp("/x")}}, &pb.TxnResponse{Header: header, Succeeded: true,
			Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}}}},
			write, "KV.Txn", "allowed", "/x", "OK", 1, 0},
		{"a Txn that reads", "admin", "KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{rangeOp("/x", "")}}, &pb.TxnResponse{Header: header, Succeeded: true,
			Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{kv}}}}}},
			read, "KV.Txn", "allowed", "/x", "OK", 1, 4},
		{"a range", "team", "KV/Range", rangeOf("/team/", "/team0"), &pb.RangeResponse{Header: header, Kvs: []*mvccpb.KeyValue{kv}},
			read, "KV.Range", "allowed", "/team/", "OK", 1, 4},
		{"a denied range", "team", "KV/Range", rangeOf("/other", ""), nil, no, "KV.Range", "denied", "/other", "PermissionDenied", 0, 0},
		{"a denied Txn", "team", "KV/Txn", &pb.TxnRequest{Failure: []*pb.RequestOp{putOp("/other")}}, nil, no, "KV.Txn", "denied", "/other", "PermissionDenied", 0, 0},
		{"a reserved key", "admin", "KV/Put", &pb.PutRequest{Key: b("\x00etcdguard/ring")}, nil, no, "KV.Put", "denied", "", "PermissionDenied", 0, 0},
		{"a key that is no text", "admin", "KV/Put", &pb.PutRequest{Key: b("\xff")}, &pb.PutResponse{Header: header}, write, "KV.Put", "allowed", "", "OK", 1, 0},
		{"too many keys", "bounded", "KV/Range", rangeOf("/", "0"), nil, no, "KV.Range", "limited", "/", "PermissionDenied", 0, 0},
		{"an unknown field", "admin", "Maintenance/Status", unknownField, nil, no, "Maintenance.Status", "refused", "", "Unimplemented", 0, 0},
		{"a member that goes", "admin", "Cluster/MemberRemove", &pb.MemberRemoveRequest{ID: 255}, &pb.MemberRemoveResponse{Header: header}, write, "Cluster.MemberRemove", "allowed", "", "OK", 0, 0},
		{"a status", "admin", "Maintenance/Status", &pb.StatusRequest{}, &pb.StatusResponse{Header: header}, read, "Maintenance.Status", "allowed", "", "OK", 0, 0},
		{"a lease that goes", "admin", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 255}, &pb.LeaseRevokeResponse{Header: header}, write, "Lease.LeaseRevoke", "allowed", "", "OK", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(r.events())
			answers := []any{}
			if c.answer != nil {
				answers = append(answers, c.answer)
			}
			seen, _, _ := r.call(as(c.cn), c.method, c.request, answers...)
			if (seen != nil) == (c.kinds == no) {
				t.Fatalf("etcd was asked: %v", seen)
			}
			kinds := strings.Fields(c.kinds)
			events := r.since(before, len(kinds))
			first, last := events[0], events[len(kinds)-1]
			if len(events) != len(kinds) || first.Kind != kinds[0] || last.Kind != kinds[len(kinds)-1] {
				t.Fatalf("recorded as %+v", events)
			}
			if first.Action != c.action || first.Decision != c.decision || first.Caller.Name != c.cn || first.Caller.CN != c.cn ||
				first.Caller.Serial != "7" || len(first.Caller.PublicKeySHA256) != 64 || first.Caller.Peer != "127.0.0.1:4711" {
				t.Errorf("recorded as %+v", first)
			}
			if c.key != "" && (len(first.Access) == 0 || first.Access[0]["key"] != c.key) {
				t.Errorf("the accesses are %v, want %s", first.Access, c.key)
			}
			if last.Code != c.code || last.Keys != c.keys || last.Bytes != c.bytes {
				t.Errorf("it ended with %s, %d keys and %d bytes, want %s, %d and %d", last.Code, last.Keys, last.Bytes, c.code, c.keys, c.bytes)
			}
			if c.kinds != no && last.Rev != 42 {
				t.Errorf("at revision %d", last.Rev)
			}
			if last.Kind == "outcome" && (last.Of == nil || *last.Of != first.Seq) {
				t.Errorf("the outcome is of %v, the intent has %d", last.Of, first.Seq)
			}
		})
	}
}

func TestAnIntentIsInTheFileBeforeEtcdIsAsked(t *testing.T) {
	r := newRecording(t, nil)
	_, err := r.Unary(as("admin"), &pb.PutRequest{Key: b("/a")}, &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Put"},
		func(context.Context, any) (any, error) {
			events := r.events()
			if len(events) != 1 || events[0].Kind != "intent" {
				t.Errorf("etcd is asked, and on record is %+v", events)
			}
			return nil, context.DeadlineExceeded
		})
	if err != context.DeadlineExceeded {
		t.Error(err)
	}
	if events := r.events(); len(events) != 2 || events[1].Kind != "outcome" || events[1].Code != "DeadlineExceeded" {
		t.Errorf("after a failure on record is %+v", events)
	}
}

func TestAnRPCThatIsNotServedIsOnRecord(t *testing.T) {
	r := newRecording(t, nil)
	if _, _, err := r.call(as("admin"), "KV/NoSuch", &pb.PutRequest{}); err == nil {
		t.Error("it was served")
	}
	if events := r.events(); len(events) != 1 || events[0].Kind != "denied" || !strings.Contains(events[0].Reason, "KV/NoSuch") {
		t.Errorf("on record is %+v", events)
	}
}

// Every string and every byte of every request that could be a secret is marked, and
// the marks are looked for. Keys and names are marked otherwise, and must be there.
func TestNoSecretIsOnRecord(t *testing.T) {
	r := newRecording(t, nil)
	const secret, name = "SECRETSECRET", "NAMENAME"
	isSecret := func(f protoreflect.FieldDescriptor) bool {
		switch f.Name() {
		case "value", "password", "hashedPassword", "token":
			return true
		}
		return false
	}
	sent := 0
	for _, method := range etcdapi.Methods() {
		service, rpc, _ := strings.Cut(strings.TrimPrefix(method.FullName, "/"), "/")
		if service == "grpc.health.v1.Health" || strings.HasSuffix(method.FullName, "/Watch") {
			continue
		}
		described, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		request := newMessage(described.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(rpc)).Input().FullName())
		mark(request.ProtoReflect(), isSecret, secret, name, 3)
		for _, cn := range []string{"admin", "stranger"} {
			clone := proto.Clone(request)
			_, _, _ = r.call(as(cn), strings.TrimPrefix(service, "etcdserverpb.")+"/"+rpc, clone)
			sent++
		}
	}
	if sent < 60 {
		t.Fatalf("only %d requests were sent", sent)
	}
	if err := r.log.Close("to see all of it"); err != nil {
		t.Fatal(err)
	}
	all := r.bytes()
	if !bytes.Contains(all, []byte(name)) {
		t.Error("no name of a key is on record: the search would find nothing")
	}
	if i := bytes.Index(all, []byte(secret)); i >= 0 {
		t.Errorf("a secret is on record: …%s…", all[max(0, i-300):min(len(all), i+50)])
	}
}

// mark fills every field of m, to a depth.
func mark(m protoreflect.Message, isSecret func(protoreflect.FieldDescriptor) bool, secret, name string, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		text := name
		if isSecret(f) {
			text = secret
		}
		var v protoreflect.Value
		switch f.Kind() {
		case protoreflect.StringKind:
			v = protoreflect.ValueOfString(text)
		case protoreflect.BytesKind:
			v = protoreflect.ValueOfBytes([]byte(text))
		case protoreflect.MessageKind:
			if depth == 0 || f.IsMap() {
				continue
			}
			var inner protoreflect.Message
			if f.IsList() {
				inner = m.NewField(f).List().NewElement().Message()
			} else {
				inner = m.NewField(f).Message()
			}
			mark(inner, isSecret, secret, name, depth-1)
			v = protoreflect.ValueOfMessage(inner)
		default:
			continue
		}
		if f.IsList() {
			list := m.NewField(f).List()
			list.Append(v)
			m.Set(f, protoreflect.ValueOfList(list))
			continue
		}
		m.Set(f, v)
	}
}

func TestARuleThinsReadsAndNothingElse(t *testing.T) {
	r := newRecording(t, func(c *audit.Config) { c.SummaryInterval = time.Hour })
	r.SetPolicy(parsePolicy(t, strings.Replace(testPolicy, "keys: [{prefix: /team/}]}", "keys: [{prefix: /team/}], audit: summary}", 1)))
	answer := &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: b("/team/a"), Value: b("four")}}}
	for range 3 {
		_, _, _ = r.call(as("team"), "KV/Range", rangeOf("/team/a", ""), answer)
	}
	_, _, _ = r.call(as("team"), "KV/Put", &pb.PutRequest{Key: b("/team/a")})
	_, _, _ = r.call(as("team"), "KV/Range", rangeOf("/other", ""))
	if err := r.log.Close("to see all of it"); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	var counts []audit.Count
	for _, e := range r.events() {
		kinds = append(kinds, e.Kind)
		counts = append(counts, e.Counts...)
	}
	if got := strings.Join(kinds, " "); got != "intent outcome denied summary checkpoint" {
		t.Errorf("on record is %s", got)
	}
	if len(counts) != 1 || counts[0] != (audit.Count{Action: "KV.Range", Code: "OK", Level: "summary", N: 3, Keys: 3, Bytes: 12}) {
		t.Errorf("counted are %+v", counts)
	}
}

func TestNothingIsServedThatCantBeRecorded(t *testing.T) {
	r := newRecording(t, nil)
	if err := r.log.Close("this is as good as a broken disk"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cn, method string
		request    proto.Message
	}{
		{"admin", "KV/Put", &pb.PutRequest{Key: b("/a")}},
		{"admin", "Maintenance/Defragment", &pb.DefragmentRequest{}},
		{"team", "KV/Range", rangeOf("/other", "")},
		{"admin", "KV/NoSuch", &pb.PutRequest{}},
	} {
		seen, _, err := r.call(as(c.cn), c.method, c.request)
		if seen != nil {
			t.Errorf("%s reached etcd", c.method)
		}
		wantCode(t, err, codes.Unavailable, "audit log")
	}
	_, _, err := r.call(as("admin"), "KV/Range", rangeOf("/a", ""))
	wantCode(t, err, codes.Unavailable, "audit log")
}

func TestAnOutcomeThatCantBeRecordedIsUnknown(t *testing.T) {
	r := newRecording(t, nil)
	_, err := r.Unary(as("admin"), &pb.PutRequest{Key: b("/a")}, &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Put"},
		func(context.Context, any) (any, error) {
			_ = r.log.Close("between intent and outcome")
			return &pb.PutResponse{}, nil
		})
	wantCode(t, err, codes.Unavailable, "outcome unknown")
}

func TestUnrecordedRequestsAreCountedWhereTheOperatorServesThem(t *testing.T) {
	r := newRecording(t, func(c *audit.Config) { c.ServeUnrecorded = true })
	unrecorded := r.gather("etcdguard_audit_unrecorded_total")
	if unrecorded != 0 {
		t.Fatal(unrecorded)
	}
	if err := r.log.Close("this is as good as a broken disk"); err != nil {
		t.Fatal(err)
	}
	r.mustPass("admin", "KV/Put", &pb.PutRequest{Key: b("/a")})
	r.mustPass("admin", "KV/Range", rangeOf("/a", ""))
	r.mustDeny("team", "KV/Range", rangeOf("/other", ""))
	if n := r.gather("etcdguard_audit_unrecorded_total"); n != 3 {
		t.Errorf("%v requests were counted as unrecorded, want 3", n)
	}
}

func (r *recording) gather(name string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].GetCounter().GetValue() + f.Metric[0].GetGauge().GetValue()
		}
	}
	r.t.Fatalf("no metric %s", name)
	return 0
}

func TestValuesOfSealedAnswersAreCountedAsTheClientSeesThem(t *testing.T) {
	r := newRecording(t, nil)
	r.useRing(keyring.Static(testRing, keyring.Strict, firstKey))
	value := []byte("plaintext of 21 bytes")
	answer := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 9}, Kvs: []*mvccpb.KeyValue{{Key: b("/a"), Value: firstKey.Seal(nil, b("/a"), value)}}}
	if _, _, err := r.call(as("admin"), "KV/Range", rangeOf("/a", ""), answer); err != nil {
		t.Fatal(err)
	}
	e := r.since(0, 1)[0]
	if e.Keys != 1 || e.Bytes != int64(len(value)) || e.Rev != 9 {
		t.Errorf("recorded as %d keys, %d bytes at %d", e.Keys, e.Bytes, e.Rev)
	}
}

func TestAnAnswerThatIsDeniedIsOnRecord(t *testing.T) {
	r := newRecording(t, nil)
	r.SetPolicy(parsePolicy(t, strings.Replace(testPolicy, "keys: [{prefix: /team/}]}", "keys: [{prefix: /team/}], audit: none}", 1)))
	_, _, err := r.call(as("team"), "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 5, Keys: true},
		&pb.LeaseTimeToLiveResponse{ID: 5, Keys: [][]byte{b("/team/a"), b("/other")}})
	if err != errPermissionDenied {
		t.Fatal(err)
	}
	events := r.since(0, 1)
	e := events[0]
	if len(events) != 1 || e.Kind != "denied" || e.Decision != "denied" || e.Code != "PermissionDenied" || e.Lease != "5" ||
		len(e.Access) != 2 || e.Access[1]["key"] != "/other" {
		t.Errorf("on record is %+v", events)
	}
}
