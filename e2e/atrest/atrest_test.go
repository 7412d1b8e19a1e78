package atrest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net"
	"net/http"
	"net/url"
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

const canary = "canary-93c1"

func plain(int) string { return "k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x20" + canary }

// sealed is a value as docs/design/06-sealed-values.md describes it; nobody opens it.
func sealed(n int) string {
	body := make([]byte, 24+n+16)
	rand.Read(body)
	b := append([]byte{0xe5, 'e', 'g', 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 3}, binary.BigEndian.AppendUint32(nil, uint32(n))...)
	b = append(b, body...)
	return string(binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))))
}

// count is as in docs/atrest.md.
type count struct{ Values int64 }

type report struct {
	Totals []struct {
		Form                        string
		Ring                        string
		Live, History, Log, Residue count
	}
	Files []struct {
		Path, Kind string
		Problems   []string
	}
}

func (r report) sum(form string) (live, history, log, residue int64) {
	for _, row := range r.Totals {
		if row.Form == form {
			live, history, log, residue = live+row.Live.Values, history+row.History.Values, log+row.Log.Values, residue+row.Residue.Values
		}
	}
	return
}

func TestDataOfEachEtcd(t *testing.T) {
	for _, program := range []string{"etcd-3.4", "etcd-3.5", "etcd-3.6", "etcd"} {
		for name, value := range map[string]func(int) string{"plaintext": plain, "sealed": sealed} {
			t.Run(program+" "+name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				run(t, program, dir, value)
				r, code := look(t, dir)
				live, history, log, residue := r.sum(name)
				t.Logf("live %d, history %d, log %d, residue %d", live, history, log, residue)
				if live != 20 || history != 40 || log < 60 || residue < 20 {
					t.Errorf("%s: live %d, history %d, log %d, residue %d; want 20, 40, 60 or more, 20 or more", name, live, history, log, residue)
				}
				for _, f := range r.Files {
					if len(f.Problems) > 0 {
						t.Errorf("%s: %v", f.Path, f.Problems)
					}
				}
				a, b, c, d := r.sum("plaintext")
				e, f, g, h := r.sum("unknown")
				if name == "sealed" && (a+b+c+d+e+f+g+h != 0 || code != 0) {
					t.Errorf("not all sealed, exit code %d: %+v", code, r.Totals)
				}
				if name == "plaintext" && code != 1 {
					t.Errorf("plaintext passes for sealed: exit code %d", code)
				}
			})
		}
	}
}

// What clients put into the old store of etcd 3.4 is in its log and its raft snapshots.
func TestTheOldStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	stop, address := start(t, "etcd-3.4", dir, "--enable-v2", "--snapshot-count=10")
	for i := range 30 {
		body := url.Values{"value": {canary + strings.Repeat(" and more", i)}}.Encode()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, fmt.Sprintf("http://%s/v2/keys/app/%d", address, i), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != http.StatusCreated {
			t.Fatalf("putting: %s", answer.Status)
		}
	}
	stop()
	snapshots, err := filepath.Glob(filepath.Join(dir, "member/snap/*.snap"))
	if err != nil || len(snapshots) == 0 {
		t.Fatalf("no raft snapshot: %v", err)
	}
	for _, part := range []string{filepath.Join(dir, "member/wal"), snapshots[len(snapshots)-1]} {
		r, code := look(t, part)
		if _, _, log, _ := r.sum("plaintext"); log < 10 || code != 1 {
			t.Errorf("%s: %d plaintext values, exit code %d", part, log, code)
		}
	}
}

func look(t *testing.T, path string) (r report, code int) {
	t.Helper()
	cmd := exec.Command(peers.Path(t, peers.Guard), "atrest", "-o", "json", "--expect", "sealed", path)
	out, err := cmd.Output()
	if len(out) == 0 {
		t.Fatal(err)
	}
	if strings.Contains(string(out), canary) {
		t.Error("a value was printed")
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r, cmd.ProcessState.ExitCode()
}

// start runs an etcd until stop is called, or the test ends.
func start(t *testing.T, program, dir string, more ...string) (stop func(), address string) {
	t.Helper()
	address, peer := free(t), free(t)
	cmd := exec.Command(peers.Path(t, program), append([]string{
		"--name=n", "--data-dir=" + dir, "--listen-client-urls=http://" + address, "--advertise-client-urls=http://" + address,
		"--listen-peer-urls=http://" + peer, "--initial-advertise-peer-urls=http://" + peer, "--initial-cluster=n=http://" + peer,
	}, more...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for c := client(t, address); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := c.Get(ctx, "x")
		cancel()
		if err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}, address
}

func client(t *testing.T, address string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// run has an etcd write 20 keys three times each, and before them keys that are
// deleted and compacted.
func run(t *testing.T, program, dir string, value func(int) string) {
	t.Helper()
	stop, address := start(t, program, dir)
	c, ctx := client(t, address), t.Context()
	put := func(key string, n int) {
		if _, err := c.Put(ctx, key, value(n)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		put(fmt.Sprintf("/registry/secrets/gone/%d", i), 600)
	}
	if _, err := c.Delete(ctx, "/registry/secrets/gone/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(ctx, got.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for i := range 20 {
			put(fmt.Sprintf("/registry/configmaps/default/%d", i), 100+i)
		}
	}
	stop()
	if _, err := os.Stat(filepath.Join(dir, "member/snap/db")); err != nil {
		t.Fatal(err)
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
