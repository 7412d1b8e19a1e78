package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etcdguard/etcdguard/kms"
)

// KeeperConfig is what a Keeper needs.
type KeeperConfig struct {
	// Store is this member's etcd. Required.
	Store Store
	// Providers wrap data keys, each of them every one; any of them opens the ring.
	// None: this member is not configured for sealing, and its door stays shut if the
	// data holds a ring that seals.
	Providers []kms.Provider
	// Mirror is the file that keeps the wrapped ring on this member's disk. Required
	// with Providers.
	Mirror string
	// Version is this etcdguard's, for others to see.
	Version string
	// Log takes what the keeper does and can't do. Required.
	Log *slog.Logger
	// Registry takes the metrics; nil: none are kept.
	Registry prometheus.Registerer
	// PeerProbe asks whether a member answers on its peer port: one that does, and
	// keeps no presence, runs without etcdguard. Nil: nobody looks.
	PeerProbe func(ctx context.Context, m MemberInfo) (running bool, err error)
	// Now is the clock of new documents; nil is time.Now.
	Now func() time.Time
	// Settle is how long a request that etcd did not answer may still be carried out;
	// 0 is Store.RequestTimeout.
	Settle time.Duration
}

// Keeper moves this member's Ring along with the document in etcd: it opens what is
// there, mirrors it on disk, acknowledges it to the other members, and takes the steps
// that an operator asks for. All of its methods may be called concurrently.
type Keeper struct {
	config  KeeperConfig
	log     *slog.Logger
	boot    string // of this start of the process
	metrics *keeperMetrics
	ring    *Ring

	ready chan struct{} // closed when the door may open
	begun time.Time
	wake  chan struct{} // the presence may have something to say

	adopting sync.Mutex // one look at the document at a time
	state    atomic.Pointer[keeperState]
	older    olderViews
	acked    atomic.Pointer[acknowledgement] // as last stored in etcd; nil: none yet
	health   providerHealth
	running  unguarded
}

// NewKeeper makes a Keeper that knows nothing before Run.
func NewKeeper(c KeeperConfig) (*Keeper, error) {
	if len(c.Providers) > 0 && c.Mirror == "" {
		return nil, errors.New("making a keeper of the ring: no file for its mirror")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Settle == 0 {
		c.Settle = c.Store.RequestTimeout()
	}
	k := &Keeper{config: c, log: c.Log, boot: rand.Text(), begun: time.Now(),
		ready: make(chan struct{}), wake: make(chan struct{}, 1)}
	k.ring = newRing(k.reload)
	k.state.Store(&keeperState{})
	var err error
	k.metrics, err = newKeeperMetrics(c.Registry, k)
	return k, err
}

// Ring is the request path's. Before Ready it lets nothing through.
func (k *Keeper) Ring() *Ring { return k.ring }

// Ready is closed once the ring is open, or known not to be there.
func (k *Keeper) Ready() <-chan struct{} { return k.ready }

// WaitOpen returns when Ready does, or with ctx; its error then says what the ring
// wants, provider and key id included.
func (k *Keeper) WaitOpen(ctx context.Context) error {
	select {
	case <-k.ready:
		return nil
	case <-ctx.Done():
		if waiting := k.Waiting(); waiting != nil {
			return waiting
		}
		return context.Cause(ctx)
	}
}

// Opened is the ring in force on this member; nil: there is none.
func (k *Keeper) Opened() *Opened { return k.state.Load().opened }

// Document is the wrapped form of the ring in force on this member; nil: there is none.
func (k *Keeper) Document() *Document {
	if o := k.Opened(); o != nil {
		return o.Document()
	}
	return nil
}

// nudge wakes the presence.
func (k *Keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Waiting is why the door is still shut; nil once it is not.
func (k *Keeper) Waiting() error { return k.state.Load().waiting }
