package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// watched is a running Watch and the calls that it made.
type watched struct {
	t     *testing.T
	calls chan struct{}
	mu    sync.Mutex
	fails bool
}

func watch(t *testing.T, since State, files ...string) *watched {
	t.Helper()
	w := &watched{t: t, calls: make(chan struct{}, 1000)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, time.Millisecond, since, files, func() error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.calls <- struct{}{}
			if w.fails {
				return errors.New("bad file")
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if n := len(w.calls); n != 0 {
			t.Errorf("%d calls that no change explains", n)
		}
	})
	return w
}

func (w *watched) called() {
	w.t.Helper()
	select {
	case <-w.calls:
	case <-time.After(time.Minute):
		w.t.Fatal("the change was not noticed")
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rename(t, file+".new", file)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestEveryWayToReplaceAFileIsNoticedOnce(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, file, "1")
	w := watch(t, Look([]string{file, other}), file, other)

	write(t, file, "2") // by rename: same size, another inode
	w.called()
	if err := os.Chtimes(file, time.Time{}, time.Unix(1, 0)); err != nil { // written in place, as far as a look tells
		t.Fatal(err)
	}
	w.called()
	write(t, other, "x") // one that was absent
	w.called()
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	w.called()
	write(t, file, "the last one, so that calls too many are seen")
	w.called()
}

// A kubelet keeps a secret's files behind a symbolic link to a directory, and
// replaces the link.
func TestASwappedSymbolicLinkIsNoticed(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "tls.crt"), version)
	}
	link := filepath.Join(dir, "..data")
	if err := os.Symlink("v1", link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(link, "tls.crt")
	w := watch(t, Look([]string{file}), file)
	if err := os.Symlink("v2", link+".new"); err != nil {
		t.Fatal(err)
	}
	rename(t, link+".new", link)
	w.called()
}

func TestAChangeBeforeTheWatchBeganIsNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	write(t, file, "1")
	since := Look([]string{file})
	write(t, file, "2") // while the member waited for its peers, say
	watch(t, since, file).called()
}

// While what is there is bad, it is tried again: the second half of a pair may
// come, or the old file be put back so that nothing tells it from what it was.
func TestABadFileIsTriedAgainUntilItIsGood(t *testing.T) {
	dir := t.TempDir()
	file, kept := filepath.Join(dir, "a"), filepath.Join(dir, "kept")
	write(t, file, "good")
	w := watch(t, Look([]string{file}), file)
	w.mu.Lock()
	w.fails = true
	w.mu.Unlock()
	rename(t, file, kept)
	write(t, file, "bad")
	w.called()
	w.called()
	rename(t, kept, file)
	w.mu.Lock()
	w.fails = false
	for len(w.calls) > 0 { // failures until now
		<-w.calls
	}
	w.mu.Unlock()
	w.called()
}
