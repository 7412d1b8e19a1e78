package prove

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/internal/signed"
	"github.com/etcdguard/etcdguard/pki"
)

// store is a member as the canary sees one: a front door, and files.
type store struct {
	pb.UnimplementedKVServer
	dir   string
	keeps func(key, value []byte) []byte // what reaches the file; nil bytes: nothing
	lies  bool                           // returns another value than was written
	stays bool                           // does not delete

	mu sync.Mutex
	kv map[string][]byte
}

func (s *store) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kv[string(r.Key)] = r.Value
	if s.lies {
		s.kv[string(r.Key)] = []byte("something else")
	}
	err := os.WriteFile(filepath.Join(s.dir, "member", "snap", "db"), s.keeps(r.Key, r.Value), 0o600)
	return &pb.PutResponse{}, err
}

func (s *store) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: r.Key, Value: s.kv[string(r.Key)]}}}, nil
}

func (s *store) DeleteRange(_ context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stays {
		return nil, status.Error(codes.Unavailable, "no leader")
	}
	delete(s.kv, string(r.Key))
	return &pb.DeleteRangeResponse{}, nil
}

// start serves s and describes it as a node.
func (s *store) start(t *testing.T) *attempt {
	t.Helper()
	dir := t.TempDir()
	s.dir, s.kv = filepath.Join(dir, "data"), map[string][]byte{}
	if err := os.MkdirAll(filepath.Join(s.dir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	ca, err := pki.NewAuthority(pki.Clients, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "ca")
	if err := ca.Save(file+".crt", file+".key"); err != nil {
		t.Fatal(err)
	}
	server, err := ca.Issue(pki.Profile{Use: pki.Server, Subject: pkix.Name{CommonName: "m1"}, IP: []net.IP{net.IPv4(127, 0, 0, 1)}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	admin, err := ca.Issue(pki.Profile{Use: pki.Client, Subject: pkix.Name{CommonName: "admin"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rpcs := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{server.TLS()}, ClientCAs: ca.CertPool(), ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	pb.RegisterKVServer(rpcs, s)
	go rpcs.Serve(l)
	t.Cleanup(rpcs.Stop)
	return &attempt{
		Node:    Node{Name: "m1", Client: l.Addr().String(), ClientCA: file + ".crt", Data: []string{s.dir}},
		Callers: Callers{Admin: admin},
	}
}

func TestCanary(t *testing.T) {
	sealed := func(key, value []byte) []byte { return append(key[:len(key):len(key)], "……"...) }
	tests := map[string]struct {
		store   *store
		doctor  func(*attempt)
		want    Result
		because string
	}{
		"sealed":                   {store: &store{keeps: sealed}, want: Held, because: "value nowhere in 1 files"},
		"stored as it came":        {store: &store{keeps: func(k, v []byte) []byte { return append(k[:len(k):len(k)], v...) }}, want: Failed, because: "in the clear in"},
		"half of it stored":        {store: &store{keeps: func(k, v []byte) []byte { return append(k[:len(k):len(k)], v[:len(v)/2+1]...) }}, want: Failed, because: "in the clear in"},
		"another value comes back": {store: &store{keeps: sealed, lies: true}, want: Failed, because: "did not come back"},
		"control: nothing of it reaches the files": {
			store: &store{keeps: func(_, _ []byte) []byte { return nil }}, want: NotTried, because: "did not appear",
		},
		"control: no files here":  {store: &store{keeps: sealed}, doctor: func(a *attempt) { a.Data = nil }, want: NotTried, because: "not on this machine"},
		"control: files are gone": {store: &store{keeps: sealed}, doctor: func(a *attempt) { a.Data = []string{a.Data[0] + "-gone"} }, want: NotTried, because: "no such file"},
		"it stays behind":         {store: &store{keeps: sealed, stays: true}, want: NotTried, because: "removing the canary"},
		"no member":               {store: &store{keeps: sealed}, doctor: func(a *attempt) { a.Client = "127.0.0.1:1" }, want: NotTried, because: "writing the canary"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tt.store
			a := s.start(t)
			if tt.doctor != nil {
				tt.doctor(a)
			}
			ctx := t.Context()
			if tt.because == "did not appear" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
			}
			f := stored[0].on(ctx, a)
			if f.Result != tt.want || !strings.Contains(f.Detail, tt.because) {
				t.Errorf("%s: %s; want %s, …%s…", f.Result, f.Detail, tt.want, tt.because)
			}
			if len(s.kv) > 0 && !s.stays {
				t.Error("the canary was left behind")
			}
		})
	}
}

func TestFindAcrossReads(t *testing.T) {
	dir := t.TempDir()
	n := needle{"it", []byte("0123456789")}
	for shift := range len(n.bytes) + 2 {
		content := append(make([]byte, 1<<20-shift), n.bytes...)
		if err := os.WriteFile(filepath.Join(dir, "f"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := find([]string{dir}, n)
		if err != nil || s.found["it"] == "" || s.bytes != int64(len(content)) || s.files != 1 {
			t.Errorf("%d bytes before the end of the first read: %+v %v", shift, s, err)
		}
	}
	if s, err := find([]string{dir}, needle{"other", []byte("01234567890")}); err != nil || len(s.found) != 0 {
		t.Errorf("found what is not there: %+v %v", s, err)
	}
}

func TestMerge(t *testing.T) {
	made := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	report := func(host, node string, disk Result) Report {
		return Report{Version: 1, Made: made, Host: host, Nodes: []string{"m1", "m2"}, NotLookedAt: notLookedAt, Findings: []Finding{
			{Claim: "door", Node: "m1", Result: Held}, {Claim: "door", Node: "m2", Result: Held},
			{Claim: "disk", Node: node, Result: disk}, {Claim: "disk", Node: map[string]string{"m1": "m2", "m2": "m1"}[node], Result: NotTried},
		}}
	}
	all, err := Merge(report("a", "m1", Held), report("b", "m2", Failed))
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Findings) != 4 || len(all.Failed()) != 1 || len(all.NotTried()) != 0 || all.Host != "a, b" || len(all.NotLookedAt) != len(notLookedAt) {
		t.Errorf("%+v", all)
	}
	if _, err := Merge(report("a", "m1", Held), report("b", "m1", Failed)); err == nil {
		t.Error("two reports contradict each other, and one was believed")
	}
	if _, err := Merge(); err == nil {
		t.Error("nothing was merged to something")
	}
	if _, err := Merge(Report{Version: 2}); err == nil {
		t.Error("a report of another version was read")
	}
}

func TestASignedReportIsReadOrRefused(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	public, err := signed.Generate(key, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	other, err := signed.Generate(key+"2", "node-2")
	if err != nil {
		t.Fatal(err)
	}
	made := wholeReport()
	made.Findings[0].Result = Failed
	note, err := made.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ReadReport(note, other, public); err != nil || len(r.Failed()) != 1 {
		t.Fatalf("control: %+v %v", r, err)
	}
	if _, err := ReadReport(note, other); err == nil {
		t.Error("a report of a stranger was taken")
	}
	if _, err := ReadReport(note); err == nil {
		t.Error("a signed report was taken for a plain one")
	}
	forged := bytes.Replace(note, []byte(`"failed"`), []byte(`"held"`), 1)
	if bytes.Equal(forged, note) {
		t.Fatal("nothing was forged")
	}
	if _, err := ReadReport(forged, public); err == nil {
		t.Error("a report that was changed was taken")
	}
	if _, err := ReadReport([]byte(`{"version":1,"verdict":"all is well"}`)); err == nil {
		t.Error("a field that no report has was passed over")
	}
}
