package local

import (
	"errors"
	"io"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var discard = log.New(io.Discard, "", 0)

func held(t *testing.T, c *Cluster) map[string]Check {
	t.Helper()
	all, err := c.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 13 {
		t.Fatalf("%d checks", len(all))
	}
	out := map[string]Check{}
	for _, check := range all {
		out[check.Protects] = check
	}
	return out
}

func TestEveryCheckHoldsOnAMemberThatBehaves(t *testing.T) {
	for name, check := range held(t, fake{}.start(t)) {
		if !check.OK() {
			t.Errorf("%s: %v", name, check.Failed)
		}
	}
}

// TestEachCheckFailsWithoutItsProtection takes one protection away at a time; the
// check that is there for it has to notice, and every check has to notice at
// least one.
func TestEachCheckFailsWithoutItsProtection(t *testing.T) {
	tests := []struct {
		doctored string
		fake     fake
		noticed  string // the protection, by its beginning
		because  string
	}{
		{"no certificate asked for", fake{takesAnyone: true}, "client port: no one without", "answered without a certificate"},
		{"any authority trusted", fake{trustsAnyone: true}, "client port: no one of another", "answered CN=etcdguard-admin"},
		{"no clock", fake{trustsExpired: true}, "client port: no one whose", "answered CN=etcdguard-admin"},
		{"the peers' authority trusted", fake{trustsPeers: true}, "client port: no member acts", "answered CN=m1"},
		{"a server's certificate taken for a client's", fake{trustsUses: true}, "client port: no member acts", "answered CN=m1"},
		{"peer port asks for nothing", fake{peerTakesAnyone: true}, "peer port", "answered without a certificate"},
		{"peer port trusts clients", fake{peerTrustsAll: true}, "peer port", "answered CN=etcdguard-admin"},
		{"client port in the clear", fake{plain: "client"}, "nothing in the clear", "client port answered plain HTTP"},
		{"peer port in the clear", fake{plain: "peer"}, "nothing in the clear", "peer port answered plain HTTP"},
		{"no policy", fake{allowsAll: true}, "deny by default", "ended with OK, not PermissionDenied"},
		{"nobody may do anything: the control fails", fake{deniesAll: true}, "deny by default", "as etcdguard-admin ended with PermissionDenied, not OK"},
		{"monitor reads", fake{monitorReads: true}, "least privilege", "as etcdguard-monitor ended with OK"},
		{"monitor sees nothing: the control fails", fake{monitorIsDown: true}, "least privilege", "not OK"},
		{"JSON gateway", fake{page: "/v3/kv/range"}, "no JSON gateway", "/v3/kv/range is there"},
		{"debug variables", fake{page: "/debug/vars"}, "no JSON gateway", "/debug/vars is there"},
		{"profiles on the metrics port", fake{metricsPage: "/debug/pprof/"}, "no JSON gateway", "/debug/pprof/ is there"},
		{"values in the clear", fake{inTheClear: true}, "every member seals", "the phase is off"},
		{"Lock and Election served", fake{backDoor: true}, "no service behind", "not Unimplemented"},
		{"one more port", fake{extraPort: true}, "no port that", "does not declare"},
		{"a unix socket", fake{extraSocket: true}, "no port that", "listens on unix:"},
	}
	noticed := map[string]bool{"keys and data are the owner's": true} // prove's TestLooseModes
	claimed := held(t, fake{}.start(t))
	for _, tt := range tests {
		t.Run(tt.doctored, func(t *testing.T) {
			found := false
			for name, check := range held(t, tt.fake.start(t)) {
				if !strings.HasPrefix(name, tt.noticed) {
					continue
				}
				found = true
				noticed[name] = true
				if check.OK() || !strings.Contains(strings.Join(check.Failed, "\n"), tt.because) {
					t.Errorf("%s: held %v, %q; want %q", name, check.OK(), check.Failed, tt.because)
				}
			}
			if !found {
				t.Errorf("no check begins with %q", tt.noticed)
			}
		})
	}
	for name := range claimed {
		if !noticed[name] {
			t.Errorf("nothing shows that %q can fail", name)
		}
	}
}

func TestAMemberThatIsDownPassesNoCheckOfItsDoors(t *testing.T) {
	for name, check := range held(t, fake{stopped: true}.start(t)) {
		if check.OK() && name != "keys and data are the owner's" {
			t.Errorf("%s: holds on a member that is not there", name)
		}
	}
}

func TestPidOfAnotherProcessIsNotSignalled(t *testing.T) {
	l := layout{t.TempDir()}
	if err := os.MkdirAll(l.member("m1"), 0o700); err != nil {
		t.Fatal(err)
	}
	innocent := exec.Command("sleep", "600")
	if err := innocent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = innocent.Process.Kill(); _ = innocent.Wait() }()
	if err := os.WriteFile(l.member("m1", "member.pid"), []byte(strconv.Itoa(innocent.Process.Pid)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	proc, err := l.process("m1")
	if err != nil || proc.running || proc.pid != 0 {
		t.Errorf("a pid file that nobody holds: %+v %v", proc, err)
	}
	if err := l.signal("m1", syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := innocent.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other process was hit: %v", err)
	}
}

func TestProcessSeesTheHolderOfThePidFile(t *testing.T) {
	l := layout{t.TempDir()}
	if proc, err := l.process("m1"); err != nil || proc.running {
		t.Errorf("no pid file: %+v %v", proc, err)
	}
	if err := os.MkdirAll(l.member("m1"), 0o700); err != nil {
		t.Fatal(err)
	}
	holdPidFile(t, l.member("m1", "member.pid"))
	if proc, err := l.process("m1"); err != nil || !proc.running || proc.pid != os.Getpid() {
		t.Errorf("%+v %v", proc, err)
	}
}

func TestTwoUpsDoNotWorkInOneDirectory(t *testing.T) {
	l := layout{t.TempDir()}
	release, err := l.lockDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.lockDir(); err == nil || !strings.Contains(hintOf(t, err), "wait") {
		t.Errorf("a second one got in: %v", err)
	}
	release()
	again, err := l.lockDir()
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestLastWords(t *testing.T) {
	ended := errors.New("exit status 1")
	tests := []struct{ log, want string }{
		{"{info}\netcdguard: error: loading the policy:\nline 2\n", "loading the policy:\nline 2"},
		{"etcdguard: error: first and only", "first and only"},
		{"1\n2\n3\n4\n5\n6\n", "it ended (exit status 1) and said last:\n  2\n  3\n  4\n  5\n  6"},
		{"", "it ended (exit status 1) and said last:\n  "},
	}
	for _, tt := range tests {
		if got := lastWords(tt.log, ended); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.log, got, tt.want)
		}
	}
}
