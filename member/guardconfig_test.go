package member

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// guardFields are the fields of guard.yaml.
func guardFields() []string {
	var names []string
	kind := reflect.TypeFor[GuardConfig]()
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("yaml"), ",")
		names = append(names, name)
	}
	return names
}

func TestGuardConfigurationIsReadStrictly(t *testing.T) {
	const start = "apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: policy.yaml\n"
	for name, c := range map[string]struct{ text, want string }{
		"an unknown field":         {start + "unsafe-everything: true\n", "guard.yaml:4: unsafe-everything"},
		"a misspelt field":         {start + "unsafe-pprov: true\n", "unsafe-pprof"},
		"a field twice":            {start + "policy: other.yaml\n", "guard.yaml:4"},
		"a wrong type":             {start + "unsafe-pprof: 1\n", "guard.yaml:4"},
		"another version":          {"apiVersion: v2\nkind: Guard\npolicy: p\n", "apiVersion: etcdguard.dev/v1"},
		"another kind":             {"apiVersion: etcdguard.dev/v1\nkind: Policy\npolicy: p\n", "kind: Guard"},
		"no policy":                {"apiVersion: etcdguard.dev/v1\nkind: Guard\n", "policy: policy.yaml"},
		"all of it, in one report": {"apiVersion: v2\nkind: Policy\n", "kind: Guard"},
		"nothing":                  {"", "empty"},
		"no YAML":                  {"{", "guard.yaml"},
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

func TestAMemberWithoutGuardConfigurationSaysHowToGetOne(t *testing.T) {
	for _, file := range []string{"", filepath.Join(t.TempDir(), "absent.yaml")} {
		_, err := LoadGuardConfig(file)
		if err == nil {
			t.Fatalf("%q was taken for a guard configuration", file)
		}
		for _, part := range []string{"apiVersion: etcdguard.dev/v1", "kind: Guard", "policy:", "--guard-config", "etcdguard up"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error leaves out %q: %v", part, err)
			}
		}
	}
}

func TestThePolicyIsFoundBesideTheGuardConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "guard.yaml")
	for policy, want := range map[string]string{"policy.yaml": filepath.Join(dir, "policy.yaml"), "/etc/p.yaml": "/etc/p.yaml"} {
		check(t, os.WriteFile(file, []byte("apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: "+policy+"\n"), 0o600))
		c, err := LoadGuardConfig(file)
		check(t, err)
		if c.Policy != want {
			t.Errorf("policy: %s is read as %s, want %s", policy, c.Policy, want)
		}
	}
}

// Every unsafe option is off until its name is written down.
func TestUnsafeOptionsAreOffByDefault(t *testing.T) {
	zero := reflect.ValueOf(GuardConfig{})
	options := 0
	for i := range zero.NumField() {
		if zero.Field(i).Kind() == reflect.Bool {
			options++
			if zero.Field(i).Bool() || !strings.HasPrefix(guardFields()[i], "unsafe-") {
				t.Errorf("%s is on by default, or is not called unsafe", guardFields()[i])
			}
		}
	}
	if options == 0 {
		t.Fatal("no options found")
	}
}
