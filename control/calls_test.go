package control

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

// TestTheWholeWay is an operator's: up from plaintext, a new key, the old one gone,
// and down to plaintext.
func TestTheWholeWay(t *testing.T) {
	w := newWorld(t, keyring.Off, true)
	const values = 60
	for i := range values {
		w.put(fmt.Sprintf("/registry/secrets/%02d", i), "plain")
	}
	var reached PhaseResult
	w.must(etcdapi.SealPhase, PhaseRequest{To: keyring.Sealing}, &reached)
	if reached.Phase != keyring.Sealing {
		t.Fatalf("reached %v", reached.Phase)
	}
	w.refused(etcdapi.SealPhase, PhaseRequest{To: keyring.Strict}, "60 values are still stored in plaintext", "/registry/secrets/00", "seal reseal")
	w.refused(etcdapi.SealReseal, ResealRequest{ToPlaintext: true}, "written sealed")

	before, err := w.etcd.Get(ctx(t), "x")
	check(t, err)
	_, events, failure := w.ask(etcdapi.SealReseal, ResealRequest{DryRun: true})
	after, err := w.etcd.Get(ctx(t), "x")
	check(t, err)
	if cost := costIn(events); failure != nil || cost == nil || cost.Rewrites != values || before.Header.Revision != after.Header.Revision {
		t.Errorf("a dry run: %+v, %v, revision %d after %d", cost, failure, after.Header.Revision, before.Header.Revision)
	}
	var result reseal.Result
	w.must(etcdapi.SealReseal, ResealRequest{}, &result)
	if result.Rewritten != values {
		t.Errorf("%+v", result)
	}
	w.must(etcdapi.SealPhase, PhaseRequest{To: keyring.Strict}, &reached)

	var rotated RotateResult
	w.must(etcdapi.SealRotate, RotateRequest{}, &rotated)
	if rotated.Number != 2 {
		t.Fatalf("%+v", rotated)
	}
	w.refused(etcdapi.SealRetire, RetireRequest{2}, "active", "rotate")
	w.refused(etcdapi.SealRetire, RetireRequest{7}, "no data key 7")
	w.refused(etcdapi.SealRetire, RetireRequest{1}, "60 values are sealed under data key 1", "/registry/secrets/00", "reseal")
	w.must(etcdapi.SealReseal, ResealRequest{}, &result)
	w.refused(etcdapi.SealRetire, RetireRequest{1}, "60 revisions that are kept", "/registry/secrets/00", "compact to the present revision")
	now, err := w.etcd.Get(ctx(t), "x")
	check(t, err)
	_, err = w.etcd.Compact(ctx(t), now.Header.Revision, clientv3.WithCompactPhysical())
	check(t, err)

	w.must(etcdapi.SealBackups, BackupsRequest{Action: "add", Name: "monday"}, nil)
	w.must(etcdapi.SealBackups, BackupsRequest{Action: "add", Name: "old", Until: time.Now().Add(-time.Hour)}, nil)
	w.refused(etcdapi.SealBackups, BackupsRequest{Action: "add", Name: "monday"}, "already")
	w.refused(etcdapi.SealBackups, BackupsRequest{Action: "add", Name: "../ring"}, "letters")
	w.refused(etcdapi.SealBackups, BackupsRequest{Action: "add", Name: "x", Keys: []seal.KeyNumber{9}}, "no data key 9")
	w.refused(etcdapi.SealRetire, RetireRequest{1}, `"monday"`, "forget")
	w.must(etcdapi.SealBackups, BackupsRequest{Action: "forget", Name: "monday"}, nil)
	w.refused(etcdapi.SealBackups, BackupsRequest{Action: "forget", Name: "monday"}, "no backup")

	w.keeper.status.Members = append(w.keeper.status.Members, keyring.MemberStatus{Name: "m2"})
	w.refused(etcdapi.SealRetire, RetireRequest{1}, "m2")
	w.keeper.status.Members = w.keeper.status.Members[:1]
	w.must(etcdapi.SealRetire, RetireRequest{1}, nil)
	if len(w.keeper.status.Keys) != 1 {
		t.Errorf("keys %+v", w.keeper.status.Keys)
	}

	w.refused(etcdapi.SealPhase, PhaseRequest{To: keyring.Off}, "60 values are still sealed", "--to-plaintext")
	w.refused(etcdapi.SealReseal, ResealRequest{}, "written in plaintext in phase can-open", "--to-plaintext")
	w.must(etcdapi.SealReseal, ResealRequest{ToPlaintext: true}, &result)
	w.must(etcdapi.SealPhase, PhaseRequest{To: keyring.Off}, &reached)
	found, err := w.etcd.Get(ctx(t), "/", clientv3.WithPrefix())
	check(t, err)
	for _, kv := range found.Kvs {
		if string(kv.Value) != "plain" {
			t.Errorf("%s is not as it was", kv.Key)
		}
	}
	if len(found.Kvs) != values || reached.Phase != keyring.Off {
		t.Errorf("%d values in phase %v", len(found.Kvs), reached.Phase)
	}
}

