package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/internal/difftest/stock"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

var ringID = seal.RingID{1, 2, 3}

// fakeKeeper is a keeper of one member that is always asked in time.
type fakeKeeper struct {
	mu     sync.Mutex
	status keyring.Status
	keys   map[seal.KeyNumber]*seal.Key
	static *keyring.Ring
	stuck  chan struct{} // Activate waits for it, where it is not nil
}

func newKeeper(phase keyring.Phase, configured bool) *fakeKeeper {
	k := &fakeKeeper{keys: map[seal.KeyNumber]*seal.Key{}}
	k.status = keyring.Status{Configured: configured, Members: []keyring.MemberStatus{{Name: "m1", Guarded: true, Confirmed: true}}}
	if phase > keyring.Off {
		k.begin(phase)
	}
	return k
}

func (k *fakeKeeper) begin(phase keyring.Phase) {
	k.status.Ring = &ringID
	k.add(keyring.Active)
	k.set(phase)
}

func (k *fakeKeeper) add(state keyring.KeyState) seal.KeyNumber {
	n := seal.KeyNumber(len(k.keys) + 1)
	k.keys[n] = seal.NewKey(ringID, n, &[32]byte{byte(n)})
	k.status.Keys = append(k.status.Keys, keyring.KeyStatus{Number: n, State: state})
	return n
}

func (k *fakeKeeper) set(phase keyring.Phase) {
	k.status.Phase = phase
	k.status.Generation++
	k.status.InForce = k.status.Generation
	var keys []*seal.Key
	for _, s := range k.status.Keys {
		if s.State != keyring.Prepare {
			keys = append(keys, k.keys[s.Number])
		}
	}
	k.static = keyring.Static(ringID, phase, keys...)
}

func (k *fakeKeeper) Ring() *keyring.Ring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.static
}

func (k *fakeKeeper) Document() *keyring.Document { return nil }
func (k *fakeKeeper) Status(context.Context) (keyring.Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.status
	s.Keys = slices.Clone(s.Keys)
	return s, nil
}

func (k *fakeKeeper) Step(ctx context.Context, to keyring.Phase, check func(context.Context) error, report func(string)) error {
	for now := k.status.Phase; now != to; now = k.status.Phase {
		next := now + 1
		if to < now {
			next = now - 1
		}
		if next == keyring.Strict || next == keyring.Off {
			if err := check(ctx); err != nil {
				return fmt.Errorf("going to phase %v: %w", next, err)
			}
		}
		k.mu.Lock()
		if k.status.Ring == nil {
			k.begin(next)
		}
		k.set(next)
		k.mu.Unlock()
		report("phase " + next.String())
	}
	return nil
}

func (k *fakeKeeper) AddKey(context.Context) (seal.KeyNumber, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.add(keyring.Prepare), nil
}

func (k *fakeKeeper) Activate(ctx context.Context, n seal.KeyNumber, report func(string)) error {
	if k.stuck != nil {
		report("waiting for m3")
		select {
		case <-k.stuck:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.status.Keys {
		if k.status.Keys[i].State == keyring.Active {
			k.status.Keys[i].State = keyring.Retired
		}
		if k.status.Keys[i].Number == n {
			k.status.Keys[i].State = keyring.Active
		}
	}
	k.set(k.status.Phase)
	return nil
}

func (k *fakeKeeper) Remove(_ context.Context, n seal.KeyNumber, _ func(string)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.Keys = slices.DeleteFunc(k.status.Keys, func(s keyring.KeyStatus) bool { return s.Number == n })
	k.set(k.status.Phase)
	return nil
}

// realEtcd is a stock etcd as the handler's, reached as a client.
type realEtcd struct {
	*clientv3.Client
	kv pb.KVClient
}

func newEtcd(t testing.TB) realEtcd {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{stock.Start(t, stock.Config{})}, Logger: zap.NewNop()})
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return realEtcd{c, pb.NewKVClient(c.ActiveConnection())}
}

func (e realEtcd) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return e.kv.Range(ctx, r)
}

func (e realEtcd) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return e.kv.Txn(ctx, r)
}

func (e realEtcd) Sizes() reseal.Sizes {
	return reseal.Sizes{File: 1 << 20, InUse: 1 << 19, Quota: 2 << 30}
}

