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

// Defaults of a new cluster.
const (
	DefaultMembers = 3
	DefaultListen  = "127.0.0.1"
)

// Config says what cluster Up is to bring up.
type Config struct {
	Dir     string // where it lives; default DefaultDir
	Members int    // 1 or 3; 0: as many as there are, 3 for a new one
	Listen  string // HOST or HOST:PORT of the first member; "": where it is, 127.0.0.1 for a new one

	Executable string        // the etcdguard binary; default this one
	Timeout    time.Duration // for all members to become healthy; default 1 minute

	Progress func(line string) // told what happens; default: nobody
}

// Cluster is a cluster on this machine that Up made.
type Cluster struct {
	layout
	places []placement
}

// Open finds the cluster in a directory, "" being DefaultDir. It is ErrNoCluster
// if there is none.
func Open(dir string) (*Cluster, error) {
	l, err := newLayout(dir)
	if err != nil {
		return nil, err
	}
	places, err := l.members()
	if err != nil {
		return nil, err
	}
	return &Cluster{l, places}, nil
}

// Up brings the cluster up and returns once every member is healthy. Members that
// run are left alone, the others are started.
func Up(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Members != 0 && cfg.Members != 1 && cfg.Members != 3 {
		return nil, fmt.Errorf("reading --members %d: a cluster has 1 member, or 3 to survive the loss of one", cfg.Members)
	}
	say := func(format string, args ...any) {
		if cfg.Progress != nil {
			cfg.Progress(fmt.Sprintf(format, args...))
		}
	}
	if cfg.Executable == "" {
		var err error
		if cfg.Executable, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding the etcdguard binary: %w", err)
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	l, err := newLayout(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{layout: l}
	children, err := c.launch(cfg, say)
	if err != nil {
		return nil, err
	}
	return c, c.awaitHealthy(ctx, cfg.Timeout, children, say)
}

// launch does everything that two up must not do at the same time.
func (c *Cluster) launch(cfg Config, say func(string, ...any)) ([]*started, error) {
	if err := makePrivate(c.dir); err != nil {
		return nil, err
	}
	release, err := c.lockDir()
	if err != nil {
		return nil, err
	}
	defer release()
	if c.places, err = c.prepare(cfg, say); err != nil {
		return nil, err
	}
	var stopped []placement
	for _, p := range c.places {
		proc, err := c.process(p.name)
		if err != nil {
			return nil, err
		}
		if proc.running {
			say("%s runs already (pid %d)", p.name, proc.pid)
			continue
		}
		stopped = append(stopped, p)
	}
	if err := checkFree(stopped, true); err != nil {
		return nil, err
	}
	var children []*started
	for _, p := range stopped {
		child, err := c.start(cfg.Executable, p.name)
		if err != nil {
			return nil, err
		}
		children = append(children, child)
		say("%s started (pid %d), client port %s", p.name, child.pid, p.client)
	}
	return children, nil
}

// awaitHealthy returns when every member answers a linearizable read, or as soon
// as one that was started here ends.
func (c *Cluster) awaitHealthy(ctx context.Context, timeout time.Duration, children []*started, say func(string, ...any)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dead := make(chan *started, len(children))
	for _, child := range children {
		go func() {
			<-child.ended
			dead <- child
		}()
	}
	healthy := map[string]bool{}
	for {
		status, err := c.Status(ctx)
		if err != nil {
			return err
		}
		var waiting []string
		for _, m := range status.Members {
			if m.State != Healthy {
				waiting = append(waiting, m.Name+": "+m.Problem)
			} else if !healthy[m.Name] {
				healthy[m.Name] = true
				say("%s is healthy", m.Name)
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		select {
		case child := <-dead:
			return child.failure()
		case <-ctx.Done():
			return withHint("members run on; look at them with etcdguard status, and at "+c.member("m1", "member.log"),
				"waiting for the members to become healthy: %w\n  %s", context.Cause(ctx), strings.Join(waiting, "\n  "))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Dir is the cluster's directory, absolute.
func (c *Cluster) Dir() string { return c.dir }

// Clients are the names that Env takes.
func Clients() []string {
	var out []string
	for _, c := range callers {
		out = append(out, c.name)
	}
	return out
}

// Env is the environment that makes etcdctl talk to the cluster as the named
// client, as NAME=value, not quoted.
func (c *Cluster) Env(client string) ([]string, error) {
	crt, key := c.client(client)+".crt", c.client(client)+".key"
	if filepath.Base(client) != client || client == "ca" {
		return nil, withHint("one of "+strings.Join(Clients(), ", "), "choosing the client %q: that is no name of a client", client)
	}
	for _, file := range []string{crt, key} {
		if _, err := os.Stat(file); err != nil {
			return nil, withHint("one of "+strings.Join(Clients(), ", "), "choosing the client %q: %w", client, err)
		}
	}
	var endpoints []string
	for _, p := range c.places {
		endpoints = append(endpoints, "https://"+p.client.String())
	}
	return []string{
		"ETCDCTL_ENDPOINTS=" + strings.Join(endpoints, ","),
		"ETCDCTL_CACERT=" + c.clientsCA(),
		"ETCDCTL_CERT=" + crt,
		"ETCDCTL_KEY=" + key,
	}, nil
}

// Stopped says how one member was stopped.
type Stopped struct {
	Member string
	Pid    int  // 0: it did not run
	Killed bool // it did not end in time by itself
}

// Down stops every member that runs: SIGTERM, and SIGKILL for those that are
// still there after the grace time. Data and configuration stay.
func (c *Cluster) Down(ctx context.Context, grace time.Duration) ([]Stopped, error) {
	release, err := c.lockDir()
	if err != nil {
		return nil, err
	}
	defer release()
	var out []Stopped
	var problems []error
	for _, p := range c.places {
		proc, err := c.process(p.name)
		if err == nil && proc.running {
			err = c.signal(p.name, syscall.SIGTERM)
		}
		if err != nil {
			problems = append(problems, err)
		}
		out = append(out, Stopped{Member: p.name, Pid: proc.pid})
	}
	left, err := c.awaitStopped(ctx, grace)
	problems = append(problems, err)
	for _, name := range left {
		if err := c.signal(name, syscall.SIGKILL); err != nil {
			problems = append(problems, err)
		}
		i := slices.IndexFunc(out, func(s Stopped) bool { return s.Member == name })
		out[i].Killed = true
	}
	if len(left) > 0 {
		// A killed process is gone once the kernel has let go of its memory.
		if left, err = c.awaitStopped(context.WithoutCancel(ctx), time.Minute); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("stopping %s: still there after SIGKILL", strings.Join(left, ", ")))
		}
		problems = append(problems, err)
	}
	return out, errors.Join(problems...)
}

// awaitStopped waits until no member runs or the time is over, and returns those
// that still do.
func (c *Cluster) awaitStopped(ctx context.Context, atMost time.Duration) (left []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		left = nil
		for _, p := range c.places {
			proc, err := c.process(p.name)
			if err != nil {
				return nil, err
			}
			if proc.running {
				left = append(left, p.name)
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
			return errors.Join(err, withHint("etcdguard down --dir "+ShellQuote(c.dir), "purging %s: %s runs", c.dir, p.name))
		}
	}
	// The configuration of m1 goes last: until then the directory is recognised,
	// so that a purge that was interrupted can be repeated.
	doomed := []string{c.policy(), c.join("clients"), c.join("pki")}
	for _, p := range slices.Backward(c.places) {
		doomed = append(doomed, c.member(p.name, "data"))
	}
	for _, name := range append(doomed, c.join("members"), c.lock()) {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("purging %s: %w", c.dir, err)
		}
	}
	if left, err := os.ReadDir(c.dir); err != nil || len(left) > 0 {
		return err
	}
	return os.Remove(c.dir)
}

// Stay returns when ctx ends, with nil, or when no member runs any more, with an
// error.
func (c *Cluster) Stay(ctx context.Context) error {
	for {
		running := 0
		for _, p := range c.places {
			proc, err := c.process(p.name)
			if err != nil {
				return err
			}
			if proc.running {
				running++
			}
		}
		if running == 0 {
			return withHint("read "+c.member("m1", "member.log"), "watching the members: all of them ended")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}
