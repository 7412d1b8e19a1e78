package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpRemovesNothingThatItDidNotMake: --dir may name a project that has a folder
// called members.
func TestUpRemovesNothingThatItDidNotMake(t *testing.T) {
	for _, name := range []string{"members/profile.go", "members/m1/notes.txt", "members/alice/photo.jpg", "members/m1/data/thesis.tex"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			theirs := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(theirs), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(theirs, []byte("work of a year"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := tryPrepare(dir, Config{Listen: somewhere}); err == nil || !strings.Contains(hintOf(t, err), "--dir") {
				t.Errorf("a cluster was made where something else lives: %v", err)
			}
			if got, err := os.ReadFile(theirs); err != nil || string(got) != "work of a year" {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

// TestALinkIsNotFollowedWhenAHalfMadeClusterIsMadeAnew: what a link points to is
// not below the directory.
func TestALinkIsNotFollowedWhenAHalfMadeClusterIsMadeAnew(t *testing.T) {
	dir, elsewhere := filepath.Join(t.TempDir(), "c"), t.TempDir()
	kept := filepath.Join(elsewhere, "data", "x")
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "members"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "members", "m1")); err != nil {
		t.Fatal(err)
	}
	_, _ = tryPrepare(dir, Config{Listen: somewhere})
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

// TestADirectoryOfSomebodyElseIsRefused: its owner could replace every file in it,
// and root would run members on them.
func TestADirectoryOfSomebodyElseIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TRIED: only root can make a directory of somebody else's; run this test as root too")
	}
	dir := filepath.Join(t.TempDir(), "c")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := makePrivate(dir); err == nil || !strings.Contains(hintOf(t, err), "--dir") {
		t.Errorf("accepted: %v", err)
	}
}
