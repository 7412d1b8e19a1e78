package member

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

// newTrio is the files of three members of one cluster.
func newTrio(t *testing.T) []*world {
	one := newWorld(t)
	all := []*world{one, one.newMember("m2"), one.newMember("m3")}
	var initial []string
	for _, w := range all {
		initial = append(initial, w.name+"=https://"+w.peerAddr)
	}
	for _, w := range all {
		w.cluster = strings.Join(initial, ",")
	}
	return all
}

// together starts all members of a cluster, none of which is ready without the rest.
func together(t *testing.T, all ...*world) (members []*Member) {
	t.Helper()
	var start []func() <-chan *Member
	for _, w := range all {
		start = append(start, w.prepare())
	}
	var started []<-chan *Member
	for _, f := range start {
		started = append(started, f())
	}
	for _, s := range started {
		m := <-s
		if m == nil {
			t.FailNow()
		}
		members = append(members, m)
	}
	return members
}

func TestThreeMembersAreStrictFromBirthWithOneRing(t *testing.T) {
	all := newTrio(t)
	for _, w := range all {
		if w == all[0] {
			w.seals()
			continue
		}
		w.seals(all[0])
	}
	members := together(t, all...)
	_, err := all[0].client("admin").Put(withTimeout(t), "/w/a", "one secret for all")
	check(t, err)
	ring := sealStatus(t, members[0]).Ring
	for i, w := range all {
		got, err := w.client("admin").Get(withTimeout(t), "/w/a")
		check(t, err)
		if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "one secret for all" {
			t.Errorf("%s reads %v", w.name, got.Kvs)
		}
		eventually(t, "every member's word", func() bool {
			s := sealStatus(t, members[i])
			confirmed := 0
			for _, m := range s.Members {
				if m.Confirmed {
					confirmed++
				}
			}
			return s.Phase == keyring.Strict && *s.Ring == *ring && confirmed == 3
		})
		if d, err := keyring.ReadMirror(w.file("data/etcdguard-ring.json")); err != nil || d == nil || d.Ring != *ring {
			t.Errorf("%s has the mirror %v, %v", w.name, d, err)
		}
	}
}

// The client port of a member that can't open its ring says so; the member is alive
// and votes.
func TestAMemberThatWaitsForItsKeysKeepsItsDoorShut(t *testing.T) {
	w := newWorld(t).seals()
	metrics := freeAddress(t)
	m := w.start("listen-metrics-urls=http://" + metrics)
	_, err := w.client("admin").Put(withTimeout(t), "/w/a", "1")
	check(t, err)
	m.Stop("its key goes away")
	key := w.file("ring.key")
	check(t, os.Rename(key, key+".away"))
	started := make(chan *Member, 1)
	go func() {
		defer close(started)
		m, err := w.tryStart("listen-metrics-urls=http://" + metrics)
		if err != nil {
			t.Errorf("it gave up: %v", err)
			return
		}
		started <- m
	}()
	wanted := []string{`provider "local"`, "key id"}
	says := func(what, text string) {
		for _, part := range wanted {
			if !strings.Contains(text, part) {
				t.Errorf("%s says %q, without %s", what, text, part)
			}
		}
	}
	health := healthpb.NewHealthClient(w.dial("admin"))
	eventually(t, "health on the shut port", func() bool {
		r, err := health.Check(withTimeout(t), &healthpb.HealthCheckRequest{})
		return err == nil && r.Status == healthpb.HealthCheckResponse_NOT_SERVING
	})
	c := w.client("admin")
	_, err = c.Get(withTimeout(t), "/w/a", clientv3.WithSerializable())
	if status.Code(err) != codes.Unavailable && !strings.Contains(err.Error(), "ring") {
		t.Errorf("a read: %v", err)
	}
	says("a read", err.Error())
	if _, err := c.Put(withTimeout(t), "/w/a", "2"); err == nil {
		t.Error("a write was taken")
	}
	if r, err := c.MemberList(withTimeout(t)); err != nil || len(r.Members) != 1 {
		t.Errorf("the member list: %v, %v", r, err) // no key is needed for it, and it may be the cure
	}
	_, err = w.client("stranger").Get(withTimeout(t), "/w/a")
	if err == nil || strings.Contains(err.Error(), "provider") {
		t.Errorf("a stranger's read: %v", err)
	}
	for base, browser := range map[string]*http.Client{"https://" + w.clientAddr: w.curl("admin"), "http://" + metrics: http.DefaultClient} {
		for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/health": 503} {
			code, body, _ := get(t, browser, base+path)
			if code != want {
				t.Errorf("GET %s%s: %d, want %d\n%s", base, path, code, want, body)
			}
			if want == 503 {
				says(base+path, strings.ReplaceAll(body, `\"`, `"`))
			}
		}
	}
	if code, body, _ := get(t, w.curl("admin"), "https://"+w.clientAddr+"/etcdguard/v1/seal"); code != 200 || !strings.Contains(body, "refusal") {
		t.Errorf("the state of sealing: %d, %s", code, body)
	}
	select {
	case <-started:
		t.Fatal("it is ready without its key")
	default:
	}
	check(t, os.Rename(key+".away", key))
	m = <-started
	if m == nil {
		t.FailNow()
	}
	defer m.Stop("the test is over")
	got, err := c.Get(withTimeout(t), "/w/a")
	check(t, err)
	if string(got.Kvs[0].Value) != "1" {
		t.Errorf("it reads %q", got.Kvs[0].Value)
	}
	if code, body, _ := get(t, http.DefaultClient, "http://"+metrics+"/readyz"); code != 200 {
		t.Errorf("ready at last: %d, %s", code, body)
	}
}

