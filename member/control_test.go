package member

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

// operator is who calls the administration, at the members given, as cn.
func (w *world) operator(cn string, others ...*world) *control.Client {
	w.t.Helper()
	c := control.ClientConfig{CACert: w.file("ca.crt"), Cert: w.file(cn + ".crt"), Key: w.file(cn + ".key")}
	check(w.t, w.issue(pki.Client, cn).Save(c.Cert, c.Key))
	for _, m := range append([]*world{w}, others...) {
		c.Endpoints = append(c.Endpoints, "https://"+m.clientAddr)
	}
	client, err := control.NewClient(c)
	check(w.t, err)
	return client
}

// writers keep a cluster's keys changing, and a ledger of what was acknowledged. Each
// key has one writer.
type writers struct {
	t      *testing.T
	mu     sync.Mutex
	ledger map[string]string
	group  sync.WaitGroup
	stop   chan struct{}
	writes int
}

func startWriters(t *testing.T, c *clientv3.Client, n, keys int, ledger map[string]string) *writers {
	w := &writers{t: t, ledger: ledger, stop: make(chan struct{})}
	for i := range n {
		w.group.Go(func() { w.write(c, fmt.Sprintf("/w/%d/", i), keys) })
	}
	return w
}

func (w *writers) write(c *clientv3.Client, prefix string, keys int) {
	for round := 0; ; round++ {
		select {
		case <-w.stop:
			return
		default:
		}
		key, value := fmt.Sprintf("%s%03d", prefix, rand.IntN(keys)), fmt.Sprintf("plain %d", round)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		var err error
		switch rand.IntN(6) {
		case 0:
			if _, err = c.Delete(ctx, key); err == nil {
				w.keep(key, "")
			}
		case 1: // a compare-and-swap as Kubernetes does it, against the rewriting
			err = w.swap(ctx, c, key, value)
		default:
			if _, err = c.Put(ctx, key, value); err == nil {
				w.keep(key, value)
			}
		}
		cancel()
		if err != nil {
			w.t.Errorf("a client's write of %s: %v", key, err)
			return
		}
	}
}

func (w *writers) swap(ctx context.Context, c *clientv3.Client, key, value string) error {
	for {
		now, err := c.Get(ctx, key)
		if err != nil {
			return err
		}
		revision := int64(0)
		if len(now.Kvs) > 0 {
			revision = now.Kvs[0].ModRevision
		}
		r, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(clientv3.OpPut(key, value)).Commit()
		if err != nil {
			return err
		}
		if r.Succeeded {
			w.keep(key, value)
			return nil
		}
	}
}

func (w *writers) keep(key, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writes++; value == "" {
		delete(w.ledger, key)
	} else {
		w.ledger[key] = value
	}
}

func (w *writers) end() int {
	close(w.stop)
	w.group.Wait()
	return w.writes
}

// TestUpAndDownUnderWritersAndKills takes a cluster with data up to strict, to another
// data key, and down to off, with clients that write all the time and every call of
// the operator cut off again and again, at either member. What was acknowledged is
// there, in the form of each end.
func TestUpAndDownUnderWritersAndKills(t *testing.T) {
	one, two := newPair(t)
	running := startPair(t, one, two)
	ledger := map[string]string{}
	c := one.client("admin")
	for i := range 2 * 100 {
		key := fmt.Sprintf("/w/%d/%03d", i%2, i/2)
		_, err := c.Put(withTimeout(t), key, "plain first")
		check(t, err)
		ledger[key] = "plain first"
	}
	lease, err := c.Grant(withTimeout(t), 3600)
	check(t, err)
	_, err = c.Put(withTimeout(t), "/leased", "plain leased", clientv3.WithLease(lease.ID))
	check(t, err)
	for _, m := range running {
		m.Stop("to be configured for sealing")
	}
	one.seals()
	two.seals(one)
	running = startPair(t, one, two)

	begun := startWriters(t, one.client("admin"), 2, 100, ledger)
	operators := []*control.Client{one.operator("admin", two), two.operator("admin", one)}
	// insist makes a call until it gets through; its first tries are cut off.
	kills := 0
	insist := func(action etcdapi.Action, request, result any) {
		t.Helper()
		for try := 0; ; try++ {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if try < 6 {
				ctx, cancel = context.WithTimeout(context.Background(), time.Duration(10+rand.IntN(150*(try+1)))*time.Millisecond)
			}
			err := operators[rand.IntN(2)].Do(ctx, action, request, result, nil)
			cut := ctx.Err() != nil
			cancel()
			if err == nil {
				return
			}
			if !cut {
				t.Fatalf("%v %+v: %v", action, request, err)
			}
			kills++
		}
	}
	insist(etcdapi.SealPhase, control.PhaseRequest{To: keyring.Sealing}, nil)
	insist(etcdapi.SealReseal, control.ResealRequest{Rate: 5000}, nil)
	insist(etcdapi.SealPhase, control.PhaseRequest{To: keyring.Strict}, nil)
	sealedUnder(t, running[1], 1)
	insist(etcdapi.SealRotate, control.RotateRequest{}, nil)
	insist(etcdapi.SealReseal, control.ResealRequest{Rate: 5000}, nil)
	status, err := operators[0].Status(withTimeout(t))
	check(t, err)
	sealedUnder(t, running[0], status.Keys[len(status.Keys)-1].Number)
	insist(etcdapi.SealPhase, control.PhaseRequest{To: keyring.CanOpen}, nil)
	insist(etcdapi.SealReseal, control.ResealRequest{ToPlaintext: true, Rate: 5000}, nil)
	insist(etcdapi.SealPhase, control.PhaseRequest{To: keyring.Off}, nil)
	t.Logf("%d calls cut off, %d writes of clients meanwhile", kills, begun.end())

	found, err := c.Get(withTimeout(t), "/w/", withPrefix)
	check(t, err)
	for _, kv := range found.Kvs {
		if want := ledger[string(kv.Key)]; string(kv.Value) != want || string(stored(t, running[0], string(kv.Key))) != want {
			t.Errorf("%s is %q and stored as %q, want %q", kv.Key, kv.Value, stored(t, running[0], string(kv.Key)), want)
		}
	}
	if len(found.Kvs) != len(ledger) {
		t.Errorf("%d values, want %d", len(found.Kvs), len(ledger))
	}
	left, err := c.TimeToLive(withTimeout(t), lease.ID, clientv3.WithAttachedKeys())
	check(t, err)
	if len(left.Keys) != 1 || string(stored(t, running[0], "/leased")) != "plain leased" {
		t.Errorf("the lease holds %q", left.Keys)
	}
}

