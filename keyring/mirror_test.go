package keyring_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms/kmstest"
)

// holds compares the mirror with the document that it should be.
func holds(t *testing.T, file string, want *keyring.Document) {
	t.Helper()
	d, err := keyring.ReadMirror(file)
	if err != nil {
		t.Fatal(err)
	}
	if (d == nil) != (want == nil) || d != nil && !bytes.Equal(d.Marshal(), want.Marshal()) {
		t.Errorf("the mirror is %+v, want %+v", d, want)
	}
}

func TestTheMirrorOnlyMovesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring.json")
	holds(t, file, nil)
	p := kmstest.New("a")
	first := create(t, keyring.Strict, p)
	n, err := first.WithPhase(keyring.Sealing)
	second := must(t, n, err)
	n, err = first.Rewrapped(t.Context(), providers(p))
	other := must(t, n, err) // of the same generation as second
	foreign := create(t, keyring.Strict, p)
	for range 3 { // later, by its number
		n, err = foreign.Rewrapped(t.Context(), providers(p))
		foreign = must(t, n, err)
	}

	put := func(o *keyring.Opened) error { return keyring.WriteMirror(file, o.Document()) }
	for _, o := range []*keyring.Opened{first, first, second, other} {
		if err := put(o); err != nil {
			t.Fatal(err)
		}
		holds(t, file, o.Document())
	}
	for _, o := range []*keyring.Opened{first, foreign} {
		err := put(o)
		var conflict *keyring.MirrorConflict
		if !errors.As(err, &conflict) || conflict.There != first.ID() || conflict.New != o.ID() ||
			!strings.Contains(err.Error(), first.ID().String()) || !strings.Contains(err.Error(), o.ID().String()) ||
			!strings.Contains(conflict.Hint(), first.ID().String()) {
			t.Errorf("%v", err)
		}
		holds(t, file, other.Document())
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestAMirrorIsReplacedByNameAndKept(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ring.json")
	p := kmstest.New("a")
	old, fresh := create(t, keyring.Strict, p), create(t, keyring.Strict, p)
	if err := keyring.WriteMirror(file, old.Document()); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.ReplaceMirror(file, fresh.Document(), fresh.ID()); err == nil || !strings.Contains(err.Error(), old.ID().String()) {
		t.Errorf("replaced though another ring was named: %v", err)
	}
	holds(t, file, old.Document())
	for range 2 { // the second time what is kept is there already
		kept, err := keyring.ReplaceMirror(file, fresh.Document(), old.ID())
		if err != nil {
			t.Fatal(err)
		}
		holds(t, file, fresh.Document())
		holds(t, kept, old.Document())
		if _, err := keyring.ReplaceMirror(file, old.Document(), fresh.ID()); err != nil {
			t.Fatal(err)
		}
	}

	n, err := old.Rewrapped(t.Context(), providers(p))
	n = must(t, n, err)
	again, err := old.Rewrapped(t.Context(), providers(p))
	again = must(t, again, err)
	for i, o := range []*keyring.Opened{n, again} {
		if err := keyring.WriteMirror(file, o.Document()); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.ReplaceMirror(file, fresh.Document(), old.ID()); (err == nil) != (i == 0) {
			t.Errorf("two documents of one generation would be kept under one name: %v", err)
		}
		if _, err := keyring.ReplaceMirror(file, n.Document(), fresh.ID()); i == 0 && err != nil {
			t.Fatal(err)
		}
	}
	holds(t, file, again.Document())
}

func TestAMirrorIsSetAside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring.json")
	o, foreign := create(t, keyring.Off, kmstest.New("a")), create(t, keyring.Off, kmstest.New("a"))
	if kept, err := keyring.SetMirrorAside(file, o.ID()); err != nil || kept != "" {
		t.Errorf("%q, %v", kept, err)
	}
	if err := keyring.WriteMirror(file, o.Document()); err != nil {
		t.Fatal(err)
	}
	if kept, err := keyring.SetMirrorAside(file, foreign.ID()); err != nil || kept != "" {
		t.Errorf("%q, %v", kept, err)
	}
	holds(t, file, o.Document())
	kept, err := keyring.SetMirrorAside(file, o.ID())
	if err != nil {
		t.Fatal(err)
	}
	holds(t, file, nil)
	holds(t, kept, o.Document())
	if err := keyring.WriteMirror(file, foreign.Document()); err != nil {
		t.Errorf("there is no room for the next ring: %v", err)
	}
}

// TestAMirrorThatCanNotBeReadIsNeverLost: it is replaced by what the member has in
// force, and kept; one that others could have written stays for the operator to judge.
func TestAMirrorThatCanNotBeReadIsNeverLost(t *testing.T) {
	dir := t.TempDir()
	o := create(t, keyring.Strict, kmstest.New("a"))
	whole := o.Document().Marshal()
	for what, tt := range map[string]struct {
		data []byte
		mode os.FileMode
		want string
	}{
		"loose":   {whole, 0o640, "chmod 600"},
		"torn":    {whole[:len(whole)/2], 0o600, "unexpected EOF"},
		"empty":   {nil, 0o600, "empty"},
		"later":   {bytes.Replace(whole, []byte(`"version":1`), []byte(`"version":2`), 1), 0o600, "version 2"},
		"another": {[]byte("hello"), 0o600, "move it away"},
	} {
		file := filepath.Join(dir, what)
		if err := os.WriteFile(file, tt.data, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.ReadMirror(file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s is read: %v", what, err)
		}
		if _, err := keyring.ReplaceMirror(file, o.Document(), o.ID()); err == nil {
			t.Errorf("%s is replaced, and nobody knows which ring it was", what)
		}
		kept := file
		if err := keyring.WriteMirror(file, o.Document()); what == "loose" {
			if err == nil {
				t.Error("a loose mirror is written over")
			}
		} else if err != nil {
			t.Errorf("%s: %v", what, err)
		} else {
			holds(t, file, o.Document())
			kept += ".unreadable"
		}
		if after, err := os.ReadFile(kept); err != nil || !bytes.Equal(after, tt.data) {
			t.Errorf("%s is gone: %v", what, err)
		}
	}
	if err := keyring.WriteMirror(filepath.Join(dir, "none", "ring.json"), o.Document()); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "none")) {
		t.Errorf("%v", err)
	}
}

// TestTheMirrorOfManyWritersIsTheLatest: a member and an import at the same time.
func TestTheMirrorOfManyWritersIsTheLatest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring.json")
	all := []*keyring.Opened{create(t, keyring.Strict, kmstest.New("a"))}
	for i := range 15 {
		n, err := all[i].WithPhase(keyring.Strict - keyring.Phase((i+1)%2))
		all = append(all, must(t, n, err))
	}
	var writers sync.WaitGroup
	for _, o := range all {
		writers.Go(func() {
			var conflict *keyring.MirrorConflict
			if err := keyring.WriteMirror(file, o.Document()); err != nil && !errors.As(err, &conflict) {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	holds(t, file, all[len(all)-1].Document())
}