func TestAMemberThatWaitsForItsKeysCanBeTold(t *testing.T) {
	w := newWorld(t).seals()
	m := w.start()
	m.Stop("its key goes away")
	check(t, os.Remove(w.file("ring.key")))
	c, err := w.config()
	check(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = Start(ctx, c)
	if err == nil || !strings.Contains(err.Error(), `provider "local"`) {
		t.Errorf("it ended with %v", err)
	}
	again, err := w.config() // its sockets are free
	check(t, err)
	ctx, cancel = context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err = Start(ctx, again); err == nil || !strings.Contains(err.Error(), `provider "local"`) {
		t.Errorf("it ended with %v", err)
	}
}

func TestSealedDataIsNotServedWithoutSealing(t *testing.T) {
	w := newWorld(t).seals()
	m := w.start()
	m.Stop("its configuration changes")
	w.guardConfig("")
	c, err := w.config()
	check(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := Start(ctx, c); err == nil || !strings.Contains(err.Error(), "sealing.providers") || !strings.Contains(err.Error(), `provider "local"`) {
		t.Errorf("it started, or ended with %v", err)
	}
}

// traffic writes and reads through one member until it is stopped, and reports
// everything that is not as it should be.
type traffic struct {
	t      *testing.T
	client *clientv3.Client
	key    string
	wrote  atomic.Int64
	stop   chan struct{}
	ended  chan struct{}
}

func newTraffic(t *testing.T, w *world) *traffic {
	tr := &traffic{t: t, client: w.client("admin"), key: "/w/" + w.name, stop: make(chan struct{}), ended: make(chan struct{})}
	go tr.run(withTimeout(t))
	return tr
}

func (tr *traffic) run(ctx context.Context) {
	defer close(tr.ended)
	for n := 1; ; n++ {
		select {
		case <-tr.stop:
			return
		default:
		}
		value := fmt.Sprintf("value %d of %s", n, tr.key)
		if _, err := tr.client.Put(ctx, tr.key, value); err != nil {
			tr.t.Errorf("writing %s: %v", tr.key, err)
			return
		}
		got, err := tr.client.Get(ctx, "/w/", withPrefix)
		if err != nil {
			tr.t.Errorf("reading beside %s: %v", tr.key, err)
			return
		}
		for _, kv := range got.Kvs {
			if string(kv.Key) == tr.key && string(kv.Value) != value || !strings.HasSuffix(string(kv.Value), " of "+string(kv.Key)) {
				tr.t.Errorf("%s is read as %q", kv.Key, kv.Value)
			}
		}
		tr.wrote.Store(int64(n))
	}
}

// more waits until writes go through that begin now.
func (tr *traffic) more() {
	n := tr.wrote.Load()
	eventually(tr.t, "more writes", func() bool { return tr.wrote.Load() > n+2 || tr.t.Failed() })
}

func (tr *traffic) end() { close(tr.stop); <-tr.ended }

// Data that was there before is sealed step by step and unsealed again, under traffic
// through every member that sees nothing of it; what is left is plain etcd data.
func TestThePhasesOfAClusterWithDataUnderTraffic(t *testing.T) {
	all := newTrio(t)
	unsealed := together(t, all...)
	c := all[0].client("admin")
	_, err := c.Put(withTimeout(t), "/w/old", "value 0 of /w/old")
	check(t, err)
	var members []*Member
	for i, w := range all { // one after the other, as an operator would
		unsealed[i].Stop("it is given keys")
		if i == 0 {
			w.seals()
		} else {
			w.seals(all[0])
		}
		members = append(members, w.start())
	}
	var traffics []*traffic
	for _, w := range all {
		traffics = append(traffics, newTraffic(t, w))
	}
	step := func(by int, to keyring.Phase, check func(ctx context.Context) error) {
		t.Helper()
		if err := members[by].keeper.Step(withTimeout(t), to, check, nil); err != nil {
			t.Fatalf("to %v: %v", to, err)
		}
		for _, tr := range traffics {
			tr.more()
		}
	}
	sealedNow := func(want bool) func(context.Context) error {
		return func(context.Context) error {
			for _, key := range []string{"/w/m1", "/w/m2", "/w/m3", "/w/old"} {
				for _, m := range members {
					if seal.IsSealed(stored(t, m, key)) != want {
						return fmt.Errorf("%s is stored in the wrong form", key)
					}
				}
			}
			return nil
		}
	}
	rewrite := func() {
		_, err := c.Put(withTimeout(t), "/w/old", "value 0 of /w/old")
		check(t, err)
	}
	step(0, keyring.Sealing, nil)
	if err := members[1].keeper.Step(withTimeout(t), keyring.Strict, sealedNow(true), nil); err == nil || !strings.Contains(err.Error(), "/w/old") {
		t.Errorf("strict, with a value in plaintext: %v", err)
	}
	rewrite()
	step(1, keyring.Strict, sealedNow(true))
	number, err := members[2].keeper.AddKey(withTimeout(t))
	check(t, err)
	check(t, members[0].keeper.Activate(withTimeout(t), number, nil))
	step(2, keyring.CanOpen, nil)
	rewrite()
	for _, tr := range traffics {
		tr.more()
	}
	step(0, keyring.Off, sealedNow(false))
	for _, tr := range traffics {
		tr.end()
	}
	left, err := store{server{members[1].etcd.Server}}.Range(withTimeout(t), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{1}})
	check(t, err)
	if len(left.Kvs) != 0 {
		t.Errorf("left are %v", left.Kvs)
	}
}

// TestAStockMemberInASealedClusterIsNoticed puts stock etcd on one member's data.
func TestAStockMemberInASealedClusterIsNoticed(t *testing.T) {
	one, two := newPair(t)
	one.seals()
	two.seals(one)
	members := together(t, one, two)
	members[1].Stop("another binary takes its place")
	c, err := two.config()
	check(t, err)
	stock := *c.Etcd
	stock.EnableGRPCGateway = false
	e, err := embed.StartEtcd(&stock)
	check(t, err)
	defer e.Close()
	eventually(t, "the alarm", func() bool {
		for _, m := range sealStatus(t, members[0]).Members {
			if m.Name == "m2" && m.Unguarded && !m.Guarded {
				return true
			}
		}
		return false
	})
	eventually(t, "it to be in the log", func() bool {
		return strings.Contains(one.log(), "a member runs without etcdguard in a sealed cluster")
	})
	if code, body, _ := get(t, one.curl("admin"), "https://"+one.clientAddr+"/etcdguard/v1/seal"); code != 200 || !strings.Contains(body, `"unguarded":true`) && !strings.Contains(body, `"unguarded": true`) {
		t.Errorf("the status: %d, %s", code, body)
	}
}

// A learner has the ring open, and confirms what it has like everybody else.
func TestALearnerConfirms(t *testing.T) {
	one := newWorld(t).seals()
	one.flags["strict-reconfig-check"] = "false"
	m1 := one.start()
	c := one.client("admin")
	_, err := c.Put(withTimeout(t), "/w/a", "1")
	check(t, err)
	two := one.newMember("m2").seals(one)
	_, err = c.MemberAddAsLearner(withTimeout(t), []string{"https://" + two.peerAddr})
	check(t, err)
	two.cluster = "m1=https://" + one.peerAddr + ",m2=https://" + two.peerAddr
	m2 := two.start("initial-cluster-state=existing")
	got, err := two.client("admin").Get(withTimeout(t), "/w/a", clientv3.WithSerializable())
	check(t, err)
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "1" {
		t.Errorf("the learner reads %v", got.Kvs)
	}
	number, err := m1.keeper.AddKey(withTimeout(t))
	check(t, err)
	check(t, m1.keeper.Activate(withTimeout(t), number, nil))
	if s := sealStatus(t, m2); s.InForce != 3 || len(s.Members) != 2 || !s.Members[1].Learner || !s.Members[1].Confirmed {
		t.Errorf("status %+v", s)
	}
	if err := m2.keeper.Step(withTimeout(t), keyring.Sealing, nil, nil); err == nil || !strings.Contains(err.Error(), "voting member") {
		t.Errorf("a step by the learner: %v", err)
	}
	_, err = c.Put(withTimeout(t), "/w/a", "2")
	check(t, err)
	eventually(t, "the new value on the learner", func() bool {
		got, err := two.client("admin").Get(withTimeout(t), "/w/a", clientv3.WithSerializable())
		return err == nil && string(got.Kvs[0].Value) == "2"
	})
}

// With etcd's own users on, the ring is still etcdguard's business alone.
func TestNativeUsersAndTheRing(t *testing.T) {
	w := newWorld(t).seals()
	m := w.start()
	c := w.client("admin")
	_, err := c.UserAdd(withTimeout(t), "root", "secret")
	check(t, err)
	_, err = c.UserGrantRole(withTimeout(t), "root", "root")
	check(t, err)
	_, err = c.AuthEnable(withTimeout(t))
	check(t, err)
	number, err := m.keeper.AddKey(withTimeout(t))
	check(t, err)
	check(t, m.keeper.Activate(withTimeout(t), number, nil))
	m.Stop("and again")
	if s := sealStatus(t, w.start()); s.InForce != 3 || !s.Members[0].Confirmed {
		t.Errorf("status %+v", s)
	}
}
