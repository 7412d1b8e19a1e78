package member

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// process is the daemon as a process of its own.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    *output
	exited chan struct{}
}

// output is what a process wrote so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// spawn runs the daemon with these arguments and more environment.
func spawn(t testing.TB, args []string, environment ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), out: &output{}, exited: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), asMember+"=1"), environment...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = diesWithThisProcess()
	check(t, p.cmd.Start())
	go func() { p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.exited })
	return p
}

// spawn runs this member as a process that logs to its standard error.
func (w *world) spawn(environment ...string) *process {
	w.t.Helper()
	return spawn(w.t, w.args("log-outputs=stderr"), environment...)
}

// await waits for the process to write what.
func (p *process) await(what string) {
	p.t.Helper()
	over := false
	eventually(p.t, fmt.Sprintf("%q of the member, or its end", what), func() bool {
		select {
		case <-p.exited:
			over = true
		default:
		}
		return over || strings.Contains(p.out.String(), what)
	})
	if !strings.Contains(p.out.String(), what) {
		p.t.Fatalf("the member ended with %d before it said %q:\n%s", p.cmd.ProcessState.ExitCode(), what, p.out)
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	check(p.t, p.cmd.Process.Signal(s))
}

// exit waits for the end and returns the exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-withTimeout(p.t).Done():
		p.t.Fatalf("the member does not end:\n%s", p.out)
	}
	return p.cmd.ProcessState.ExitCode()
}

// contextOf ends when the process does.
func contextOf(ctx context.Context, p *process) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-p.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// ready is what etcd's own test framework waits for.
const ready = "ready to serve client requests"

// openWatch is a watch that has been created.
func openWatch(t *testing.T, conn *grpc.ClientConn, key string) pb.Watch_WatchClient {
	t.Helper()
	stream, err := pb.NewWatchClient(conn).Watch(withTimeout(t))
	check(t, err)
	check(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte(key)},
	}}))
	answer, err := stream.Recv()
	check(t, err)
	if !answer.Created || answer.Canceled {
		t.Fatalf("the watch was not created: %v", answer)
	}
	return stream
}

func TestSIGTERMEndsStreamsWithAReasonAndExitsWithZero(t *testing.T) {
	w := newWorld(t)
	notify := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	check(t, err)
	defer systemd.Close()
	told := make(chan string, 8)
	go func() {
		buffer := make([]byte, 1024)
		for {
			n, err := systemd.Read(buffer)
			if err != nil {
				return
			}
			told <- string(buffer[:n])
		}
	}()

	p := w.spawn("NOTIFY_SOCKET=" + notify)
	p.await(ready)
	hear(t, told, "READY=1")
	conn := w.dial("admin")
	watch := openWatch(t, conn, "/w/a")
	keepAlive, err := pb.NewLeaseClient(conn).LeaseKeepAlive(withTimeout(t))
	check(t, err)

	p.signal(syscall.SIGTERM)
	for name, stream := range map[string]grpc.ClientStream{"watch": watch, "lease keep-alive": keepAlive} {
		err := stream.RecvMsg(&pb.WatchResponse{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "stopping") {
			t.Errorf("the %s ended with %v; want Unavailable and the cause", name, err)
		}
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.out)
	}
	hear(t, told, "STOPPING=1")
}

func hear(t *testing.T, told <-chan string, want string) {
	t.Helper()
	select {
	case got := <-told:
		if got != want {
			t.Errorf("systemd was told %q, want %q", got, want)
		}
	case <-withTimeout(t).Done():
		t.Errorf("systemd was not told %q", want)
	}
}

// A client that does not read holds a stop up for as long as a request may take.
// An operator who asks twice does not want to wait.
func TestASecondSignalStopsAtOnce(t *testing.T) {
	w := newWorld(t)
	p := w.spawn()
	p.await(ready)
	admin := w.client("admin")
	for i := range 8 {
		_, err := admin.Put(withTimeout(t), fmt.Sprint("big", i), strings.Repeat("x", 1<<20))
		check(t, err)
	}
	snapshot, err := pb.NewMaintenanceClient(w.dial("admin")).Snapshot(withTimeout(t), &pb.SnapshotRequest{})
	check(t, err)
	_, err = snapshot.Recv()
	check(t, err)
	// Nothing more is read: the rest waits in the server for room in the window.
	p.signal(syscall.SIGTERM)
	p.await("received signal; shutting down")
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 1 {
		t.Errorf("exit code %d, want 1: the second signal was not heeded", code)
	}
}

