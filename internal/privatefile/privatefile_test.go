package privatefile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func file(t *testing.T, mode fs.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRead(t *testing.T) {
	link := func(target string) string {
		name := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	const loose = "chmod 600"
	for _, tt := range []struct {
		what, name string
		limit      int
		want       string // of the error; "" for none
	}{
		{"0600", file(t, 0o600), 7, ""},
		{"0400", file(t, 0o400), 7, ""},
		{"0640", file(t, 0o640), 7, loose},
		{"0604", file(t, 0o604), 7, loose},
		{"0620", file(t, 0o620), 7, loose},
		{"0601", file(t, 0o601), 7, loose},
		{"a link to a private file", link(file(t, 0o600)), 7, ""},
		{"a link to a loose file", link(file(t, 0o644)), 7, loose},
		{"longer than the limit", file(t, 0o600), 6, "more than 6 bytes"},
		{"a directory", t.TempDir(), 7, "no regular file"},
		{"a pipe", pipe, 7, "no regular file"},
	} {
		data, err := Read(tt.name, tt.limit)
		if tt.want == "" {
			if err != nil || string(data) != "content" {
				t.Errorf("%s: %q, %v", tt.what, data, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.want) || data != nil {
			t.Errorf("%s: %q, %v; want %q", tt.what, data, err, tt.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none"), 7); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestCredentialsMayBeReadByTheGroupOnly(t *testing.T) {
	for mode, want := range map[fs.FileMode]bool{0o400: true, 0o440: true, 0o600: true, 0o444: false, 0o460: false} {
		if _, err := ReadCredential(file(t, mode), 7); (err == nil) != want {
			t.Errorf("%04o: %v", mode, err)
		}
	}
}

func TestAFileOfSomebodyElseIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TRIED: only root can make a file of somebody else's; run this test as root too")
	}
	name := file(t, 0o600)
	if err := os.Chown(name, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(name, 7); err == nil || !strings.Contains(err.Error(), "chown 0 ") {
		t.Errorf("read: %v", err)
	}
}

func TestCreateReplacesNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := Create(name, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := Create(name, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("created twice: %v", err)
	}
	alone(t, name, "first")
	if err := Replace(name, []byte("third")); err != nil {
		t.Fatal(err)
	}
	alone(t, name, "third")
}

// alone checks a file's content and mode, and that no temporary file is beside it.
func alone(t *testing.T, name, want string) {
	t.Helper()
	if data, err := Read(name, 100); err != nil || !bytes.Equal(data, []byte(want)) {
		t.Errorf("%q, %v; want %q", data, err, want)
	}
	if all, err := os.ReadDir(filepath.Dir(name)); err != nil || len(all) != 1 {
		t.Errorf("%v, %v beside it", all, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestLockKeepsOthersOut(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	unlock, err := Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan func())
	go func() {
		second, err := Lock(name)
		if err != nil {
			t.Error(err)
		}
		got <- second
	}()
	d, err := os.Open(name + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if info, err := d.Stat(); err != nil || info.Mode() != 0o600 {
		t.Errorf("others can hold the lock: %v, %v", info.Mode(), err)
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
		t.Fatalf("not locked: %v", err)
	}
	unlock()
	(<-got)()
}
