package local

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/policy"
)

// somewhere is a listen address that is free as far as these tests go: nothing
// here starts a member.
const somewhere = "127.0.0.1:38400"

func prepared(t *testing.T, dir string, cfg Config) []placement {
	t.Helper()
	places, err := tryPrepare(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return places
}

func tryPrepare(dir string, cfg Config) ([]placement, error) {
	l, err := newLayout(dir)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(l.dir); err != nil {
		return nil, err
	}
	return l.prepare(cfg, func(string, ...any) {})
}

// files is every file under dir with its content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPrepareWritesTheWholeTree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	want := []string{"policy.yaml", "clients/ca.crt",
		"pki/client-ca.crt", "pki/client-ca.key", "pki/peer-ca.crt", "pki/peer-ca.key"}
	for _, name := range Clients() {
		want = append(want, "clients/"+name+".crt", "clients/"+name+".key")
	}
	for _, m := range []string{"m1", "m2", "m3"} {
		for _, f := range []string{"etcd.yaml", "guard.yaml", "server.crt", "server.key", "peer.crt", "peer.key"} {
			want = append(want, "members/"+m+"/"+f)
		}
	}
	got := files(t, dir)
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, slices.Sorted(slices.Values(want))) {
		t.Errorf("files:\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
	if err := looseModes(dir, func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	p, err := policy.Load(filepath.Join(dir, "policy.yaml"))
	if err != nil {
		t.Fatalf("the policy that up writes is not one: %v", err)
	}
	for _, c := range callers {
		leaf, err := pki.LoadCertificate(filepath.Join(dir, "clients", c.name+".crt"))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Subject(policy.CallerOf(leaf, "")).Name(); got != c.name {
			t.Errorf("the policy takes %s's certificate for %s", c.name, got)
		}
	}
}

func TestPrepareAgainChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	edited := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(edited, []byte("# mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	for _, cfg := range []Config{{}, {Listen: somewhere}, {Members: 3}, {Members: 3, Listen: somewhere}} {
		prepared(t, dir, cfg)
		if after := files(t, dir); !maps.Equal(before, after) {
			t.Errorf("%+v changed files", cfg)
		}
	}
}

// TestPrepareFinishesFromEveryCrashPoint removes, for every file in the order in
// which prepare writes them, that file and all later ones, as a crash would have
// left them, and a temporary file besides.
func TestPrepareFinishesFromEveryCrashPoint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	names := slices.Collect(maps.Keys(files(t, dir)))
	if len(names) < 20 {
		t.Fatalf("only %d files", len(names))
	}
	slices.SortFunc(names, func(a, b string) int {
		return modified(t, filepath.Join(dir, a)).Compare(modified(t, filepath.Join(dir, b)))
	})
	for i := range names {
		torn := filepath.Join(t.TempDir(), "c")
		if err := os.CopyFS(torn, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		tighten(t, torn)
		moved(t, dir, torn)
		for _, name := range names[i:] {
			if err := os.Remove(filepath.Join(torn, name)); err != nil {
				t.Fatal(err)
			}
		}
		leftover := filepath.Join(torn, "pki", ".new-1")
		if err := os.WriteFile(leftover, []byte("half a key"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tryPrepare(torn, Config{Listen: somewhere}); err != nil {
			t.Errorf("killed before %s: %v", names[i], err)
			continue
		}
		consistent(t, torn, names)
		if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("killed before %s: a temporary file stays: %v", names[i], err)
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

func TestPlanHoldsOnToData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	other := Config{Members: 1, Listen: "127.0.0.1:38500"}

	if places := prepared(t, dir, other); len(places) != 1 || places[0].client.Port() != 38500 {
		t.Errorf("a cluster that never ran is not made over: %v", places)
	}
	if _, err := os.Stat(filepath.Join(dir, "members", "m2")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("m2 of the old plan stays: %v", err)
	}

	data := filepath.Join(dir, "members", "m1", "data", "member")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{{Members: 3}, {Listen: somewhere}} {
		if _, err := tryPrepare(dir, cfg); err == nil || !strings.Contains(hintOf(t, err), "--dir") {
			t.Errorf("%+v on a cluster with data: %v", cfg, err)
		}
	}
	prepared(t, dir, Config{})
	if err := os.Remove(filepath.Join(dir, "members", "m1", "etcd.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := tryPrepare(dir, other); err == nil {
		t.Error("data without its configuration was taken for an empty directory")
	}
	if _, err := os.Stat(data); err != nil {
		t.Errorf("the data is gone: %v", err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	t.Run("one authority for clients and peers", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "c")
		prepared(t, dir, Config{Listen: somewhere})
		ca, err := pki.LoadAuthority(pki.Peers, filepath.Join(dir, "pki/peer-ca.crt"), filepath.Join(dir, "pki/peer-ca.key"))
		if err != nil {
			t.Fatal(err)
		}
		if err := ca.Save(filepath.Join(dir, "pki/client-ca.crt"), filepath.Join(dir, "pki/client-ca.key")); err != nil {
			t.Fatal(err)
		}
		if _, err := tryPrepare(dir, Config{}); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("a directory that others may enter, with something in it", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := tryPrepare(dir, Config{Listen: somewhere}); err == nil || !strings.Contains(hintOf(t, err), "chmod 700") {
			t.Error(err)
		}
	})
	t.Run("a directory that was moved", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "c")
		prepared(t, dir, Config{Listen: somewhere})
		if err := os.Rename(dir, dir+"2"); err != nil {
			t.Fatal(err)
		}
		if _, err := tryPrepare(dir+"2", Config{}); err == nil || !strings.Contains(err.Error(), "moved") {
			t.Error(err)
		}
	})
	t.Run("a number of members that loses to one failure", func(t *testing.T) {
		if _, err := Up(t.Context(), Config{Dir: t.TempDir(), Members: 2}); err == nil {
			t.Error("two members")
		}
	})
}

func TestLeafIsIssuedAgainWhenItEndsSoon(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	places := prepared(t, dir, Config{Listen: somewhere})
	l := layout{dir}
	a, err := pki.LoadAuthority(pki.Clients, l.authority("client")+".crt", l.authority("client")+".key")
	if err != nil {
		t.Fatal(err)
	}
	want := l.leaves(places)[0]
	old, err := a.Issue(want.profile, time.Now().Add(-340*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Save(want.path+".crt", want.path+".key"); err != nil {
		t.Fatal(err)
	}
	key := l.authority("client") + ".key"
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	prepared(t, dir, Config{}) // without the key a leaf that still holds is kept
	if now, err := pki.LoadCertificate(want.path + ".crt"); err != nil || !now.Equal(old.Certificate) {
		t.Errorf("changed without the authority's key: %v", err)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	prepared(t, dir, Config{})
	if now, err := pki.LoadCertificate(want.path + ".crt"); err != nil || now.Equal(old.Certificate) {
		t.Errorf("not issued again with 25 days left: %v", err)
	}
}

func TestLooseModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	none := func(string) bool { return false }
	if err := looseModes(dir, none); err != nil {
		t.Fatalf("control: %v", err)
	}
	for name, mode := range map[string]fs.FileMode{
		"pki/client-ca.key": 0o640, "members/m1/data": 0o750, "policy.yaml": 0o620, "clients/ca.crt": 0o666,
	} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := looseModes(dir, none); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s with mode %04o: %v", name, mode, err)
		}
		if err := os.Chmod(path, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	if err := looseModes(t.TempDir(), none); err == nil {
		t.Error("a folder without keys passes")
	}
}

func TestShellQuoteSurvivesTheShell(t *testing.T) {
	for _, s := range []string{"", "plain/path-1.2", "with space", `a'b"c`, "$(touch x)", "a\nb", "`x`", "~", "*", "!x", "a=b;c", "ü"} {
		out, err := exec.Command("sh", "-c", "printf %s "+ShellQuote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q came back as %q (%v) from %s", s, out, err, ShellQuote(s))
		}
	}
}

func TestDefaultDirFollowsXDG(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	for env, want := range map[string]string{
		"": "/home/u/.local/share/etcdguard", "/data": "/data/etcdguard", "relative": "/home/u/.local/share/etcdguard",
	} {
		t.Setenv("XDG_DATA_HOME", env)
		if got, err := DefaultDir(); err != nil || got != want {
			t.Errorf("%q: %s %v", env, got, err)
		}
	}
}

func modified(t *testing.T, name string) time.Time {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
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
