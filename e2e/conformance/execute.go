package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// execution runs tests of one package, one at a time.
type execution struct {
	w      *workshop
	pkg    string
	binary string
	env    []string
	// limit is how long one test may take before it counts as hung.
	limit time.Duration
	// log gets all that the tests print.
	log io.Writer
	// ended is told of each test that ends.
	ended func(test string, s status, took time.Duration)
}

// list are the tests that the package has.
func (x *execution) list(ctx context.Context) ([]string, error) {
	c := exec.CommandContext(ctx, x.binary, "-test.list", ".")
	c.Dir, c.Env = filepath.Join(x.w.run, x.pkg), x.env
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests of %s: %w", x.pkg, err)
	}
	return slices.DeleteFunc(strings.Fields(string(out)), func(name string) bool {
		return !strings.HasPrefix(name, "Test") // benchmarks are listed, too
	}), nil
}

// run runs the tests and returns what they said. A test that fails may leave a
// member on a fixed port or a goroutine, for which etcd's framework then skips
// what comes next; so after each failure the rest runs in a new process. A test
// that takes the whole process down, or longer than its limit, has failed.
func (x *execution) run(ctx context.Context, tests []string) (*journal, error) {
	j := newJournal(x.pkg)
	for left := tests; len(left) > 0; {
		p := &process{execution: x, j: j, stop: make(chan struct{})}
		err := p.run(ctx, left)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if j.running != "" {
			if p.spoiled {
				j.forget(j.running) // cut off, not by itself
			} else {
				j.fail(j.running, "conformance: the process ended within this test, or the test took too long\n")
				x.ended(j.running, failed, 0)
			}
			j.running = ""
		}
		before := len(left)
		left = slices.DeleteFunc(slices.Clone(left), func(t string) bool { return j.results[x.pkg+"/"+t] != "" })
		if len(left) == before {
			return nil, fmt.Errorf("running %s: not one of %d tests ran: %w; its output is in the log", x.pkg, before, err)
		}
	}
	return j, nil
}

// process is one process with tests.
type process struct {
	*execution
	j *journal
	// begun is when the running test began.
	begun atomic.Int64
	// spoiled tells that a test failed; stop is closed then.
	spoiled bool
	stop    chan struct{}
}

// run runs the process until it ends by itself, a test has failed or taken too
// long, or ctx ends.
func (p *process) run(ctx context.Context, tests []string) error {
	pattern := "^(" + strings.Join(tests, "|") + ")$"
	arguments := append([]string{"tool", "test2json", "-t", "-p", p.pkg, p.binary, "-test.v=test2json", "-test.run", pattern}, p.w.arguments(p.w)...)
	c := exec.Command("go", arguments...)
	c.Dir, c.Env, c.Stderr = filepath.Join(p.w.run, p.pkg), p.env, p.log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	p.began("")
	p.j.began, p.j.done = p.began, p.done
	if err := c.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.pkg, err)
	}
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		p.watch(ctx, c.Process.Pid, over)
	}()
	readErr := p.j.read(io.TeeReader(out, p.log))
	err = c.Wait()
	close(over)
	<-watched
	p.sweep()
	if readErr != nil {
		return readErr
	}
	return err
}

func (p *process) began(string) { p.begun.Store(time.Now().UnixNano()) }

func (p *process) done(test string) {
	p.ended(test, p.j.results[test], p.j.elapsed[test])
	if p.j.results[test] == failed && !p.spoiled {
		p.spoiled = true
		close(p.stop)
	}
}

// watch kills the process group when it is to end before it does so by itself.
func (p *process) watch(ctx context.Context, group int, over <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-ctx.Done():
		case <-p.stop:
		case <-tick.C:
			if time.Since(time.Unix(0, p.begun.Load())) < p.limit {
				continue
			}
		}
		syscall.Kill(-group, syscall.SIGKILL)
		p.sweep() // members hold the output open
		return
	}
}

// sweep kills members that a test left behind. They have sessions of their own and
// are known by the path of their program, which no other run has.
func (x *execution) sweep() {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err != nil || filepath.Dir(exe) != x.w.bin() {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			fmt.Fprintf(x.log, "conformance: ending %s, which a test left behind\n", filepath.Base(exe))
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
