package drills

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

// operator goes through steps in a loop, as one who does not give up: what fails is
// run again as it is, until it works.
type operator struct {
	t     testing.TB
	steps []step

	rounds, runs, repeated atomic.Int64
	doing                  atomic.Value // string, for messages

	mu   sync.Mutex
	kill context.CancelFunc // of the command that runs
}

// step is something that an operator does. It must be resumable: run again after it
// was cut off anywhere, it finishes.
type step struct {
	name string
	run  func(ctx context.Context) error
}

// stubborn bounds how long one step is tried.
const stubborn = 4 * time.Minute

// run goes round until stop is closed and the round is over.
func (o *operator) run(stop <-chan struct{}) {
	for {
		for _, s := range o.steps {
			if !o.step(s) {
				return
			}
		}
		o.rounds.Add(1)
		select {
		case <-stop:
			return
		default:
		}
	}
}

func (o *operator) step(s step) bool {
	o.doing.Store(s.name)
	for began := time.Now(); ; {
		ctx, cancel := context.WithCancel(context.Background())
		o.mu.Lock()
		o.kill = cancel
		o.mu.Unlock()
		err := s.run(ctx)
		cancel()
		o.runs.Add(1)
		if err == nil {
			return true
		}
		o.repeated.Add(1)
		if time.Since(began) > stubborn {
			o.t.Errorf("the operator gives up: %s still fails after %v of trying: %v", s.name, stubborn, err)
			return false
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// interrupt kills the command that runs, if one does.
func (o *operator) interrupt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kill != nil {
		o.kill()
	}
}

// compaction is the one step that needs no sealing: it keeps history short, which
// resealing makes long.
func compaction(t testing.TB, c *cluster.Cluster) step {
	client := c.Etcd(t, c.TLS(t, "admin"))
	return step{"compact", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		answer, err := client.Get(ctx, prefix)
		if err != nil {
			return err
		}
		if _, err := client.Compact(ctx, answer.Header.Revision); err != nil {
			return fmt.Errorf("compacting: %w", err)
		}
		time.Sleep(time.Second)
		return nil
	}}
}
