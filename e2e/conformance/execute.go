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
	return strings.Fields(string(out)), nil
}

// run runs the tests and returns what they said. A test that takes the whole
// binary down (a panic, a limit passed) has failed; the others still run.
func (x *execution) run(ctx context.Context, tests []string) (*journal, error) {
	j := &journal{pkg: x.pkg, results: results{}, output: map[string]*strings.Builder{}, elapsed: map[string]time.Duration{}}
	j.done = func(test string) { x.ended(test, j.results[test], j.elapsed[test]) }
	for left := tests; len(left) > 0; {
		err := x.process(ctx, j, left)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if test := j.running; test != "" {
			j.take(event{Action: "output", Test: strings.TrimPrefix(test, x.pkg+"/"), Output: "conformance: the test binary ended within this test\n"})
			j.take(event{Action: "fail", Test: strings.TrimPrefix(test, x.pkg+"/")})
		}
		before := len(left)
		left = slices.DeleteFunc(slices.Clone(left), func(t string) bool { return j.results[x.pkg+"/"+t] != "" })
		if len(left) == before {
			return nil, fmt.Errorf("running etcd's %s suite: not one of %d tests ran: %w; its output is in the log", x.pkg, before, err)
		}
	}
	return j, nil
}

// process runs one process with the tests until it ends or a test passes its limit.
func (x *execution) process(ctx context.Context, j *journal, tests []string) error {
	pattern := "^(" + strings.Join(tests, "|") + ")$"
	c := exec.Command("go", "tool", "test2json", "-t", "-p", x.pkg,
		x.binary, "-test.v=test2json", "-test.run", pattern, "-bin-dir", x.w.bin())
	c.Dir, c.Env, c.Stderr = filepath.Join(x.w.run, x.pkg), x.env, x.log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("starting etcd's %s suite: %w", x.pkg, err)
	}
	var begun atomic.Int64 // when the running test began
	begun.Store(time.Now().UnixNano())
	j.began = func(string) { begun.Store(time.Now().UnixNano()) }
	over := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-ctx.Done():
			case <-tick.C:
				if time.Since(time.Unix(0, begun.Load())) < x.limit {
					continue
				}
			}
			syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			x.sweep() // members hold the output open
			return
		}
	}()
	readErr := j.read(io.TeeReader(out, x.log))
	err = c.Wait()
	close(over)
	<-watched
	x.sweep()
	if readErr != nil {
		return readErr
	}
	return err
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
