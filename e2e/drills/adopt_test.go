package drills

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/kube"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

// A cluster of stock etcd is adopted, sealed, given another data key, opened again and
// handed back to stock etcd, one member at a time, while kube-apiserver serves.
func TestACommonClusterGoesAllTheWayUpAndDownUnderLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	h := cluster.ByHand(t, 3)
	h.Run(t, cluster.StockEtcd)
	d := deskOf(t, h)
	api := kube.Start(t, h.Cluster, compaction)
	traffic := kube.Begin(ctx, t, api, true)
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { traffic.Run(ctx, t, slowly(ctx, stop), func(int64) {}) })
	ended := sync.OnceFunc(func() { close(stop); load.Wait() })
	defer ended()

	each := func(program string) {
		for _, m := range h.Members {
			h.Stop(t, m)
			h.Run(t, program, m)
			time.Sleep(time.Second) // for clients to come back before the next goes
		}
	}
	h.ConfigureSealing(t, "")
	each(peers.Guard)
	tally := h.Count(t)
	inForm(t, h, "off", forms.allPlain)
	if s := d.status(t); s.Phase != "off" {
		t.Errorf("adopted, the cluster is in phase %q before anybody asked for one", s.Phase)
	}

	d.mustSeal(t, "enable", "--yes")
	if s := d.status(t); s.Phase != "strict" || !s.confirmed() {
		t.Errorf("enabled, the cluster is in phase %q, acknowledged by all: %v", s.Phase, s.confirmed())
	}
	inForm(t, h, "strict", forms.allSealed)
	d.mustSeal(t, "rotate")
	d.mustSeal(t, "reseal")
	if s := d.status(t); len(s.Keys) != 2 || s.Keys[0].State != "retired" || s.Keys[1].State != "active" {
		t.Errorf("rotated, the keys are %+v", s.Keys)
	}
	inForm(t, h, "strict", forms.allSealed)
	d.mustSeal(t, "disable", "--yes")
	if s := d.status(t); s.Phase != "off" {
		t.Errorf("disabled, the cluster is in phase %q", s.Phase)
	}
	inForm(t, h, "off", forms.allPlain)
	for _, m := range h.Members {
		if err := tally.Read(ctx, m); err != nil {
			t.Error(err)
		}
	}
	ended()
	final := traffic.Settle(ctx, t)
	final.SameIn(ctx, t, h.Cluster)
	kube.NoDenial(ctx, t, h.Cluster, tally, traffic)

	each(cluster.StockEtcd)
	final.ListedBy(ctx, t, api)
	final.SameIn(ctx, t, h.Cluster)
	api.Stop(t)
}

// slowly lets a load go on until stop is closed, and leaves the machine some room.
func slowly(ctx context.Context, stop <-chan struct{}) func(int) bool {
	return func(int) bool {
		select {
		case <-stop:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(30 * time.Millisecond):
			return true
		}
	}
}

func (f forms) allPlain() bool  { return f.livePlain > 0 && f.liveSealed == 0 }
func (f forms) allSealed() bool { return f.liveSealed > 0 && f.livePlain == 0 }

// inForm kills a member and looks at the live values in the file that it leaves.
func inForm(t *testing.T, h *cluster.Hand, phase string, right func(forms) bool) {
	t.Helper()
	m := h.Members[2]
	m.Kill(t)
	f := formsOf(revisions(t, m))
	h.Start(t, peers.Guard, m)
	h.Healthy(t, m)
	t.Logf("phase %s: %d live values sealed, %d in the clear; in history %d and %d", phase, f.liveSealed, f.livePlain, f.sealed, f.plain)
	if !right(f) {
		t.Errorf("phase %s: %s holds %d live values sealed and %d in the clear", phase, m.Name, f.liveSealed, f.livePlain)
	}
}