func startPair(t *testing.T, one, two *world) []*Member {
	t.Helper()
	first, second := one.prepare(), two.prepare()
	a, b := first(), second()
	m, n := <-a, <-b
	if m == nil || n == nil {
		t.Fatal("a member did not start")
	}
	return []*Member{m, n}
}

// sealedUnder fails if a live value is stored in another form.
func sealedUnder(t *testing.T, m *Member, key seal.KeyNumber) {
	t.Helper()
	s := sealStatus(t, m)
	survey, err := reseal.NewSurvey(withTimeout(t), store{server{m.etcd.Server}}, *s.Ring, reseal.Prefix(""), nil)
	check(t, err)
	if survey.Total.Values == 0 || survey.Total.ByKey[key] != survey.Total.Values {
		t.Errorf("not all is sealed under data key %d: %+v", key, survey.Total)
	}
}

// TestAdministrationIsGuarded is the policy's word before any call is looked at.
func TestAdministrationIsGuarded(t *testing.T) {
	w := newWorld(t).seals()
	w.start()
	for cn, may := range map[string]bool{"admin": true, "monitor": true, "watcher": false, "stranger": false} {
		_, err := w.operator(cn).Status(withTimeout(t))
		if (err == nil) != may {
			t.Errorf("%s asks for the status: %v", cn, err)
		}
		err = w.operator(cn).Do(withTimeout(t), etcdapi.SealPhase, control.PhaseRequest{To: keyring.Strict}, nil, nil)
		var refused *control.Error
		if (err == nil) != (cn == "admin") || err != nil && (!errors.As(err, &refused) || !strings.Contains(refused.Message, "permission denied")) {
			t.Errorf("%s asks for a phase: %v", cn, err)
		}
	}
	if log := w.log(); !strings.Contains(log, "CN=stranger") || !strings.Contains(log, "Seal.Phase") || !strings.Contains(log, `administration: begun`) {
		t.Errorf("who asked for what is not in the log:\n%s", log)
	}
	// Not even admin's browser: a page that it looks at can't ask.
	r, err := http.NewRequest("POST", "https://"+w.clientAddr+etcdapi.AdminPath(etcdapi.SealRotate), strings.NewReader("{}"))
	check(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "https://evil.example")
	answer, err := w.curl("admin").Do(r)
	check(t, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a page's request: %d", answer.StatusCode)
	}
}

func TestWithoutASealingSectionTheAdministrationSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	w.start()
	s, err := w.operator("admin").Status(withTimeout(t))
	if err != nil || s.Configured || s.Phase != keyring.Off || s.Ring != nil {
		t.Errorf("%+v, %v", s, err)
	}
	err = w.operator("admin").Do(withTimeout(t), etcdapi.SealPhase, control.PhaseRequest{To: keyring.CanOpen}, nil, nil)
	var refused *control.Error
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "not configured") || !strings.Contains(refused.Fix, "sealing:") {
		t.Errorf("a step: %v", err)
	}
}

// TestAMemberStopsUnderALongCall: the call ends and says why, before etcd does.
func TestAMemberStopsUnderALongCall(t *testing.T) {
	w := newWorld(t).seals()
	m := w.start()
	c := w.client("admin")
	for i := range 300 {
		_, err := c.Put(withTimeout(t), fmt.Sprint("/w/", i), "v")
		check(t, err)
	}
	operator := w.operator("admin")
	check(t, operator.Do(withTimeout(t), etcdapi.SealRotate, control.RotateRequest{}, nil, nil))
	begun := make(chan struct{})
	ended := make(chan error, 1)
	var once sync.Once
	go func() {
		ended <- operator.Do(withTimeout(t), etcdapi.SealReseal, control.ResealRequest{Rate: 1}, nil, func(e control.Event) {
			if e.Progress != nil {
				once.Do(func() { close(begun) })
			}
		})
	}()
	<-begun
	m.Stop("for the test")
	var said *control.Error
	if err := <-ended; !errors.As(err, &said) || !strings.Contains(said.Message, "this member stops") {
		t.Errorf("the call ended with %v", err)
	}
}
