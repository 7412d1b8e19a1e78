// Package filewatch notices that files changed, by looking at them on a timer:
// certificates and policies are replaced by renames, by symbolic links that a
// kubelet swaps, and over file systems that report nothing, and a look works for
// all of them. It trusts modification time, size and inode.
package filewatch

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Watch calls changed after the state of any of files differs from what it was at
// the last call that returned nil, and once more every interval for as long as
// changed fails: a certificate and its key can't be replaced at one instant. It
// returns when ctx ends.
func Watch(ctx context.Context, interval time.Duration, files []string, changed func() error) {
	seen := fingerprint(files)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := fingerprint(files); now != seen && changed() == nil {
			seen = now
		}
	}
}

func fingerprint(files []string) string {
	var b strings.Builder
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s: absent\n", name)
			continue
		}
		inode := uint64(0)
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = sys.Ino
		}
		fmt.Fprintf(&b, "%s: %d %d %d\n", name, info.ModTime().UnixNano(), info.Size(), inode)
	}
	return b.String()
}
