package evidence

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestALogsIdentityIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadSigner(dir, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a signer was loaded from nothing: %v", err)
	}
	s, err := CreateSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^etcdguard\.dev/audit/[0-9a-f]{32}$`).MatchString(s.Origin()) {
		t.Errorf("the origin is %q", s.Origin())
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	if _, err := CreateSigner(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another identity replaced it: %v", err)
	}
	again, err := LoadSigner(dir, "")
	if err != nil || again.Origin() != s.Origin() || !slices.Equal(again.Public(), s.Public()) {
		t.Fatalf("%v: %+v is not %+v", err, again, s)
	}
	// Killed after the key was written.
	os.Remove(filepath.Join(dir, publicFile))
	if again, err = LoadSigner(dir, ""); err != nil || !slices.Equal(again.Public(), s.Public()) {
		t.Errorf("%v: %q", err, again.Public())
	}
	if err := os.Chmod(filepath.Join(dir, keyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSigner(dir, ""); err == nil {
		t.Error("a key that others can read is taken")
	}
}

// The text is what c2sp.org/tlog-checkpoint and signed-note say, read by the library
// that others read it with.
func TestACheckpointIsASignedNote(t *testing.T) {
	s, err := CreateSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Checkpoint(7, tlog.Hash{1})
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(s.Public()[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(text), note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	if want := s.Origin() + "\n7\nAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"; n.Text != want {
		t.Errorf("got %q, want %q", n.Text, want)
	}
	c, err := Unverified(text)
	if err != nil || c.Size != 7 || c.Root != (tlog.Hash{1}) || c.Origin != s.Origin() {
		t.Errorf("%+v %v", c, err)
	}
}

// A crash between any two steps of a hand-over leaves a signer that goes on: with the
// old key if the event is not in the log, with the new one if it is.
func TestAHandoverIsFinishedOrWasNeverBegun(t *testing.T) {
	dir := t.TempDir()
	s, err := CreateSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Handover(100, tlog.Hash{1})
	if err != nil {
		t.Fatal(err)
	}
	// Not in the log.
	if again, err := LoadSigner(dir, ""); err != nil || len(again.Public()) != 1 {
		t.Fatalf("%v %+v", err, again)
	}
	// Another hand-over came into the log, as the first one did not.
	h2, err := s.Handover(200, tlog.Hash{2})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := LoadSigner(dir, h.Note); err != nil || len(again.Public()) != 1 {
		t.Fatalf("%v %+v", err, again)
	}
	for _, lost := range []string{"nothing", keyFile} { // the last step, undone
		before, err := os.ReadFile(filepath.Join(dir, keyFile))
		if err != nil {
			t.Fatal(err)
		}
		again, err := LoadSigner(dir, h2.Note)
		if err != nil || len(again.Public()) != 2 || len(again.handovers) != 1 {
			t.Fatalf("without %s: %v %+v", lost, err, again)
		}
		if lost == keyFile {
			break
		}
		after, err := os.ReadFile(filepath.Join(dir, keyFile))
		if err != nil || string(after) == string(before) {
			t.Fatalf("the old key is still there: %v", err)
		}
		os.WriteFile(filepath.Join(dir, nextKeyFile), after, 0o600)
		os.WriteFile(filepath.Join(dir, keyFile), before, 0o600)
	}
	os.WriteFile(filepath.Join(dir, publicFile), []byte(s.Public()[0]+"\n"), 0o600)
	if _, err := LoadSigner(dir, h2.Note); err == nil || !strings.Contains(err.Error(), "put back") {
		t.Errorf("a key that is not the last in %s signs: %v", publicFile, err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	s, err := CreateSigner(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.Checkpoint(7, tlog.Hash{1})
	if err != nil {
		f.Fatal(err)
	}
	h, err := s.Handover(8, tlog.Hash{2})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, h.Note, "", "a\n1\n", strings.Replace(good, "\n7\n", "\n07\n", 1), strings.Replace(good, "\n7\n", "\n-7\n", 1)} {
		f.Add(seed)
	}
	k, err := newKeys(s.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Unverified(text)
		if err == nil && !strings.HasPrefix(text, c.text()) {
			t.Errorf("%q is read as %+v", text, c)
		}
		c, err = k.open(text)
		if err == nil && (!strings.HasPrefix(text, strings.SplitAfter(good, "\n\n")[0]) && !strings.HasPrefix(text, strings.SplitAfter(h.Note, "\n\n")[0])) {
			t.Errorf("%q was not signed, and is accepted as %+v", text, c)
		}
		_ = k.learn(text, nil)
	})
}
