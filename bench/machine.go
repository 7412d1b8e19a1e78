package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/etcdguard/etcdguard/bench/report"
)

// describeMachine says what a reader needs to place the figures, and nothing
// that names the machine.
func describeMachine(dir string) (report.Machine, error) {
	sync, err := syncTime(dir)
	if err != nil {
		return report.Machine{}, fmt.Errorf("timing the disk: %w", err)
	}
	return report.Machine{
		Cores:      runtime.NumCPU(),
		Platform:   runtime.GOOS + "/" + runtime.GOARCH,
		Filesystem: filesystem(dir),
		SyncMillis: float64(sync.Microseconds()) / 1e3,
	}, nil
}

// filesystem names what dir lies on, by the magic numbers of statfs(2).
func filesystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "an unknown filesystem"
	}
	names := map[int64]string{
		0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs",
		0x01021994: "tmpfs", 0x794c7630: "overlayfs", 0x2fc12fc1: "zfs",
	}
	if name, ok := names[int64(s.Type)]; ok {
		return name
	}
	return fmt.Sprintf("a filesystem of type %#x", s.Type)
}

// syncTime is the median time of an append of 2 KiB that reaches the disk, the
// shape of a write-ahead log under single writes.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	const times = 200
	block := make([]byte, 2048)
	took := make([]time.Duration, 0, times)
	for range times {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[times/2], nil
}
