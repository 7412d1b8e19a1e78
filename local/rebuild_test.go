package local

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJoinExistingKeepsTheRestOfTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "etcd.yaml")
	const before = "# initial-cluster-state: a comment\nname: m1\ninitial-cluster-state: new\nlog-level: info # mine\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a rebuild that is run again finds its own change
		if err := joinExisting(file); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Replace(before, "state: new", "state: existing", 1); string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := os.WriteFile(file, []byte("name: m1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := joinExisting(file); err == nil {
		t.Error("a file that does not say it was taken for one that does")
	}
}

func TestErase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "member", "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "member", "wal", "0.wal")
	if err := os.WriteFile(file, bytes.Repeat([]byte("secret"), 300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(file) // sees what is overwritten, also after the name is gone
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	outside := filepath.Join(filepath.Dir(dir), "outside")
	if err := os.WriteFile(outside, []byte("stays"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := erase(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	left := make([]byte, 1_800_000)
	if n, _ := open.ReadAt(left, 0); n != len(left) || bytes.Count(left, []byte{0}) != n {
		t.Errorf("of %d bytes only %d were overwritten", n, bytes.Count(left, []byte{0}))
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "stays" {
		t.Errorf("what a link led to: %q %v", got, err)
	}
	if err := erase(dir); err != nil {
		t.Errorf("nothing to erase: %v", err)
	}
}

func TestRebuildRefuses(t *testing.T) {
	one := &Cluster{layout{t.TempDir()}, []placement{{name: "m1"}}}
	say := func(string, ...any) {}
	if err := one.Rebuild(t.Context(), "", "m9", say); err == nil || !strings.Contains(err.Error(), "no such member") {
		t.Error(err)
	}
	if err := one.Rebuild(t.Context(), "", "m1", say); err == nil || !strings.Contains(err.Error(), "nobody to be rebuilt from") {
		t.Error(err)
	}
}
