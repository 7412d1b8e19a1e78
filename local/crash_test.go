package local

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/pki"
)

// TestPrepareFinishesFromEveryCrashPoint leaves, for every moment at which
// prepare wrote a file, only the files that were older, as a crash would have, and
// a temporary file besides.
func TestPrepareFinishesFromEveryCrashPoint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	written := map[string]time.Time{}
	moments := map[time.Time]bool{} // files of one tick of the clock are one moment
	for name := range files(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		written[name] = info.ModTime()
		moments[info.ModTime()] = true
	}
	// The file system's clock ticks every few milliseconds: a fast machine writes
	// several files in one.
	if len(moments) < 3 {
		t.Fatalf("only %d moments: nothing much is tested", len(moments))
	}
	for crash := range moments {
		torn := filepath.Join(t.TempDir(), "c")
		if err := os.CopyFS(torn, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		tighten(t, torn)
		moved(t, dir, torn)
		for name, at := range written {
			if at.Before(crash) {
				continue
			}
			if err := os.Remove(filepath.Join(torn, name)); err != nil {
				t.Fatal(err)
			}
		}
		leftover := filepath.Join(torn, "pki", ".new-1")
		if err := os.WriteFile(leftover, []byte("half a key"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tryPrepare(torn, Config{Listen: somewhere}); err != nil {
			t.Errorf("killed with %d files left: %v", len(files(t, torn)), err)
			continue
		}
		consistent(t, torn, slices.Collect(maps.Keys(written)))
		if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a temporary file stays: %v", err)
		}
	}
}

// consistent checks that every file is there and every leaf is one that the
// authority on disk vouches for.
func consistent(t *testing.T, dir string, names []string) {
	t.Helper()
	have := files(t, dir)
	for _, name := range names {
		if _, ok := have[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	l := layout{dir}
	places, err := l.members()
	if err != nil {
		t.Error(err)
		return
	}
	tokens := map[string]bool{}
	for _, p := range places {
		y, err := l.readEtcdYAML(p.name)
		if err != nil {
			t.Error(err)
		}
		tokens[y.InitialClusterToken] = true
	}
	if len(tokens) != 1 {
		t.Errorf("members of one cluster have %d tokens", len(tokens))
	}
	for _, want := range l.leaves(places) {
		realm, file := pki.Clients, "client"
		if want.profile.Use == pki.Peer {
			realm, file = pki.Peers, "peer"
		}
		a, err := pki.LoadAuthority(realm, l.authority(file)+".crt", l.authority(file)+".key")
		if err != nil {
			t.Error(err)
			return
		}
		leaf, err := pki.LoadLeaf(want.path+".crt", want.path+".key")
		if err != nil {
			t.Error(err)
			continue
		}
		if err := a.Vouches(leaf.Certificate, want.profile, time.Now()); err != nil {
			t.Error(err)
		}
	}
	ca, err := pki.LoadCertificate(l.clientsCA())
	if err != nil {
		t.Error(err)
		return
	}
	if own, err := pki.LoadCertificate(l.authority("client") + ".crt"); err != nil || !own.Equal(ca) {
		t.Errorf("clients/ca.crt is another authority (%v)", err)
	}
}

// tighten gives a copy the modes of the original; os.CopyFS opens them up.
func tighten(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, 0o700)
		default:
			return os.Chmod(path, 0o600)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// moved makes the paths inside a copy its own.
func moved(t *testing.T, from, to string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(to, "members", "*", "etcd.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatal(fmt.Errorf("%d configurations: %w", len(names), err))
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(data), from, to)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
