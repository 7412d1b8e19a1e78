package local

import (
	"errors"
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
	"github.com/etcdguard/etcdguard/prove"
)

// somewhere is a listen address that is free as far as these tests go: nothing
// here starts a member.
const somewhere = "127.0.0.1:18400" // below the ports that connections of other tests take

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

// A cluster that was made before sealing, or that its operator took it out of, is not
// given it by the next up.
func TestOnlyANewClusterIsGivenSealing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	guard := filepath.Join(dir, "members", "m2", "guard.yaml")
	key := filepath.Join(dir, "keys", "ring.key")
	born := files(t, dir)
	if !strings.Contains(born["members/m2/guard.yaml"], "\nsealing:\n") || born["keys/ring.key"] == "" {
		t.Fatalf("a new cluster does not seal:\n%s", born["members/m2/guard.yaml"])
	}
	if err := os.Remove(guard); err != nil {
		t.Fatal(err)
	}
	prepared(t, dir, Config{})
	if again := files(t, dir); again["members/m2/guard.yaml"] != born["members/m2/guard.yaml"] || again["keys/ring.key"] != born["keys/ring.key"] {
		t.Error("a member that lost its guard.yaml did not get the same again, or the key changed")
	}
	for _, file := range []string{guard, key} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	prepared(t, dir, Config{})
	if old := files(t, dir); strings.Contains(old["members/m2/guard.yaml"], "sealing:") || old["keys/ring.key"] != "" {
		t.Error("a cluster without a key was given one")
	}
}

func TestPrepareWritesTheWholeTree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	want := []string{"policy.yaml", "clients/ca.crt", "keys/ring.key",
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
	if err := prove.LooseModes(dir, nil); err != nil {
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

func TestPlanHoldsOnToData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	prepared(t, dir, Config{Listen: somewhere})
	other := Config{Members: 1, Listen: "127.0.0.1:18500"}

	if places := prepared(t, dir, other); len(places) != 1 || places[0].client.Port() != 18500 {
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
