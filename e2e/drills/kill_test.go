package drills

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

var (
	kills = flag.Int("kills", 12, "how often each of the drills that kill at random does")
	seed  = flag.Uint64("seed", 0, "of what they choose at random; 0 is another one each time")
)

// newDice decides who is killed and when. What then happens is up to the processes: the
// same seed is the same plan, and not the same run.
func newDice(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// toll counts who was killed, by what was being done.
type toll map[string]map[string]int

func (t toll) add(during, who string, n int) {
	if t[during] == nil {
		t[during] = map[string]int{}
	}
	t[during][who] += n
}

func (t toll) String() string {
	var b strings.Builder
	for _, during := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "%5d commands %5d members: %s\n", t[during]["commands"], t[during]["members"], during)
	}
	return b.String()
}

// TestNothingIsLostWhoeverIsKilled kills members and the operator's commands at
// random points, while a load runs and the operator goes up and down with sealing.
// What a killed member leaves is read, each time, without etcdguard.
func TestNothingIsLostWhoeverIsKilled(t *testing.T) {
	h := cluster.ByHand(t, 3)
	d := deskOf(t, h)
	d.asStock(t, someData(t))
	h.ConfigureSealing(t, "")
	h.Run(t, peers.Guard)
	l, stopLoad := startLoad(t, h.Cluster, &regime{})
	k := &killer{t: t, h: h, dice: newDice(t), toll: toll{}}
	k.operator = &operator{t: t, done: make(chan struct{}, 1), steps: upAndDown(t, d, l, &k.strict)}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { defer close(stopped); k.operator.run(stop) }()

	// However few kills were asked for, it is not over before a whole round is, and
	// somebody was killed at the top.
	for k.done < *kills || (k.operator.rounds.Load() == 0 || k.readStrict == 0) && !ended(stopped) {
		k.pause()
		k.strike()
		if t.Failed() {
			break
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d members and %d commands killed, all members at once %d times; %d rounds of the operator, %d commands, %d of them repeated; "+
		"%d databases read, %d of them in phase strict",
		k.members, k.commands, k.blackouts, k.operator.rounds.Load(), k.operator.runs.Load(), k.operator.repeated.Load(), k.read, k.readStrict)
	t.Logf("during what:\n%v", k.toll)
	t.Logf("what the operator was told, and tried again:\n%s", k.operator.said())
	d.mustSeal(t, "enable", "--yes")
	mark := l.regime.begin(true)
	for before := l.acknowledged.Load(); l.acknowledged.Load() < before+100; {
		time.Sleep(100 * time.Millisecond)
	}
	stopLoad()
	l.agrees(t, h.Cluster)
	alike(t, h.Cluster)
	onlySealed(t, h, prefix, mark)
	h.Stop(t)
	for _, m := range h.Members {
		if f := formsOf(revisions(t, m)); !f.allSealed() {
			t.Errorf("in the end, %s holds %d live values sealed and %d in the clear", m.Name, f.liveSealed, f.livePlain)
		}
	}
	if k.readStrict == 0 || k.commands == 0 || k.operator.repeated.Load() == 0 {
		t.Error("the drill did not do what it is for: -kills should be higher")
	}
}

func ended(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// killer picks its victims at random. A majority is left alone, except when everybody
// goes at once, as in a power failure.
type killer struct {
	t        testing.TB
	h        *cluster.Hand
	operator *operator
	dice     *rand.Rand
	toll     toll
	// strict is odd while every member has acknowledged phase strict and nobody has
	// asked for another.
	strict atomic.Int64

	read, readStrict                   int
	done, members, commands, blackouts int
}

// pause is how long the next strike is away. Most come soon. But a member that starts
// confirms nothing before what it left in the air has come down, which takes etcd's
// request timeout of 7 s; so now and then the operator is let get something done first.
func (k *killer) pause() {
	if k.dice.IntN(3) > 0 {
		time.Sleep(time.Duration(k.dice.ExpFloat64() * float64(2*time.Second)))
		return
	}
	select {
	case <-k.operator.done: // of an earlier step
	default:
	}
	select {
	case <-k.operator.done:
	case <-time.After(stubborn):
	}
	time.Sleep(time.Duration(k.dice.ExpFloat64() * float64(500*time.Millisecond)))
}

func (k *killer) strike() {
	during, _ := k.operator.doing.Load().(string)
	interrupt := func() {
		k.operator.interrupt()
		k.commands++
		k.toll.add(during, "commands", 1)
	}
	var victims []*cluster.Member
	switch what := k.dice.IntN(10); {
	case what < 3:
		interrupt()
	case what < 9:
		victims = []*cluster.Member{k.h.Members[k.dice.IntN(len(k.h.Members))]}
	default:
		victims = k.h.Members
		k.blackouts++
	}
	if len(victims) == 1 && k.dice.IntN(3) == 0 {
		interrupt()
	}
	strict := k.strict.Load()
	for _, m := range victims {
		m.Kill(k.t)
		k.members++
	}
	k.toll.add(during, "members", len(victims))
	if k.done++; k.done%25 == 0 {
		k.t.Logf("%d strikes", k.done)
	}
	if len(victims) == 0 {
		return
	}
	if strict != k.strict.Load() {
		strict = 0
	}
	for _, m := range victims {
		f := formsOf(revisions(k.t, m))
		k.read++
		if strict%2 == 0 {
			continue
		}
		k.readStrict++
		if !f.allSealed() {
			k.t.Errorf("killed in phase strict, %s leaves %d live values sealed and %d in the clear", m.Name, f.liveSealed, f.livePlain)
		}
	}
	time.Sleep(time.Duration(k.dice.IntN(1500)) * time.Millisecond)
	for _, m := range victims {
		k.h.Start(k.t, peers.Guard, m)
	}
	k.h.Healthy(k.t, victims...)
}

// alike holds all members to the same content.
func alike(t testing.TB, c *cluster.Cluster) {
	t.Helper()
	_, revision := c.Leader(t, t.Context())
	hashes := map[uint32]bool{}
	for _, m := range c.Members {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		hash, err := c.Etcd(t, c.TLS(t, "admin"), m).HashKV(ctx, m.ClientAddr(), revision)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		hashes[hash.Hash] = true
	}
	if len(hashes) != 1 {
		t.Errorf("the members' contents hash to %d different values at revision %d", len(hashes), revision)
	}
}
