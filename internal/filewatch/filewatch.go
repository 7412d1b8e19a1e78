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

// State is what files looked like at one time.
type State string

// Watch calls changed when any of files looks other than it did at since, or at
// the last call that returned nil; and once more every interval for as long as
// changed fails: a certificate and its key can't be replaced at one instant, and
// what was put back as it was must be noticed too. It returns when ctx ends.
//
// since is to be taken before the files are first read, or a change between that
// and the start of the watch goes unseen.
func Watch(ctx context.Context, interval time.Duration, since State, files []string, changed func() error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := Look(files)
		if now == since && !failing {
			continue
		}
		if failing = changed() != nil; !failing {
			since = now
		}
	}
}

// Look says what files look like now.
func Look(files []string) State {
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
	return State(b.String())
}
