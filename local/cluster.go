package local

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		return nil, badFlag("reading --members %d: a cluster has 1 member, or 3 to survive the loss of one", cfg.Members)
	}
	if cfg.Listen != "" { // a mistake in it is found before anything is made
		if _, err := place(cfg.Listen, max(cfg.Members, 1)); err != nil {
			return nil, err
		}
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
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	return c, c.awaitHealthy(ctx, children, func() ([]*started, error) { return c.launch(cfg, say) }, say)
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
	if err := checkFree(stopped, c.everRan(c.places)); err != nil {
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
// as one that was started here ends. One that ran before and is gone is started:
// a process that was killed an instant before up looked still held its lock. One that
// is half rebuilt is waited for by nobody: it can't become healthy by being started.
func (c *Cluster) awaitHealthy(ctx context.Context, children []*started, relaunch func() ([]*started, error), say func(string, ...any)) error {
	healthy, half := map[string]bool{}, map[string]bool{}
	for {
		for _, child := range children {
			select {
			case <-child.ended:
				if named, err := c.HalfRebuilt(ctx); err != nil || !slices.Contains(named, child.member) {
					return child.failure()
				}
				half[child.member] = true
			default:
			}
		}
		status, err := c.Status(ctx)
		if err != nil {
			return err
		}
		var waiting []string
		gone := false
		for _, m := range status.Members {
			switch {
			case m.Learner || half[m.Name]:
				half[m.Name] = true
			case m.State != Healthy:
				waiting = append(waiting, m.Name+": "+m.Problem)
				gone = gone || m.State == Down && !slices.ContainsFunc(children, func(s *started) bool { return s.member == m.Name })
			case !healthy[m.Name]:
				healthy[m.Name] = true
				say("%s is healthy", m.Name)
			}
		}
		if len(waiting) == 0 && len(half) > 0 {
			return withHint(goOn+c.dirFlag(), "starting %s: its rebuild was cut off, and it has no vote in the cluster",
				strings.Join(slices.Sorted(maps.Keys(half)), ", "))
		}
		if len(waiting) == 0 {
			return nil
		}
		if gone {
			more, err := relaunch()
			if err != nil {
				return err
			}
			children = append(children, more...)
		}
		select {
		case <-ctx.Done():
			return withHint("what runs goes on; look at it with etcdguard status"+c.dirFlag()+" and at members/*/member.log there",
				"waiting for the members to become healthy: %w\n  %s", context.Cause(ctx), strings.Join(waiting, "\n  "))
		case <-time.After(200 * time.Millisecond):
		}
	}
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

// Dir is the cluster's directory, absolute.
func (c *Cluster) Dir() string { return c.dir }

// DirFlag is the --dir that the next command needs to mean this cluster, with a
// space before it, or nothing.
func (c *Cluster) DirFlag() string { return c.dirFlag() }

// Clients are the names that Env takes.
func Clients() []string {
	var out []string
	for _, c := range callers {
		out = append(out, c.name)
	}
	return out
}

// Env is the environment that makes etcdctl talk to the cluster as the named
// client, as NAME=value, not quoted. member narrows it to one member; "" is all.
func (c *Cluster) Env(client, member string) ([]string, error) {
	crt, key := c.client(client)+".crt", c.client(client)+".key"
	if filepath.Base(client) != client || client == "ca" {
		return nil, withHint("one of "+strings.Join(Clients(), ", "), "choosing the client %q: that is no name of a client", client)
	}
	for _, file := range []string{crt, key} {
		if _, err := os.Stat(file); err != nil {
			return nil, withHint("one of "+strings.Join(Clients(), ", "), "choosing the client %q: %w", client, err)
		}
	}
	var endpoints, names []string
	for _, p := range c.places {
		names = append(names, p.name)
		if member == "" || member == p.name {
			endpoints = append(endpoints, "https://"+p.client.String())
		}
	}
	if len(endpoints) == 0 {
		return nil, withHint("one of "+strings.Join(names, ", "), "choosing the member %q: there is none of that name", member)
	}
	return []string{
		"ETCDCTL_ENDPOINTS=" + strings.Join(endpoints, ","),
		"ETCDCTL_CACERT=" + c.clientsCA(),
		"ETCDCTL_CERT=" + crt,
		"ETCDCTL_KEY=" + key,
	}, nil
}
