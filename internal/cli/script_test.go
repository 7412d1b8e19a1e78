package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/etcdguard/etcdguard/local"
)

// TestMain makes this binary the commands of the scripts: etcdguard itself, whose
// up starts members that are this binary again, and etcd, the same under the name
// that makes it a member.
func TestMain(m *testing.M) {
	run := func() { os.Exit(Main(os.Args, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"etcdguard": run, "etcd": run})
}

func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts (%v): nothing would be tested", err)
	}
	ports := &rows{next: 15000 + os.Getpid()%1000*9}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			first, err := ports.take()
			env.Setenv("PORT", strconv.Itoa(first))
			env.Setenv("HOME", env.WorkDir)
			// Every cluster of a script lives in one of these two places; whatever
			// the script leaves running is stopped.
			env.Defer(func() {
				stopIfThere(filepath.Join(env.WorkDir, "c"))
				stopIfThere(filepath.Join(env.WorkDir, ".local", "share", "etcdguard"))
			})
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sigkill":  sigkill,
			"etcd-env": etcdEnv,
			"members":  members,
			"interval": killedAtEveryStep,
			"run-for":  interrupted,
			"new-ring": newRing,
			"merge":    mergeReport,
			"make-log": makeLog,
		},
	})
}

// rows gives each script nine ports in a row that are free and below those that
// the kernel gives to outgoing connections.
type rows struct {
	mu   sync.Mutex
	next int
}

func (r *rows) take() (int, error) {
	const end, row = 31000, 9
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.next+row < end {
		first := r.next
		r.next += row
		if rowIsFree(first, row) {
			return first, nil
		}
	}
	return 0, errors.New("no free ports")
}

func rowIsFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

func stopIfThere(dir string) {
	if c, err := local.Open(dir); err == nil {
		_, _ = c.Down(context.Background(), 10*time.Second)
	}
}

// sigkill MEMBER: kills a member of the cluster in c by the pid in its pid file.
func sigkill(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(filepath.Join("c", "members", args[0], "member.pid"))))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
}

// etcd-env FILE: sets the variables that a file of exports holds, as eval does.
func etcdEnv(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command("sh", "-c", `eval "$(cat "$1")" && env`, "sh", ts.MkAbs(args[0]))
	cmd.Env = []string{}
	out, err := cmd.Output()
	ts.Check(err)
	found := 0
	for _, line := range strings.Split(string(out), "\n") {
		if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "ETCDCTL_") {
			ts.Setenv(name, value)
			found++
		}
	}
	if found != 4 {
		ts.Fatalf("%d variables of etcdctl in %s, want 4", found, args[0])
	}
}

// members FILE STATE...: compares the states in a status -o json, in order.
func members(ts *testscript.TestScript, neg bool, args []string) {
	var status local.Status
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &status))
	var got []string
	for _, m := range status.Members {
		got = append(got, string(m.State))
		if (m.Pid != 0) != (m.State != local.Down) {
			ts.Fatalf("%s is %s with pid %d", m.Name, m.State, m.Pid)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(args[1:]) {
		ts.Fatalf("members are %v, want %v", got, args[1:])
	}
}

// up is `etcdguard up` on the cluster in c, as a process of its own.
func startUp(ts *testscript.TestScript, extra ...string) (*exec.Cmd, *bufio.Scanner) {
	args := append([]string{"up", "--dir", ts.MkAbs("c"), "--listen", "127.0.0.1:" + ts.Getenv("PORT")}, extra...)
	exe, err := exec.LookPath("etcdguard")
	ts.Check(err)
	cmd := exec.Command(exe, args...)
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	return cmd, bufio.NewScanner(stderr)
}

// interval: runs up again and again, killing it when it has said one line more
// than the last time, until it gets through.
func killedAtEveryStep(ts *testscript.TestScript, neg bool, args []string) {
	for lines := 1; ; lines++ {
		cmd, said := startUp(ts)
		n := 0
		for n < lines && said.Scan() {
			n++
		}
		if n < lines { // it has nothing more to say: it ended
			ts.Check(cmd.Wait())
			ts.Logf("killed %d times before it got through", lines-1)
			if lines < 4 {
				ts.Fatalf("up says only %d lines: it was hardly interrupted", lines-1)
			}
			return
		}
		ts.Check(cmd.Process.Kill())
		_ = cmd.Wait()
	}
}

// run-for: runs up --foreground, interrupts it once it stays, and waits.
func interrupted(ts *testscript.TestScript, neg bool, args []string) {
	cmd, said := startUp(ts, "--foreground", "--members", "1")
	stays := false
	var all []string
	for said.Scan() {
		all = append(all, said.Text())
		if strings.Contains(said.Text(), "Ctrl-C") {
			stays = true
			ts.Check(cmd.Process.Signal(os.Interrupt))
		}
	}
	err := cmd.Wait()
	if err != nil || !stays {
		ts.Fatalf("up --foreground: %v, said:\n%s", err, strings.Join(all, "\n"))
	}
}

// mergeReport runs "etcdguard prove merge --partial" with the public key in a file:
//
//	merge KEYFILE REPORT
func mergeReport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: merge KEYFILE REPORT")
	}
	ts.Check(ts.Exec("etcdguard", "prove", "merge", "--partial", "--key", strings.TrimSpace(ts.ReadFile(args[0])), args[1]))
}
