package drills

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
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
	done  chan struct{} // gets something, if there is room, whenever a step is done

	rounds, runs, repeated atomic.Int64
	doing                  atomic.Value // string, for messages
	account

	mu   sync.Mutex
	kill context.CancelFunc // of the command that runs
}

// account is what commands that failed said, without what differs.
type account struct {
	mu     sync.Mutex
	errors map[string]int
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
	for began, tries := time.Now(), 1; ; tries++ {
		ctx, cancel := context.WithCancel(context.Background())
		o.mu.Lock()
		o.kill = cancel
		o.mu.Unlock()
		err := s.run(ctx)
		cancel()
		o.runs.Add(1)
		if err == nil {
			o.t.Logf("%s: done after %v, tried %d times", s.name, time.Since(began).Round(100*time.Millisecond), tries)
			select {
			case o.done <- struct{}{}:
			default:
			}
			return true
		}
		o.repeated.Add(1)
		o.note(s.name, err)
		if time.Since(began) > stubborn {
			o.t.Errorf("the operator gives up: %s still fails after %v of trying: %v\n%s", s.name, stubborn, err, o.said())
			return false
		}
		time.Sleep(200 * time.Millisecond)
	}
}

var differs = regexp.MustCompile(`[0-9a-f]{16}|[0-9]+|https://\S+`)

func (a *account) note(step string, err error) {
	text := step + ": " + strings.TrimSpace(differs.ReplaceAllString(err.Error(), "…"))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.errors == nil {
		a.errors = map[string]int{}
	}
	a.errors[text[:min(len(text), 400)]]++
}

// said is what went wrong and was tried again, one a line.
func (a *account) said() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var lines []string
	for text, n := range a.errors {
		lines = append(lines, fmt.Sprintf("%4d × %s", n, strings.ReplaceAll(text, "\n", " / ")))
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// interrupt kills the command that runs, if one does.
func (o *operator) interrupt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kill != nil {
		o.kill()
	}
}

// upAndDown is a round of everything that sealing can be asked for. Half of the time
// it asks for single steps, and otherwise for the whole way at once.
func upAndDown(t testing.TB, d *desk, l *load, strict *atomic.Int64) []step {
	seal := func(args ...string) step {
		return step{"seal " + strings.Join(args, " "), func(ctx context.Context) error {
			_, err := d.seal(ctx, args...)
			return err
		}}
	}
	note := func(name string, do func()) step {
		return step{name, func(context.Context) error { do(); return nil }}
	}
	mark := ""
	// From here on no client's value may be stored in the clear, until the way down.
	sealed := note("sealed from here on", func() { mark = l.regime.begin(true) })
	// Before the way down begins, what was written meanwhile is looked for everywhere.
	raw := note("look for values in the clear", func() { onlySealed(t, d.Hand, prefix, mark) })
	atTop := note("strict", func() {
		time.Sleep(time.Second) // etcd commits to its database file ten times a second, and not each change
		strict.Add(1)
		time.Sleep(2 * time.Second) // for somebody to be killed here
	})
	leaveTop := note("no longer strict", func() { strict.Add(1); l.regime.begin(false) })
	return []step{
		seal("phase", "can-open"), seal("phase", "sealing"), sealed, seal("reseal"), seal("phase", "strict"), atTop,
		rotating(d), seal("reseal"), compacting(t, d.Cluster), retiring(d), raw,
		leaveTop, seal("phase", "sealing"), seal("phase", "can-open"), seal("reseal", "--to-plaintext"), seal("phase", "off"),
		compacting(t, d.Cluster),
		seal("enable", "--yes"), sealed, atTop, rotating(d), raw, leaveTop, seal("disable", "--yes"), compacting(t, d.Cluster),
	}
}

// rotating asks for a new data key. A rotation whose answer was lost may be done: to ask
// again is to ask for one more, so it is looked first whether there is a newer key, and
// whether everybody has it.
func rotating(d *desk) step {
	before := 0
	return step{"seal rotate", func(ctx context.Context) error {
		s, err := d.askStatus(ctx)
		if err != nil {
			return err
		}
		active := s.active()
		switch {
		case before == 0:
			before = active
		case active > before && s.confirmed():
			before = 0
			return nil
		case active > before:
			return errors.New("not every member has the new data key yet")
		}
		if _, err = d.seal(ctx, "rotate"); err == nil {
			before = 0
		}
		return err
	}}
}

// retiring asks to remove every retired data key. That one is still needed, by a
// revision that is not compacted on some member yet, is an answer, too.
func retiring(d *desk) step {
	return step{"seal retire", func(ctx context.Context) error {
		s, err := d.askStatus(ctx)
		if err != nil {
			return err
		}
		for _, k := range s.Keys {
			if k.State != "retired" {
				continue
			}
			if _, err := d.seal(ctx, "retire", fmt.Sprint(k.Number), "--yes"); err != nil && !strings.Contains(err.Error(), "need") {
				return err
			}
		}
		return nil
	}}
}

// compacting keeps history short, which resealing makes long.
func compacting(t testing.TB, c *cluster.Cluster) step {
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
