package drills

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

var kills = flag.Int("kills", 12, "how often a process is killed at random")

// TestNothingIsLostWhoeverIsKilled kills members and the operator's commands at
// random points, while a load runs and the operator goes up and down with sealing.
func TestNothingIsLostWhoeverIsKilled(t *testing.T) {
	h := cluster.ByHand(t, 3)
	h.Run(t, peers.Guard)
	r := &regime{}
	l, stopLoad := startLoad(t, h.Cluster, r)
	o := &operator{t: t, steps: []step{compaction(t, h.Cluster)}}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { defer close(stopped); o.run(stop) }()

	k := &killer{t: t, h: h, operator: o}
	for k.done < *kills && !t.Failed() {
		time.Sleep(time.Duration(100+rand.IntN(1400)) * time.Millisecond)
		k.strike()
	}
	close(stop)
	<-stopped
	stopLoad()
	t.Logf("%d members and %d commands killed, all members at once %d times; %d rounds of the operator, %d commands, %d of them repeated",
		k.members, k.commands, k.blackouts, o.rounds.Load(), o.runs.Load(), o.repeated.Load())
	if o.rounds.Load() == 0 || k.members == 0 {
		t.Error("the drill did not do what it is for")
	}
	l.agrees(t, h.Cluster)
	alike(t, h.Cluster)
}

// killer picks its victims at random. A majority is left alone, except when everybody
// goes at once, as in a power failure.
type killer struct {
	t        testing.TB
	h        *cluster.Hand
	operator *operator

	done, members, commands, blackouts int
}

func (k *killer) strike() {
	var victims []*cluster.Member
	switch what := rand.IntN(10); {
	case what < 3:
		k.operator.interrupt()
		k.commands++
	case what < 9:
		victims = []*cluster.Member{k.h.Members[rand.IntN(len(k.h.Members))]}
	default:
		victims = k.h.Members
		k.blackouts++
	}
	if len(victims) == 1 && rand.IntN(3) == 0 {
		k.operator.interrupt()
		k.commands++
	}
	for _, m := range victims {
		m.Kill(k.t)
		k.members++
	}
	k.done++
	if len(victims) == 0 {
		return
	}
	for _, m := range victims {
		revisions(k.t, m) // what it left can be read
	}
	time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
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