func TestSIGHUPReloads(t *testing.T) {
	w := newWorld(t)
	p := w.spawn()
	p.await(ready)
	p.signal(syscall.SIGHUP) // the files are as they were: only the signal can be the cause
	p.await("the policy was reloaded")
	p.await("the certificates were reloaded")

	url := "https://" + w.clientAddr + "/health"
	stranger := w.curl("stranger")
	if code, _, _ := get(t, stranger, url); code != http.StatusForbidden {
		t.Fatalf("a stranger's /health: %d", code)
	}
	w.write("policy.yaml", []byte(strings.Replace(thePolicy, "cn: [monitor]", "cn: [monitor, stranger]", 1)))
	p.signal(syscall.SIGHUP)
	eventually(t, "the rights that the new policy gives", func() bool {
		code, _, _ := get(t, stranger, url)
		return code == http.StatusOK
	})
	w.write("policy.yaml", []byte("nonsense"))
	p.signal(syscall.SIGHUP)
	p.await("the policy was not reloaded; the old one stays in force")
	if code, _, _ := get(t, stranger, url); code != http.StatusOK {
		t.Errorf("after a reload that failed: %d", code)
	}
	p.signal(syscall.SIGINT)
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d after SIGINT", code)
	}
}

// A member may wait for its peers for ever. Meanwhile kubelet must not restart it,
// nobody may be let in, and it must stop when told.
func TestAMemberThatWaitsForItsPeersIsLiveAndNotReadyAndStops(t *testing.T) {
	w := newWorld(t)
	absent := w.newMember("m2")
	w.cluster = "m1=https://" + w.peerAddr + ",m2=https://" + absent.peerAddr
	probes := freeAddress(t)
	w.flags["listen-metrics-urls"] = "http://" + probes
	p := w.spawn()
	p.await("now serving peer/client/metrics")
	anyone := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	eventually(t, "/livez of the member that waits", func() bool {
		answer, err := anyone.Get("http://" + probes + "/livez")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	for _, path := range []string{"/readyz", "/health"} {
		if code, body, _ := get(t, anyone, "http://"+probes+path); code != http.StatusServiceUnavailable {
			t.Errorf("%s of a member that waits: %d %s", path, code, body)
		}
	}
	p.signal(syscall.SIGHUP) // must not kill it
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.out)
	}
	if strings.Contains(p.out.String(), ready) {
		t.Error("the client port was opened")
	}
}

// Tools and etcd's own test suite parse this (etcd's etcdmain prints four lines).
func TestVersionReadsLikeEtcds(t *testing.T) {
	p := spawn(t, []string{"--version"})
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	lines := strings.Split(p.out.String(), "\n")
	patterns := []string{`^etcd Version: ` + regexp.QuoteMeta(version.Version) + `$`, `^Git SHA: \S.*$`, `^Go Version: go\d\S*$`, `^Go OS/Arch: \w+/\w+$`}
	for i, pattern := range patterns {
		if i >= len(lines) || !regexp.MustCompile(pattern).MatchString(lines[i]) {
			t.Errorf("line %d of --version does not match %s:\n%s", i+1, pattern, p.out)
		}
	}
}

func TestHelpAndMistakesOnTheCommandLine(t *testing.T) {
	p := spawn(t, []string{"--help"})
	if code := p.exit(); code != 0 || !strings.Contains(p.out.String(), "--guard-config") || !strings.Contains(p.out.String(), "--listen-client-urls") {
		t.Errorf("--help: exit code %d:\n%.500s", code, p.out)
	}
	w := newWorld(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"an unknown flag":      {[]string{"--no-such-flag=1"}, "no-such-flag"},
		"an argument":          {[]string{"snapshot"}, `"snapshot" is not a valid flag`},
		"no guard":             {w.args("guard-config=-", "log-outputs=stderr"), "--guard-config FILE"},
		"a refusal":            {w.args("enable-pprof=true", "log-outputs=stderr"), "unsafe-pprof: true"},
		"a bad etcd value":     {w.args("election-timeout=1", "log-outputs=stderr"), "election-timeout"},
		"an absent config":     {[]string{"--config-file=" + w.file("absent.yaml")}, "absent.yaml"},
		"the v2 proxy of yore": {w.args("discovery-fallback=proxy", "log-outputs=stderr"), "--discovery-fallback"},
	} {
		p := spawn(t, c.args)
		if code := p.exit(); code != 1 {
			t.Errorf("%s: exit code %d, want 1:\n%s", name, code, p.out)
		}
		if !strings.Contains(p.out.String(), "etcdguard: error: ") || !strings.Contains(p.out.String(), c.want) {
			t.Errorf("%s: the error lacks %q:\n%s", name, c.want, p.out)
		}
	}
}

// What was acknowledged is there after SIGKILL and a second start on the same data.
func TestSIGKILLLosesNothingThatWasAcknowledged(t *testing.T) {
	w := newWorld(t)
	w.flags["unsafe-no-fsync"] = "-"
	p := w.spawn()
	p.await(ready)
	admin := w.client("admin")
	for i := range 20 {
		_, err := admin.Put(withTimeout(t), fmt.Sprint("k", i), "v")
		check(t, err)
	}
	p.signal(syscall.SIGKILL)
	p.exit()
	w.spawn().await(ready)
	r, err := w.client("admin").Get(context.Background(), "k", withPrefix)
	check(t, err)
	if r.Count != 20 {
		t.Errorf("%d of 20 keys are left", r.Count)
	}
}