func costIn(events []Event) *reseal.Cost {
	for _, e := range events {
		if e.Cost != nil {
			return e.Cost
		}
	}
	return nil
}

// TestNoNewRingOverSealedData: it means that the ring was lost.
func TestNoNewRingOverSealedData(t *testing.T) {
	w := newWorld(t, keyring.Off, true)
	lost := seal.NewKey(seal.RingID{9}, 1, &[32]byte{})
	w.put("/a", string(lost.Seal(nil, []byte("/a"), []byte("v"))))
	w.refused(etcdapi.SealPhase, PhaseRequest{To: keyring.CanOpen}, "1 stored values begin", "ring import")
	if w.keeper.status.Ring != nil {
		t.Error("a ring was made")
	}
}

func TestQuarantineHoldsOffBack(t *testing.T) {
	w := newWorld(t, keyring.CanOpen, true)
	lost := seal.NewKey(seal.RingID{9}, 1, &[32]byte{})
	at := w.put("/a", string(lost.Seal(nil, []byte("/a"), []byte("v"))))
	w.refused(etcdapi.SealPhase, PhaseRequest{To: keyring.Off}, "1 value is still sealed", "/a")
	var list QuarantineList
	w.must(etcdapi.SealQuarantine, QuarantineRequest{Action: "list"}, &list)
	if len(list.Unopenable) != 1 || string(list.Unopenable[0].Key) != "/a" || list.Unopenable[0].ModRevision != at || len(list.Quarantined) != 0 {
		t.Fatalf("%+v", list)
	}
	for _, bad := range []QuarantineRequest{{Action: "move"}, {Action: "move", Key: []byte("/a")}, {Action: "move", Key: []byte("/a"), ModRevision: at - 1},
		{Action: "throw", Key: []byte("/a"), ModRevision: at}, {}} {
		w.refused(etcdapi.SealQuarantine, bad)
	}
	w.must(etcdapi.SealQuarantine, QuarantineRequest{Action: "move", Key: []byte("/a"), ModRevision: at}, nil)
	w.refused(etcdapi.SealPhase, PhaseRequest{To: keyring.Off}, "in quarantine", "restore or drop")
	answer := httptest.NewRecorder()
	w.h.ServeHTTP(answer, httptest.NewRequest("GET", etcdapi.AdminPath(etcdapi.SealStatus), nil))
	var status Status
	check(t, json.Unmarshal(answer.Body.Bytes(), &status))
	if status.Quarantined != 1 || status.Sizes.Quota == 0 || status.Phase != keyring.CanOpen {
		t.Errorf("%+v", status)
	}
	w.must(etcdapi.SealQuarantine, QuarantineRequest{Action: "drop", Key: []byte("/a"), ModRevision: at}, nil)
	w.must(etcdapi.SealPhase, PhaseRequest{To: keyring.Off}, nil)
}

// TestWhatAMemberCannotTellItDoesNotTell: with its ring shut everything would look
// broken.
func TestWhatAMemberCannotTellItDoesNotTell(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	w.keeper.status.Refusal = "its provider is away"
	w.refused(etcdapi.SealQuarantine, QuarantineRequest{Action: "list"}, "its provider is away", "another member")
}

