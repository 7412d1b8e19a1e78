package drills

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/ledger"
)

const (
	// prefix is where the load keeps its keys; it is the positive control of every
	// search in raw files, too: names are never sealed.
	prefix = "/drill/"
	// writers own their keys, so that every change can be conditional on the last one.
	writers = 6
	// patience bounds one request. With one member down, a client has to find another.
	patience = 5 * time.Second
)

// load writes, changes and deletes keys for as long as it runs, and keeps account.
type load struct {
	client *clientv3.Client
	ledger *ledger.Ledger
	regime *regime
	prefix string

	acknowledged, unanswered, rewritten atomic.Int64

	mu      sync.Mutex
	strange []string // what must not be, and was seen while running
}

// startLoad runs a load on members of c, or on all, until stop is called, which waits
// until it has ended.
func startLoad(t testing.TB, c *cluster.Cluster, r *regime, members ...*cluster.Member) (l *load, stop func()) {
	l = &load{client: c.Etcd(t, c.TLS(t, "admin"), members...), ledger: ledger.New(), regime: r, prefix: prefix}
	for _, m := range members {
		l.prefix += m.Name + "/"
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() { l.write(ctx, n) })
	}
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); group.Wait() }) }
	t.Cleanup(stop)
	return l, stop
}

// key is a key as its owner knows it.
type key struct {
	name    string
	version int64 // mod revision; 0: not there yet
	payload string
	tried   map[string]bool // payloads that may have been written since; "" is a deletion
}

// write is one writer: it takes keys through their lives, a few at a time. A name is
// never used again, so that a request without an answer can't come back to life.
func (l *load) write(ctx context.Context, writer int) {
	var keys []*key
	kept := 0
	for born := 0; ctx.Err() == nil; {
		if len(keys) < 8 {
			keys = append(keys, &key{name: fmt.Sprintf("%s%d/%06d", l.prefix, writer, born), tried: map[string]bool{}})
			born++
		}
		i := rand.IntN(len(keys))
		k, remove := keys[i], false
		if k.version != 0 {
			remove = rand.IntN(20) == 0
		}
		if gone := l.change(ctx, k, remove); gone {
			keys = append(keys[:i], keys[i+1:]...)
		}
		// Some keys stay for good, for the end to find; not so many that resealing them
		// is all that a long drill does.
		if len(keys) == 8 && born%10 == 0 && kept < 40 {
			keys, kept = keys[1:], kept+1
		}
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
	}
}

// change is one conditional change, and what is known after it.
func (l *load) change(ctx context.Context, k *key, remove bool) (gone bool) {
	payload, done := l.regime.payload(k.name)
	defer done()
	change := clientv3.OpPut(k.name, payload)
	if remove {
		payload, change = "", clientv3.OpDelete(k.name)
	}
	o := ledger.Object{Resource: "key", Name: k.name}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	answer, err := l.client.Txn(limited).If(clientv3.Compare(clientv3.ModRevision(k.name), "=", k.version)).
		Then(change).Else(clientv3.OpGet(k.name)).Commit()
	if err != nil {
		l.unanswered.Add(1)
		l.ledger.Unanswered(o, payload)
		k.tried[payload] = true
		return false
	}
	if answer.Succeeded {
		l.acknowledged.Add(1)
		k.version, k.payload = answer.Header.Revision, payload
	} else {
		l.settle(k, answer)
	}
	clear(k.tried)
	l.ledger.Acknowledged(o, k.payload, "")
	return k.payload == "" && (remove || !answer.Succeeded)
}

// settle takes over what another request of this owner did after all, or a reseal,
// which changes the revision and not the value.
func (l *load) settle(k *key, answer *clientv3.TxnResponse) {
	found, version := "", int64(0)
	if kvs := answer.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		found, version = string(kvs[0].Value), kvs[0].ModRevision
	}
	switch {
	case found == k.payload && version > k.version:
		l.rewritten.Add(1)
	case k.tried[found]:
		l.acknowledged.Add(1)
	default:
		l.note("%s holds at revision %d what nobody wrote there after revision %d", k.name, version, k.version)
	}
	k.version, k.payload = version, found
}

func (l *load) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strange = append(l.strange, fmt.Sprintf(format, args...))
}

// agrees holds each member to serving what the ledger says.
func (l *load) agrees(t testing.TB, c *cluster.Cluster) {
	t.Helper()
	for _, m := range c.Members {
		differences := l.differences(everything(t, c, m, l.prefix))
		for _, d := range differences[:min(len(differences), 10)] {
			t.Errorf("%s: %s", m.Name, d)
		}
	}
	present, absent, open := l.ledger.Counts()
	t.Logf("ledger: %d keys present, %d deleted, %d open; %d changes acknowledged, %d without an answer, %d rewritten by a reseal",
		present, absent, open, l.acknowledged.Load(), l.unanswered.Load(), l.rewritten.Load())
	if l.acknowledged.Load() < 50 || present == 0 || absent == 0 {
		t.Error("the load was too small to prove anything")
	}
}

// differences are between the account and what was found.
func (l *load) differences(all []*mvccpb.KeyValue) []string {
	found := map[ledger.Object]ledger.Stored{}
	for _, kv := range all {
		found[ledger.Object{Resource: "key", Name: string(kv.Key)}] = ledger.Stored{Payload: string(kv.Value)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(slices.Clone(l.strange), l.ledger.Disagreements(found)...)
}

// regime says how values that are written now may be stored, and gives every value a
// mark that says it, which a search in raw files can look for.
type regime struct {
	mu     sync.RWMutex
	epoch  int
	sealed bool
}

// payload is a value to be written, unlike any other. done is called when the request
// with it has its answer.
func (r *regime) payload(name string) (payload string, done func()) {
	r.mu.RLock()
	return fmt.Sprintf("%s%s/%016x/%s", r.mark(), name, rand.Uint64(), strings.Repeat("v", 50+rand.IntN(800))), r.mu.RUnlock
}

// mark is how values begin now.
func (r *regime) mark() string {
	if r.sealed {
		return fmt.Sprintf("<%d: must be sealed>", r.epoch)
	}
	return fmt.Sprintf("<%d: may be in the clear>", r.epoch)
}

// begin starts an epoch when no request of the one before is on its way any more, and
// returns its mark.
func (r *regime) begin(sealed bool) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	r.sealed = sealed
	return r.mark()
}

// still does something while no request is on its way.
func (r *regime) still(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}
