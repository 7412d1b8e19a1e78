package member

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// smallDisk makes the data directory a file system of its own.
func (w *world) smallDisk(mebibytes int) {
	w.t.Helper()
	dir := w.file("data")
	check(w.t, os.Mkdir(dir, 0o700))
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mebibytes))
	if errors.Is(err, syscall.EPERM) {
		w.t.Skip("SKIPPED, NOT SHOWN: a full disk needs a small file system, and mounting one needs root")
	}
	check(w.t, err)
	w.t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// fill takes what is left of the small disk.
func (w *world) fill() {
	w.t.Helper()
	f, err := os.Create(w.file("data/filler"))
	check(w.t, err)
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		n, err := f.Write(chunk)
		if err == nil {
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			w.t.Fatal(err)
		}
		chunk = chunk[:n/2]
	}
}

func TestADiskTooSmallIsRefusedBeforeEtcdBegins(t *testing.T) {
	w := newWorld(t)
	w.smallDisk(32)
	m, err := w.tryStart()
	if err == nil {
		m.Stop("it should not have started")
		t.Fatal("the member started")
	}
	if !strings.Contains(err.Error(), "make room") || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	if _, err := os.Stat(w.file("data/member")); err == nil {
		t.Error("etcd has begun its data")
	}
}

// A member on a disk that fills up stops, as etcd does; what it acknowledged is
// there once there is room again.
func TestNothingAcknowledgedIsLostOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	w.smallDisk(160)
	w.flags["unsafe-no-fsync"] = "-"
	p := w.spawn()
	p.await(ready)
	admin := w.client("admin")
	ctx := withTimeout(t)
	w.fill()
	acknowledged := 0
	for ; acknowledged < 10_000; acknowledged++ {
		put, cancel := contextOf(ctx, p)
		_, err := admin.Put(put, fmt.Sprintf("/w/%05d", acknowledged), strings.Repeat("x", 16<<10))
		cancel()
		if err != nil {
			break
		}
	}
	if acknowledged == 10_000 {
		t.Fatal("the disk never filled: this test shows nothing")
	}
	if code := p.exit(); code == 0 {
		t.Errorf("exit code %d of a member whose disk is full", code)
	}
	if !strings.Contains(p.out.String(), "no space left on device") {
		t.Errorf("the log does not say why it ended:\n%s", p.out)
	}
	if warnings := strings.Join(w.preflight(nil), "\n"); !strings.Contains(warnings, "make room") {
		t.Errorf("a second start does not warn: %q", warnings)
	}
	check(t, os.Remove(w.file("data/filler")))
	w.spawn().await(ready)
	r, err := w.client("admin").Get(ctx, "/w/", withPrefix, countOnly)
	check(t, err)
	if r.Count < int64(acknowledged) {
		t.Errorf("%d keys were acknowledged and %d are left", acknowledged, r.Count)
	}
}