func TestTheReservedSpaceIsNobodysPrefix(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	w.put(keyring.DocumentKey, "the ring")
	w.refused(etcdapi.SealReseal, ResealRequest{Prefix: keyring.ReservedPrefix}, "own space")
	w.refused(etcdapi.SealReseal, ResealRequest{Prefix: keyring.ReservedPrefix, DryRun: true}, "own space")
	w.refused(etcdapi.SealCount, CountRequest{Prefix: "\x00"}, "own space")
	w.refused(etcdapi.SealReseal, ResealRequest{Rate: -1}, "rate")
}

// TestACallStopsWithItsCaller: what is left when the caller is gone is nothing.
func TestACallStopsWithItsCaller(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	w.keeper.stuck = make(chan struct{})
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.h.ServeHTTP(rw, r)
	}))
	defer server.Close()
	r, err := http.NewRequest("POST", server.URL+etcdapi.AdminPath(etcdapi.SealRotate), strings.NewReader("{}"))
	check(t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	check(t, err)
	lines := make([]byte, 4096)
	_, err = answer.Body.Read(lines)
	check(t, err)
	answer.Body.Close()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the call goes on without its caller")
	}
}

// TestALongCallOutlivesTheServersDeadlines, and says that it lives.
func TestALongCallOutlivesTheServersDeadlines(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	w.keeper.stuck = make(chan struct{})
	server := httptest.NewUnstartedServer(w.h)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	server.Start()
	defer server.Close()
	r, err := http.NewRequest("POST", server.URL+etcdapi.AdminPath(etcdapi.SealRotate), strings.NewReader("{}"))
	check(t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	check(t, err)
	defer answer.Body.Close()
	go func() { time.Sleep(1200 * time.Millisecond); close(w.keeper.stuck) }()
	var result RotateResult
	beats := 0
	if err := readEvents(answer.Body, &result, func(e Event) {
		if e.Line == "" {
			beats++
		}
	}); err != nil || result.Number != 2 || beats == 0 {
		t.Errorf("%+v after %d beats: %v", result, beats, err)
	}
}

func TestOnlySoManyCallsAtOnce(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	w.keeper.stuck = make(chan struct{})
	server := httptest.NewServer(w.h)
	defer server.Close()
	for range maxCalls {
		r, err := http.NewRequest("POST", server.URL+etcdapi.AdminPath(etcdapi.SealRotate), strings.NewReader("{}"))
		check(t, err)
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r) // returns with the first line
		check(t, err)
		defer answer.Body.Close()
	}
	w.refused(etcdapi.SealCount, CountRequest{}, "enough calls")
	close(w.keeper.stuck)
}

// TestNoAnswerShowsAValue makes every call on values that must not be seen.
func TestNoAnswerShowsAValue(t *testing.T) {
	const secret = "correct-horse-battery"
	w := newWorld(t, keyring.Sealing, true)
	w.put("/registry/secrets/a", secret)
	w.put("/marked", "\xe5eg"+secret)
	all := ""
	for _, call := range []struct {
		action  etcdapi.Action
		request any
	}{
		{etcdapi.SealCount, CountRequest{}}, {etcdapi.SealPhase, PhaseRequest{To: keyring.Strict}},
		{etcdapi.SealReseal, ResealRequest{DryRun: true}}, {etcdapi.SealReseal, ResealRequest{}},
		{etcdapi.SealQuarantine, QuarantineRequest{Action: "list"}}, {etcdapi.SealRotate, RotateRequest{}},
		{etcdapi.SealRetire, RetireRequest{1}}, {etcdapi.SealBackups, BackupsRequest{Action: "list"}},
	} {
		body, err := json.Marshal(call.request)
		check(t, err)
		r := httptest.NewRequest("POST", etcdapi.AdminPath(call.action), strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		w.h.ServeHTTP(answer, r)
		text, err := io.ReadAll(answer.Body)
		check(t, err)
		all += string(text)
	}
	if !strings.Contains(all, "/registry/secrets/a") {
		t.Error("nothing was asked about the value")
	}
	if strings.Contains(all, secret) || strings.Contains(w.log.String(), secret) {
		t.Errorf("the value is shown:\n%s\n%s", all, w.log.String())
	}
}
