package prove

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLooseModes(t *testing.T) {
	dir := t.TempDir()
	modes := map[string]fs.FileMode{"pki/ca.key": 0o600, "data/db": 0o600, "policy.yaml": 0o600, "ca.crt": 0o644, "else/open": 0o666}
	for name, mode := range modes {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	elsewhere := func(path string) bool { return filepath.Base(path) == "else" }
	if err := LooseModes(dir, elsewhere); err != nil {
		t.Fatalf("control: %v", err)
	}
	if err := LooseModes(dir, nil); err == nil || !strings.Contains(err.Error(), "else/open") {
		t.Errorf("nothing left out: %v", err)
	}
	for name, mode := range map[string]fs.FileMode{"pki/ca.key": 0o640, "data": 0o750, "policy.yaml": 0o620, "ca.crt": 0o666} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := LooseModes(dir, elsewhere); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s with mode %04o: %v", name, mode, err)
		}
		if err := os.Chmod(path, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	empty := t.TempDir()
	if err := os.Chmod(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := LooseModes(empty, nil); err == nil || !onlyUntried(err) {
		t.Errorf("a folder without keys: %v", err)
	}
}

func TestLooseFiles(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := looseFiles([]string{key}); err != nil {
		t.Errorf("control: %v", err)
	}
	if err := looseFiles([]string{key, key + "-gone"}); err == nil || !onlyUntried(err) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := looseFiles([]string{key, key + "-gone"}); err == nil || onlyUntried(err) {
		t.Errorf("a key that the group reads: %v", err)
	}
}
