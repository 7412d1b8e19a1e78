package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/e2e/peers"
)

// StockEtcd is a program for a Hand: etcd as its authors release it.
const StockEtcd = "etcd"

// Hand is a cluster whose members are run by hand, one by one, each as stock etcd or
// as a guarded member, on the same files: the way of an operator who adopts an etcd
// cluster, and of one who gives etcdguard up again.
type Hand struct {
	*Cluster
	// Initial is the members' names and peer URLs, as etcd's initial-cluster wants them.
	Initial string

	mu       sync.Mutex
	running  map[string]*process
	binaries map[string]string
}

// process is a member's last one.
type process struct {
	program string
	cmd     *exec.Cmd
	exited  chan struct{}
}

func (p *process) runs() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Run starts the members that are named, or all, as the program is called among the
// peers, and waits until they are healthy. Those that run already are left alone.
func (h *Hand) Run(t testing.TB, program string, members ...*Member) {
	t.Helper()
	if len(members) == 0 {
		members = h.Members
	}
	for _, m := range members {
		h.Start(t, program, m)
	}
	h.Healthy(t, members...)
}

// Start starts one member and waits for nothing.
func (h *Hand) Start(t testing.TB, program string, m *Member) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.running[m.Name]; p != nil {
		if !zombie(p.cmd.Process.Pid) {
			return
		}
		<-p.exited // one that was killed a moment ago may not be collected yet
	}
	log, err := os.OpenFile(filepath.Join(m.dir, "member.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := []string{"--config-file", filepath.Join(m.dir, "etcd.yaml")}
	if program == peers.Guard {
		args = append([]string{"member", "--guard-config", filepath.Join(m.dir, "guard.yaml")}, args...)
	}
	p := &process{program: program, cmd: exec.Command(h.binary(t, program), args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	h.running[m.Name] = p
	write(t, filepath.Join(m.dir, "member.pid"), fmt.Sprintln(p.cmd.Process.Pid))
}

// binary builds a program once: a build in the middle of a drill would be load that
// nobody asked for.
func (h *Hand) binary(t testing.TB, program string) string {
	if h.binaries == nil {
		h.binaries = map[string]string{}
	}
	if h.binaries[program] == "" {
		h.binaries[program] = peers.Path(t, program)
	}
	return h.binaries[program]
}

// Stop ends members, or all, with SIGTERM and waits for their end.
func (h *Hand) Stop(t testing.TB, members ...*Member) {
	t.Helper()
	if len(members) == 0 {
		members = h.Members
	}
	for _, m := range members {
		h.mu.Lock()
		p := h.running[m.Name]
		h.mu.Unlock()
		if p == nil || !p.runs() {
			continue
		}
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(upTime):
			t.Fatalf("%s did not end within %v of SIGTERM\n%s", m.Name, upTime, h.tails())
		}
	}
}

// Runs reports whether the member's process is there.
func (h *Hand) Runs(m *Member) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.running[m.Name]
	return p != nil && p.runs()
}

// resume starts those that do not run as what they were last.
func (h *Hand) resume(t testing.TB) {
	for _, m := range h.Members {
		h.mu.Lock()
		p := h.running[m.Name]
		h.mu.Unlock()
		if p != nil {
			h.Start(t, p.program, m)
		}
	}
	h.Healthy(t, h.Members...)
}

// Healthy waits until /health of every member says so.
func (h *Hand) Healthy(t testing.TB, members ...*Member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), upTime)
	defer cancel()
	config := h.TLS(t, "admin")
	for _, m := range members {
		for {
			if _, body, err := m.get(ctx, config, "/health"); err == nil && strings.Contains(body, `"health":"true"`) {
				break
			}
			if !h.Runs(m) {
				t.Fatalf("%s ended instead of becoming healthy\n%s", m.Name, h.tails())
			}
			if ctx.Err() != nil {
				t.Fatalf("%s did not become healthy within %v\n%s", m.Name, upTime, h.tails())
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func (h *Hand) killAll(t testing.TB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.Failed() {
		t.Logf("the members' last words:\n%s", h.tails())
	}
	for _, p := range h.running {
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// Stock is a cluster by hand of stock etcd that runs: the control that shows whether a
// test fails for want of a guard or because of it.
func Stock(t testing.TB, n int) *Cluster {
	t.Helper()
	h := ByHand(t, n)
	h.Run(t, StockEtcd)
	return h.Cluster
}