// EachRevision watches from the oldest revision on.
func (e realEtcd) EachRevision(ctx context.Context, each func(*mvccpb.KeyValue, bool) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	now, err := e.Get(ctx, "x")
	if err != nil {
		return err
	}
	w := e.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(1))
	for at := int64(1); at < now.Header.Revision; {
		r := <-w
		if r.CompactRevision > 0 {
			w = e.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(r.CompactRevision))
			continue
		}
		if r.Err() != nil {
			return r.Err()
		}
		for _, event := range r.Events {
			at = event.Kv.ModRevision
			if err := each(event.Kv, event.Type == clientv3.EventTypeDelete); err != nil {
				return err
			}
		}
	}
	return nil
}

type world struct {
	t      *testing.T
	keeper *fakeKeeper
	etcd   realEtcd
	h      *Handler
	log    strings.Builder
}

func newWorld(t *testing.T, phase keyring.Phase, configured bool) *world {
	w := &world{t: t, keeper: newKeeper(phase, configured), etcd: newEtcd(t)}
	w.h = NewHandler(Config{Keeper: w.keeper, Etcd: w.etcd, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Caller: func(*http.Request) string { return "the caller" }, Beat: 10 * time.Millisecond})
	return w
}

func (w *world) put(name, value string) int64 {
	w.t.Helper()
	r, err := w.etcd.Put(ctx(w.t), name, value)
	check(w.t, err)
	return r.Header.Revision
}

// ask makes a call and returns its status and its events.
func (w *world) ask(action etcdapi.Action, request any) (int, []Event, *Error) {
	w.t.Helper()
	body, err := json.Marshal(request)
	check(w.t, err)
	r := httptest.NewRequestWithContext(ctx(w.t), "POST", etcdapi.AdminPath(action), strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.h.ServeHTTP(answer, r)
	if answer.Code != http.StatusOK {
		return answer.Code, nil, readError(answer.Result()).(*Error)
	}
	var events []Event
	err = readEvents(answer.Body, nil, func(e Event) { events = append(events, e) })
	var failure *Error
	if err != nil && !errors.As(err, &failure) {
		w.t.Fatal(err)
	}
	return answer.Code, events, failure
}

// must makes a call that has to succeed and fills result.
func (w *world) must(action etcdapi.Action, request, result any) {
	w.t.Helper()
	body, err := json.Marshal(request)
	check(w.t, err)
	r := httptest.NewRequestWithContext(ctx(w.t), "POST", etcdapi.AdminPath(action), strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.h.ServeHTTP(answer, r)
	if err := readEvents(answer.Body, result, nil); err != nil || answer.Code != http.StatusOK {
		w.t.Fatalf("%v %+v: %d, %v", action, request, answer.Code, err)
	}
}

// refused makes a call that has to fail with words in its error and its hint.
func (w *world) refused(action etcdapi.Action, request any, words ...string) {
	w.t.Helper()
	_, _, failure := w.ask(action, request)
	if failure == nil {
		w.t.Errorf("%v %+v: was done", action, request)
		return
	}
	for _, word := range words {
		if !strings.Contains(failure.Message+" | "+failure.Fix, word) {
			w.t.Errorf("%v %+v: %q (%s) does not say %q", action, request, failure.Message, failure.Fix, word)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return c
}

// TestWhatABrowserOrACarelessClientSendsIsRefused goes over everything before a call.
func TestWhatABrowserOrACarelessClientSendsIsRefused(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	const good = `{"to":"strict"}`
	for _, test := range []struct {
		name, method, kind, body string
		header                   [2]string
		want                     int
	}{
		{"as it should be", "POST", "application/json", good, [2]string{}, 200},
		{"with a charset", "POST", "application/json; charset=utf-8", good, [2]string{}, 200},
		{"GET", "GET", "application/json", good, [2]string{}, 405},
		{"OPTIONS, which asks before a foreign page's request", "OPTIONS", "", "", [2]string{"Origin", "https://evil.example"}, 405},
		{"no content type", "POST", "", good, [2]string{}, 415},
		{"a form's", "POST", "text/plain", good, [2]string{}, 415},
		{"another form's", "POST", "application/x-www-form-urlencoded", good, [2]string{}, 415},
		{"from a page", "POST", "application/json", good, [2]string{"Origin", "null"}, 403},
		{"by a browser", "POST", "application/json", good, [2]string{"Sec-Fetch-Site", "none"}, 403},
		{"an unknown field", "POST", "application/json", `{"to":"strict","force":true}`, [2]string{}, 400},
		{"an unknown phase", "POST", "application/json", `{"to":"stricter"}`, [2]string{}, 400},
		{"a number for a phase", "POST", "application/json", `{"to":3}`, [2]string{}, 400},
		{"two requests", "POST", "application/json", good + good, [2]string{}, 400},
		{"nothing", "POST", "application/json", ``, [2]string{}, 400},
		{"half of it", "POST", "application/json", `{"to":`, [2]string{}, 400},
		{"too much", "POST", "application/json", `{"to":"` + strings.Repeat("x", MaxRequest) + `"}`, [2]string{}, 413},
	} {
		r := httptest.NewRequest(test.method, etcdapi.AdminPath(etcdapi.SealPhase), strings.NewReader(test.body))
		if test.kind != "" {
			r.Header.Set("Content-Type", test.kind)
		}
		if test.header[0] != "" {
			r.Header.Set(test.header[0], test.header[1])
		}
		answer := httptest.NewRecorder()
		w.h.ServeHTTP(answer, r)
		if answer.Code != test.want {
			t.Errorf("%s: %d, want %d: %s", test.name, answer.Code, test.want, answer.Body)
		}
		for name := range answer.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s is sent", test.name, name)
			}
		}
	}
	for _, path := range []string{"/etcdguard/v1/", "/etcdguard/v1/seal/none", "/etcdguard/v1/seal/phase/"} {
		answer := httptest.NewRecorder()
		w.h.ServeHTTP(answer, httptest.NewRequest("POST", path, nil))
		if answer.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, answer.Code)
		}
	}
	for _, action := range []etcdapi.Action{etcdapi.SealStatus, etcdapi.RingExport} {
		answer := httptest.NewRecorder()
		w.h.ServeHTTP(answer, httptest.NewRequest("POST", etcdapi.AdminPath(action), nil))
		if answer.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST of %v: %d", action, answer.Code)
		}
	}
}

