package prove

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/seal"
)

// dataDir makes a data directory whose database holds the values, by key.
func dataDir(t *testing.T, values map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	snap := filepath.Join(dir, "member", "snap")
	if err := os.MkdirAll(snap, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(filepath.Join(snap, "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("key"))
		if err != nil {
			return err
		}
		revision := int64(1)
		for name, value := range values {
			revision++
			kv, err := proto.Marshal(&mvccpb.KeyValue{Key: []byte(name), Value: value, CreateRevision: revision, ModRevision: revision, Version: 1})
			if err != nil {
				return err
			}
			key := append(binary.BigEndian.AppendUint64(nil, uint64(revision)), '_')
			if err := b.Put(binary.BigEndian.AppendUint64(key, 0), kv); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func claimNamed(t *testing.T, begins string) claim {
	t.Helper()
	for _, c := range stored {
		if strings.HasPrefix(c.name, begins) {
			return c
		}
	}
	t.Fatalf("no claim begins with %q", begins)
	return claim{}
}

func TestNothingInTheClear(t *testing.T) {
	key := seal.NewKey(seal.RingID{1}, 1, &[32]byte{2})
	sealed := key.Seal(nil, []byte("/a"), []byte("a value of some length"))
	secret := []byte(`{"kind":"Secret","apiVersion":"v1","data":{"password":"cGFzc3dvcmQ="}}`)
	tests := map[string]struct {
		data    func() []string
		want    Result
		because string
	}{
		"sealed":             {func() []string { return []string{dataDir(t, map[string][]byte{"/a": sealed})} }, Held, "1 sealed values"},
		"one is not":         {func() []string { return []string{dataDir(t, map[string][]byte{"/a": sealed, "/b": secret})} }, Failed, "plaintext"},
		"control: empty":     {func() []string { return []string{dataDir(t, nil)} }, NotTried, "no sealed value was found"},
		"control: not there": {func() []string { return []string{t.TempDir() + "/gone"} }, NotTried, "does not exist"},
		"control: not here":  {func() []string { return nil }, NotTried, "not on this machine"},
	}
	for name, tt := range tests {
		f := claimNamed(t, "nothing is left").on(t.Context(), &attempt{Node: Node{Name: "m1", Data: tt.data()}})
		if f.Result != tt.want || !strings.Contains(f.Detail, tt.because) {
			t.Errorf("%s: %s: %s; want %s, …%s…", name, f.Result, f.Detail, tt.want, tt.because)
		}
		if strings.Contains(f.Detail, "cGFzc3dvcmQ") {
			t.Errorf("%s: a value is in the report", name)
		}
	}
}

func TestEveryMemberSeals(t *testing.T) {
	settling = 0
	t.Cleanup(func() { settling = 20 * time.Second })
	good := func() control.Status {
		return control.Status{Status: keyring.Status{
			Configured: true, Ring: &seal.RingID{1}, Generation: 3, Phase: keyring.Strict,
			Providers: []keyring.ProviderStatus{{Name: "local", Healthy: true}},
			Members: []keyring.MemberStatus{
				{Name: "m1", Guarded: true, Confirmed: true}, {Name: "m2", Guarded: true, Confirmed: true},
			},
		}}
	}
	tests := map[string]struct {
		doctor  func(*control.Status)
		answer  int
		want    Result
		because string
	}{
		"as it should be":  {nil, 200, Held, "2 members"},
		"not strict":       {func(s *control.Status) { s.Phase = keyring.Sealing }, 200, Failed, "the phase is sealing"},
		"it refuses":       {func(s *control.Status) { s.Refusal = "can't open the ring" }, 200, Failed, "can't open the ring"},
		"a stock etcd":     {func(s *control.Status) { s.Members[1].Guarded, s.Members[1].Unguarded = false, true }, 200, Failed, "m2 runs without etcdguard"},
		"one is behind":    {func(s *control.Status) { s.Members[1].Confirmed = false }, 200, Failed, "m2 has not acknowledged generation 3"},
		"provider is down": {func(s *control.Status) { s.Providers[0].Healthy = false; s.Providers[0].Problem = "gone" }, 200, Failed, "key provider local: gone"},
		"no provider":      {func(s *control.Status) { s.Providers = nil }, 200, Failed, "no key provider that works"},
		"no members":       {func(s *control.Status) { s.Members = nil }, 200, Failed, "names no member"},
		"does not say":     {nil, 404, Failed, "404"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := good()
			if tt.doctor != nil {
				tt.doctor(&s)
			}
			f := claimNamed(t, "every member seals").on(t.Context(), answers(t, tt.answer, s))
			if f.Result != tt.want || !strings.Contains(f.Detail, tt.because) {
				t.Errorf("%s: %s; want %s, …%s…", f.Result, f.Detail, tt.want, tt.because)
			}
		})
	}
	gone := answers(t, 200, good())
	gone.Client = "127.0.0.1:1"
	if f := claimNamed(t, "every member seals").on(t.Context(), gone); f.Result != NotTried {
		t.Errorf("no member: %+v", f)
	}
}

// answers is a node whose client port answers every request so.
func answers(t *testing.T, code int, body any) *attempt {
	t.Helper()
	ca, err := pki.NewAuthority(pki.Clients, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca")
	if err := ca.Save(file+".crt", file+".key"); err != nil {
		t.Fatal(err)
	}
	issue := func(p pki.Profile) *pki.Leaf {
		leaf, err := ca.Issue(p, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	server := issue(pki.Profile{Use: pki.Server, Subject: pkix.Name{CommonName: "m1"}, IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{server.TLS()}})
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	})}
	go web.Serve(l)
	t.Cleanup(func() { web.Close() })
	return &attempt{
		Node:    Node{Name: "m1", Client: l.Addr().String(), ClientCA: file + ".crt"},
		Callers: Callers{Admin: issue(pki.Profile{Use: pki.Client, Subject: pkix.Name{CommonName: "admin"}})},
	}
}
