package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Stopped says how one member was stopped.
type Stopped struct {
	Member string
	Pid    int  // 0: it did not run
	Killed bool // it did not end in time by itself
}

// Down stops every member that runs: SIGTERM, and SIGKILL for those that are
// still there after the grace time. Data and configuration stay.
//
// The leader goes last: etcd's way out is to hand over leadership, which takes
// seconds to fail when those who could take it are stopping, too.
func (c *Cluster) Down(ctx context.Context, grace time.Duration) ([]Stopped, error) {
	release, err := c.lockDir()
	if err != nil {
		return nil, err
	}
	defer release()
	leader := c.leader(ctx)
	var out []Stopped
	var problems []error
	for _, last := range []bool{false, true} {
		var wave []string
		for _, p := range c.places {
			if (p.name == leader) == last {
				wave = append(wave, p.name)
			}
		}
		stopped, err := c.stop(ctx, wave, grace)
		out = append(out, stopped...)
		problems = append(problems, err)
	}
	slices.SortFunc(out, func(a, b Stopped) int { return strings.Compare(a.Member, b.Member) })
	return out, errors.Join(problems...)
}

// leader is the name of the member that leads, "" if nobody says so soon.
func (c *Cluster) leader(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := c.Status(ctx)
	if err != nil {
		return ""
	}
	for _, m := range status.Members {
		if m.Leader {
			return m.Name
		}
	}
	return ""
}

func (c *Cluster) stop(ctx context.Context, members []string, grace time.Duration) (out []Stopped, err error) {
	var problems []error
	for _, name := range members {
		proc, err := c.process(name)
		if err == nil && proc.running {
			err = c.signal(name, syscall.SIGTERM)
		}
		if err != nil {
			problems = append(problems, err)
		}
		out = append(out, Stopped{Member: name, Pid: proc.pid})
	}
	left, err := c.awaitStopped(ctx, members, grace)
	problems = append(problems, err)
	if len(left) > 0 && ctx.Err() != nil {
		// Whoever interrupts down did not ask for their files to be left unclosed.
		return out, errors.Join(append(problems, withHint("etcdguard down again, to wait for them",
			"waiting for %s to stop: %w; they were told to", strings.Join(left, ", "), context.Cause(ctx)))...)
	}
	for _, name := range left {
		if err := c.signal(name, syscall.SIGKILL); err != nil {
			problems = append(problems, err)
		}
		i := slices.IndexFunc(out, func(s Stopped) bool { return s.Member == name })
		out[i].Killed = true
	}
	if len(left) > 0 {
		// A killed process is gone once the kernel has let go of its memory.
		if left, err = c.awaitStopped(context.WithoutCancel(ctx), left, time.Minute); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("stopping %s: still there after SIGKILL", strings.Join(left, ", ")))
		}
		problems = append(problems, err)
	}
	return out, errors.Join(problems...)
}

// awaitStopped waits until none of the members runs or the time is over, and
// returns those that still do.
func (c *Cluster) awaitStopped(ctx context.Context, members []string, atMost time.Duration) (left []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		left = nil
		for _, name := range members {
			proc, err := c.process(name)
			if err != nil {
				return nil, err
			}
			if proc.running {
				left = append(left, name)
			}
		}
		if len(left) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return left, nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Purge removes the cluster's data, keys and configuration; it must be down. What
// it did not make stays, and the directory with it.
func (c *Cluster) Purge() error {
	release, err := c.lockDir()
	if err != nil {
		return err
	}
	defer release()
	for _, p := range c.places {
		if proc, err := c.process(p.name); err != nil || proc.running {
			return errors.Join(err, withHint("etcdguard down"+c.dirFlag(), "purging %s: %s runs", c.dir, p.name))
		}
	}
	// The configuration of m1 goes last: until then the directory is recognised,
	// so that a purge that was interrupted can be repeated.
	doomed := []string{c.ringKey(), c.policy(), c.join("clients"), c.join("pki")}
	for _, p := range slices.Backward(c.places) {
		doomed = append(doomed, c.member(p.name, "data"))
	}
	for _, name := range append(doomed, c.join("members"), c.lock()) {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("purging %s: %w", c.dir, err)
		}
	}
	_ = os.Remove(filepath.Dir(c.ringKey())) // stays if somebody put something else there
	if left, err := os.ReadDir(c.dir); err != nil || len(left) > 0 {
		return err
	}
	return os.Remove(c.dir)
}
