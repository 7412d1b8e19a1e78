package member

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/kms"
)

func TestTheSealingSectionIsReadStrictly(t *testing.T) {
	const start = "apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: policy.yaml\nsealing:\n"
	for name, c := range map[string]struct{ text, want string }{
		"no provider":                  {start + "  mirror: m.json\n", "guard.yaml:4: sealing.providers"},
		"an unknown field":             {start + "  provider: []\n", "guard.yaml:5: sealing.provider"},
		"a provider of no kind":        {start + "  providers:\n    - name: local\n", "guard.yaml:6: sealing.providers[0]"},
		"a provider without a name":    {start + "  providers:\n    - local: {key-file: k}\n", "guard.yaml:6: sealing.providers[0].name"},
		"a provider without its file":  {start + "  providers:\n    - name: a\n      local: {}\n", "guard.yaml:7: sealing.providers[0].local.key-file"},
		"two of one name":              {start + "  providers:\n    - {name: a, local: {key-file: k}}\n    - {name: a, local: {key-file: l}}\n", "guard.yaml:7: sealing.providers[1].name"},
		"a passphrase from two places": {start + "  providers:\n    - {name: a, local: {key-file: k, passphrase-file: p, passphrase-credential: c}}\n", "guard.yaml:6: sealing.providers[0].local.passphrase-credential"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "guard.yaml")
			check(t, os.WriteFile(file, []byte(c.text), 0o600))
			_, err := LoadGuardConfig(file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got: %v", c.want, err)
			}
		})
	}
}

func TestPathsOfTheSealingSectionAreBesideIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guard.yaml")
	check(t, os.WriteFile(file, []byte(`apiVersion: etcdguard.dev/v1
kind: Guard
policy: policy.yaml
sealing:
  mirror: m.json
  providers:
    - {name: a, local: {key-file: k, passphrase-file: p}}
    - {name: b, local: {key-file: /etc/k}}
`), 0o600))
	c, err := LoadGuardConfig(file)
	check(t, err)
	in := func(name string) string { return filepath.Join(filepath.Dir(file), name) }
	a, b := c.Sealing.Providers[0].Local, c.Sealing.Providers[1].Local
	if c.Sealing.Mirror != in("m.json") || a.KeyFile != in("k") || a.PassphraseFile != in("p") || b.KeyFile != "/etc/k" || b.PassphraseFile != "" {
		t.Errorf("read as %+v, %+v, %+v", c.Sealing, a, b)
	}
}

// A key that others could copy opens every backup: no start. One that is missing may
// come back: a warning, and the member waits.
func TestPreflightLooksAtKeyFiles(t *testing.T) {
	w := newWorld(t).seals()
	c, err := w.config()
	check(t, err)
	look := func() ([]string, error) {
		f := &findings{}
		f.sealing(c.Guard)
		if len(f.errs) > 0 {
			return f.warnings, f.errs[0]
		}
		return f.warnings, nil
	}
	if warnings, err := look(); err != nil || len(warnings) != 0 {
		t.Errorf("a good key file: %v, %v", warnings, err)
	}
	check(t, os.Chmod(w.file("ring.key"), 0o640))
	if _, err := look(); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Errorf("a key file for the group: %v", err)
	}
	if _, err := w.tryStart(); err == nil || !strings.Contains(err.Error(), "ring.key is open to others") {
		t.Errorf("the start: %v", err)
	}
	check(t, os.Remove(w.file("ring.key")))
	if warnings, err := look(); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "ring.key") {
		t.Errorf("no key file: %v, %v", warnings, err)
	}
	c.Guard.Sealing.Providers = []kms.Config{}
	if _, err := c.Guard.providers(); err == nil {
		t.Error("sealing without a provider")
	}
}