// TestEveryActionIsServed: a path that the guard lets through and nobody serves, or
// the other way round, is a mistake.
func TestEveryActionIsServed(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	n := 0
	for _, a := range etcdapi.Actions() {
		path := etcdapi.AdminPath(a)
		if path == "" {
			continue
		}
		n++
		answer := httptest.NewRecorder()
		w.h.ServeHTTP(answer, httptest.NewRequest("PUT", path, nil))
		if answer.Code != http.StatusMethodNotAllowed {
			t.Errorf("%v at %s: %d", a, path, answer.Code)
		}
	}
	if n < 9 {
		t.Errorf("only %d actions", n)
	}
}

func TestAMemberThatIsNotConfiguredSaysSo(t *testing.T) {
	w := newWorld(t, keyring.Off, false)
	for action, request := range map[etcdapi.Action]any{
		etcdapi.SealPhase: PhaseRequest{To: keyring.Strict}, etcdapi.SealRotate: RotateRequest{},
		etcdapi.SealRetire: RetireRequest{1}, etcdapi.SealReseal: ResealRequest{},
		etcdapi.SealBackups: BackupsRequest{Action: "add", Name: "a"},
	} {
		w.refused(action, request, "not configured for sealing", "sealing:")
	}
	if !strings.Contains(w.log.String(), "the caller") || !strings.Contains(w.log.String(), "call=phase") {
		t.Errorf("who asked for what is not in the log:\n%s", w.log.String())
	}
}

// TestRequestsAreReadStrictly goes over every call: what is no object of its own
// fields, each once, is none.
func TestRequestsAreReadStrictly(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	for _, a := range etcdapi.Actions() {
		path := etcdapi.AdminPath(a)
		if path == "" || a == etcdapi.SealStatus || a == etcdapi.RingExport {
			continue
		}
		for _, body := range []string{`null`, ` null `, `[]`, `"x"`, `{"nobody":1}`, `{"number":1,"number":1}`, `{"dryRun":true,"DRYRUN":false}`,
			`{"action":"list","Action":"drop"}`, `{}{}`, `{} x`, `{"to":"strict"}}`, ``} {
			r := httptest.NewRequest("POST", path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			w.h.ServeHTTP(answer, r)
			if answer.Code != http.StatusBadRequest {
				t.Errorf("%v %s: %d, %s", a, body, answer.Code, answer.Body)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"prefix":"/a","dryRun":true}`, `{"prefix":"/a","prefix":"/b"}`, `null`, `{"rate":1e99}`, `{"a":{"a":[{}]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, failure := decode[ResealRequest](strings.NewReader(string(data)))
		if failure != nil {
			return
		}
		again, err := json.Marshal(r)
		check(t, err)
		if same, failure := decode[ResealRequest](strings.NewReader(string(again))); failure != nil || same != r {
			t.Errorf("%q is %+v, and that is %+v (%v)", data, r, same, failure)
		}
	})
}
