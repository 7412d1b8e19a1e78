package prove

import (
	"os"
	"path/filepath"
	"testing"
)

// Data directories have links in them, to a log on another device say. What is behind
// one is the member's as well.
func TestTheSearchGoesThroughLinks(t *testing.T) {
	top, elsewhere := t.TempDir(), t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(filepath.Join(elsewhere, "wal"), 0o700))
	check(os.WriteFile(filepath.Join(elsewhere, "wal", "0.wal"), []byte("a secret here"), 0o600))
	check(os.WriteFile(filepath.Join(elsewhere, "file"), []byte("another one"), 0o600))
	check(os.Symlink(filepath.Join(elsewhere, "wal"), filepath.Join(top, "wal")))
	check(os.Symlink(filepath.Join(elsewhere, "file"), filepath.Join(top, "file")))
	check(os.Symlink(top, filepath.Join(elsewhere, "wal", "back")))
	s, err := find([]string{top}, needle{"value", []byte("secret")}, needle{"other", []byte("another")})
	check(err)
	if s.found["value"] == "" || s.found["other"] == "" || len(s.unread) > 0 {
		t.Errorf("found %v in %d files, unread %v", s.found, s.files, s.unread)
	}
	check(os.Symlink("nowhere", filepath.Join(top, "broken")))
	check(os.Symlink("/dev/null", filepath.Join(top, "device")))
	if s, err = find([]string{top}); err != nil || len(s.unread) != 2 {
		t.Errorf("a link to nothing and a device: %v, %v", s.unread, err)
	}
	root := filepath.Join(t.TempDir(), "data")
	check(os.Symlink(top, root))
	if s, err = find([]string{root}, needle{"value", []byte("secret")}); err != nil || s.found["value"] == "" {
		t.Errorf("a data directory that is a link: %v, %v", s.found, err)
	}
}
