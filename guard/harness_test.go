package guard

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/policy"
)

// testPolicy names the callers of this package's tests.
const testPolicy = `
apiVersion: etcdguard.dev/v1
kind: Policy
callers:
  - {name: admin, match: {cn: [admin]}}
  - {name: apiserver, match: {cn: [apiserver]}}
  - {name: team, match: {cn: [team]}}
  - {name: writer, match: {cn: [writer]}}
  - {name: bounded, match: {cn: [bounded]}, limits: {keysPerRange: 10, valueBytes: 5, watchers: 1, inFlight: 1}}
rules:
  - {name: admin, callers: [admin], role: admin}
  - {name: apiserver, callers: [apiserver], role: kube-apiserver, compactionAge: 1m}
  - {name: team, callers: [team], actions: [KV.Range, KV.Put, KV.DeleteRange, Watch.Watch, "Lease.*"], keys: [{prefix: /team/}]}
  - {name: writer, callers: [writer], actions: [KV.Put, KV.DeleteRange, "Lease.*"], keys: [{prefix: /team/}]}
  - {name: bounded, callers: [bounded], actions: ["*"], keys: [{all: true}]}
`

// fixture is a guard before an etcd that does nothing.
type fixture struct {
	*Guard
	t        testing.TB
	etcd     *fakeEtcd
	log      *syncBuffer
	registry *prometheus.Registry
	clock    time.Time
}

type fakeEtcd struct {
	revision int64
	leases   map[int64][]string
	lookedUp func() // called at each look-up of a lease; may be nil
}

func (f *fakeEtcd) Header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 1, MemberId: 2, Revision: f.revision, RaftTerm: 3}
}

func (f *fakeEtcd) EntryHeader(context.Context) *pb.RequestHeader {
	return &pb.RequestHeader{ID: 1 << 63}
}

func (f *fakeEtcd) ClientLeases(context.Context) (*pb.LeaseLeasesResponse, error) {
	return &pb.LeaseLeasesResponse{}, nil
}

func (f *fakeEtcd) HasMember(id uint64) bool { return id == 1 }

func (f *fakeEtcd) LeaseKeys(_ context.Context, id int64) (keys [][]byte, err error) {
	if f.lookedUp != nil {
		f.lookedUp()
	}
	for _, k := range f.leases[id] {
		keys = append(keys, []byte(k))
	}
	return keys, nil
}

// syncBuffer is a log that goroutines share.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, etcd: &fakeEtcd{revision: 100, leases: map[int64][]string{}}, log: &syncBuffer{},
		registry: prometheus.NewRegistry(), clock: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	metrics, err := NewMetrics(f.registry)
	if err != nil {
		t.Fatal(err)
	}
	f.Guard = New(Config{
		Policy:  parsePolicy(t, testPolicy),
		Etcd:    f.etcd,
		Log:     slog.New(slog.NewTextHandler(f.log, nil)),
		Metrics: metrics,
		Now:     func() time.Time { return f.clock },
	})
	f.SetReady(true)
	return f
}

func parsePolicy(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// as is the context of a request on a connection of cn; "" is anonymous.
func as(cn string) context.Context {
	p := &certs.Peer{Address: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}}
	if cn != "" {
		p.Certificates = []*x509.Certificate{{
			Subject: pkix.Name{CommonName: cn}, SerialNumber: big.NewInt(7), RawSubjectPublicKeyInfo: []byte(cn),
		}}
	}
	return peer.NewContext(context.Background(), &peer.Peer{Addr: &certs.Addr{Addr: p.Address, Peer: p}})
}

// call sends a request through the guard; seen is what etcd got, nil if nothing.
func (f *fixture) call(ctx context.Context, method string, request proto.Message, answer ...any) (seen proto.Message, got any, err error) {
	f.t.Helper()
	got, err = f.Unary(ctx, request, &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb." + method},
		func(_ context.Context, r any) (any, error) {
			seen = r.(proto.Message)
			if len(answer) > 0 {
				return answer[0], nil
			}
			return &pb.PutResponse{}, nil
		})
	return seen, got, err
}

// mustPass sends a request that etcd must get.
func (f *fixture) mustPass(cn, method string, request proto.Message) proto.Message {
	f.t.Helper()
	seen, _, err := f.call(as(cn), method, request)
	if err != nil || seen == nil {
		f.t.Errorf("%s may not %s %v: %v", cn, method, request, err)
	}
	return seen
}

// mustDeny sends a request that etcd must not get, and that is answered in etcd's
// words.
func (f *fixture) mustDeny(cn, method string, request proto.Message) {
	f.t.Helper()
	seen, _, err := f.call(as(cn), method, request)
	if seen != nil {
		f.t.Errorf("%s's %s %v reached etcd", cn, method, request)
	}
	if err != errPermissionDenied {
		f.t.Errorf("%s's %s %v: got %v, want %v", cn, method, request, err, errPermissionDenied)
	}
}

// counted is the value of etcdguard_decisions_total.
func (f *fixture) counted(caller, action, result string) float64 {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	total := 0.0
	for _, family := range families {
		if family.GetName() != "etcdguard_decisions_total" {
			continue
		}
		for _, m := range family.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["caller"] == caller && labels["action"] == action && labels["result"] == result {
				total += m.Counter.GetValue()
			}
		}
	}
	return total
}

func wantCode(t *testing.T, err error, code codes.Code, parts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("got %v, want code %v", err, code)
	}
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
}

func newMessage(name protoreflect.FullName) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		panic(err)
	}
	return t.New().Interface()
}
