package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdguard/etcdguard/e2e/peers"
)

// node is one data directory, and the addresses of whatever etcd runs on it.
type node struct {
	t          testing.TB
	dir        string
	clientAddr string
	peerAddr   string
}

func newNode(t testing.TB) *node {
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	n := &node{t: t, dir: t.TempDir(), clientAddr: free(), peerAddr: free()}
	n.write("guard.yaml", "apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: policy.yaml\nunsafe-plaintext-clients: true\nunsafe-peers: true\n")
	n.write("policy.yaml", "apiVersion: etcdguard.dev/v1\nkind: Policy\ncallers: [{name: all, match: {anonymous: true}}]\n"+
		"rules: [{name: all, callers: [all], role: admin}]\n")
	return n
}

func (n *node) write(name, text string) {
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// start runs a server on the data; program is a peer, or the member.
func (n *node) start(program string, more ...string) (*exec.Cmd, *bytes.Buffer) {
	n.t.Helper()
	args := append([]string{
		"--name=n", "--data-dir=" + filepath.Join(n.dir, "data"),
		"--listen-client-urls=http://" + n.clientAddr, "--advertise-client-urls=http://" + n.clientAddr,
		"--listen-peer-urls=http://" + n.peerAddr, "--initial-advertise-peer-urls=http://" + n.peerAddr,
		"--initial-cluster=n=http://" + n.peerAddr,
	}, more...)
	if program == peers.Guard {
		args = append([]string{"member", "--guard-config=" + filepath.Join(n.dir, "guard.yaml")}, args...)
	}
	cmd, out := exec.Command(peers.Path(n.t, program), args...), &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, out
}

func (n *node) stop(cmd *exec.Cmd) {
	n.t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	cmd.Wait()
}

func (n *node) client() (*clientv3.Client, context.Context) {
	n.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + n.clientAddr}, DialTimeout: 20 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	n.t.Cleanup(cancel)
	return c, ctx
}

func (n *node) put(from, to int) {
	n.t.Helper()
	c, ctx := n.client()
	for i := from; i < to; i++ {
		if _, err := c.Put(ctx, fmt.Sprintf("k%03d", i), "v"); err != nil {
			n.t.Fatalf("put %d: %v", i, err)
		}
	}
}

func (n *node) count() int64 {
	n.t.Helper()
	c, ctx := n.client()
	r, err := c.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		n.t.Fatal(err)
	}
	return r.Count
}

// TestDataThatCameThrough35IsRefusedUntil36HasTakenASnapshot is the upgrade hazard
// with the real binaries: 3.7 panics where the write-ahead log still holds requests
// of 3.5's v2 store, the member says what to do instead, and what it says works.
func TestDataThatCameThrough35IsRefusedUntil36HasTakenASnapshot(t *testing.T) {
	n := newNode(t)
	cmd, _ := n.start("etcd-3.5")
	n.put(0, 10)
	n.stop(cmd)
	cmd, _ = n.start("etcd-3.6")
	n.put(10, 20)
	n.stop(cmd)

	// The control: stock 3.7 does panic on this data. It gets a copy.
	copied := *n
	copied.dir = t.TempDir()
	if err := os.CopyFS(filepath.Join(copied.dir, "data"), os.DirFS(filepath.Join(n.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	stock, out := copied.start("etcd")
	if err := waitEnd(t, stock); err == nil || !strings.Contains(out.String(), "panic") {
		t.Fatalf("stock 3.7 does not panic: the data is not what this test is about\n%s", tail(out))
	}

	guarded, out := n.start(peers.Guard)
	err := waitEnd(t, guarded)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the member ended with %v", err)
	}
	for _, part := range []string{"v2 request of etcd 3.5", "start etcd 3.6", "--snapshot-count=10"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the member does not say %q:\n%s", part, tail(out))
		}
	}
	if strings.Contains(out.String(), "goroutine ") {
		t.Errorf("the member panicked:\n%s", tail(out))
	}

	// The way out that it names.
	cmd, _ = n.start("etcd-3.6", "--snapshot-count=10")
	n.put(20, 60)
	n.stop(cmd)
	n.start(peers.Guard)
	if got := n.count(); got != 60 {
		t.Errorf("the member serves %d keys of 60", got)
	}
}

func TestDataOf36StartsAtOnce(t *testing.T) {
	n := newNode(t)
	cmd, _ := n.start("etcd-3.6")
	n.put(0, 10)
	n.stop(cmd)
	n.start(peers.Guard)
	if got := n.count(); got != 10 {
		t.Errorf("the member serves %d keys of 10", got)
	}
	n.put(10, 20)
}

func waitEnd(t testing.TB, cmd *exec.Cmd) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the server does not end")
		return nil
	}
}

func tail(b *bytes.Buffer) string {
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
