package kms_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/kms/kmstest"
)

const passphrase = "correct horse battery staple"

// open is a provider of the only entry of a configuration.
func open(t *testing.T, dir string, c kms.LocalConfig) kms.Provider {
	t.Helper()
	providers, err := kms.Open([]kms.Config{{Name: "local", Local: &c}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return providers[0]
}

func write(t *testing.T, name, data string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func create(t *testing.T, file, passphrase string) (id string) {
	t.Helper()
	var p []byte
	if passphrase != "" {
		p = []byte(passphrase)
	}
	id, err := kms.CreateKeyFile(file, p)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestLocalConforms(t *testing.T) {
	for _, tt := range []struct {
		what string
		make func(t *testing.T) (dir string, c kms.LocalConfig)
	}{
		{"Plain", func(t *testing.T) (string, kms.LocalConfig) {
			dir := t.TempDir()
			create(t, filepath.Join(dir, "kek"), "")
			return dir, kms.LocalConfig{KeyFile: "kek"}
		}},
		{"Passphrase", func(t *testing.T) (string, kms.LocalConfig) {
			dir := t.TempDir()
			create(t, filepath.Join(dir, "kek"), passphrase)
			write(t, filepath.Join(dir, "pass"), passphrase+"\n", 0o600)
			return dir, kms.LocalConfig{KeyFile: "kek", PassphraseFile: "pass"}
		}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			made := map[kms.Provider]func(t *testing.T) kms.Provider{}
			kmstest.Conformance(t, kmstest.Setup{
				New: func(t *testing.T) kms.Provider {
					dir, c := tt.make(t)
					p := open(t, dir, c)
					made[p] = func(t *testing.T) kms.Provider { return open(t, dir, c) }
					return p
				},
				Reopen: func(t *testing.T, p kms.Provider) kms.Provider { return made[p](t) },
			})
		})
	}
}

func TestExportConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many keys from passphrases")
	}
	made := map[kms.Provider][]byte{}
	build := func(t *testing.T, passphrase []byte) kms.Provider {
		p, err := kms.NewExport(passphrase)
		if err != nil {
			t.Fatal(err)
		}
		made[p] = passphrase
		return p
	}
	t.Run("all", func(t *testing.T) {
		kmstest.Conformance(t, kmstest.Setup{
			New: func(t *testing.T) kms.Provider { return build(t, []byte(rand.Text())) },
			// A new salt is a new key, so only what was wrapped opens again.
			Reopen: func(t *testing.T, p kms.Provider) kms.Provider { return p },
		})
	})
	p := build(t, []byte(passphrase))
	w, err := p.Encrypt(t.Context(), "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := build(t, []byte(passphrase)).Decrypt(t.Context(), "", w); err != nil || string(got) != "secret" {
		t.Errorf("the passphrase alone does not open: %q, %v", got, err)
	}
	if _, err := build(t, []byte(passphrase+"r")).Decrypt(t.Context(), "", w); err == nil || !strings.Contains(err.Error(), "passphrase is not the one") {
		t.Errorf("another passphrase: %v", err)
	}
	costly := w.Clone()
	for name, text := range costly.Annotations {
		costly.Annotations[name] = bytes.Replace(text, []byte("m=65536"), []byte("m=4294967295"), 1)
	}
	if _, err := p.Decrypt(t.Context(), "", costly); err == nil || !strings.Contains(err.Error(), "are the most") {
		t.Errorf("a wrap that asks for 4 TiB: %v", err)
	}
}

// TestExportNeverEncryptsAtTheCostThatAWrapAsksFor: who hands over an export to open
// must not choose how the next one is protected.
func TestExportNeverEncryptsAtTheCostThatAWrapAsksFor(t *testing.T) {
	p, err := kms.NewExport([]byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	const name = "stretch.export.etcdguard.dev"
	weak := kms.Wrapped{Ciphertext: make([]byte, 80), KeyID: strings.Repeat("00", 16),
		Annotations: map[string][]byte{name: []byte("argon2id t=1 m=8 p=1 salt=" + strings.Repeat("A", 22))}}
	if _, err := p.Decrypt(t.Context(), "", weak); err == nil || !strings.Contains(err.Error(), "passphrase is not the one") {
		t.Fatalf("it does not get as far as the key: %v", err)
	}
	w, err := p.Encrypt(t.Context(), "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(w.Annotations[name]); !strings.HasPrefix(text, "argon2id t=3 m=65536 p=4 ") {
		t.Errorf("it encrypts with %s", text)
	}
}

// TestKeyFileMistakes: each has its own error, and each error the way out.
func TestKeyFileMistakes(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	id := create(t, at("kek"), "")
	create(t, at("locked"), passphrase)
	plain, err := os.ReadFile(at("kek"))
	if err != nil {
		t.Fatal(err)
	}
	locked, err := os.ReadFile(at("locked"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, at("loose"), string(plain), 0o644)
	write(t, at("cut"), string(plain[:len(plain)-3]), 0o600)
	write(t, at("locked-cut"), string(locked[:len(locked)-3]), 0o600)
	write(t, at("id"), strings.Replace(string(plain), id, strings.Repeat("0", 20), 1), 0o600)
	write(t, at("version"), strings.Replace(string(plain), "file 1", "file 2", 1), 0o600)
	write(t, at("costly"), strings.Replace(string(locked), "m=65536", "m=4194304", 1), 0o600)
	write(t, at("cheap"), strings.Replace(string(locked), "m=65536", "m=64", 1), 0o600)
	write(t, at("other"), "-----BEGIN PRIVATE KEY-----\n", 0o600)
	write(t, at("long"), string(plain)+strings.Repeat("\n", 2000), 0o600)
	write(t, at("empty"), "", 0o600)
	if err := os.Symlink("loose", at("link")); err != nil {
		t.Fatal(err)
	}
	write(t, at("right"), passphrase, 0o600)
	write(t, at("wrong"), passphrase+"r\n", 0o600)
	write(t, at("shared"), passphrase, 0o640)
	write(t, at("newline"), "\n", 0o600)
	for _, tt := range []struct {
		c    kms.LocalConfig
		want string
	}{
		{kms.LocalConfig{KeyFile: "kek"}, ""},
		{kms.LocalConfig{KeyFile: at("kek")}, ""},
		{kms.LocalConfig{KeyFile: "locked", PassphraseFile: "right"}, ""},
		{kms.LocalConfig{KeyFile: "none"}, "no such file"},
		{kms.LocalConfig{KeyFile: "loose"}, "chmod 600"},
		{kms.LocalConfig{KeyFile: "link"}, "chmod 600"},
		{kms.LocalConfig{KeyFile: "cut"}, "cut short"},
		{kms.LocalConfig{KeyFile: "locked-cut", PassphraseFile: "right"}, "cut short"},
		{kms.LocalConfig{KeyFile: "id"}, "id in it is not that of its key"},
		{kms.LocalConfig{KeyFile: "version"}, "of a version"},
		{kms.LocalConfig{KeyFile: "costly", PassphraseFile: "right"}, "are the most"},
		{kms.LocalConfig{KeyFile: "cheap", PassphraseFile: "right"}, "was altered"},
		{kms.LocalConfig{KeyFile: "other"}, "new-key-file"},
		{kms.LocalConfig{KeyFile: "empty"}, "new-key-file"},
		{kms.LocalConfig{KeyFile: "long"}, "more than"},
		{kms.LocalConfig{KeyFile: "locked"}, "name it with passphrase-file"},
		{kms.LocalConfig{KeyFile: "locked", PassphraseFile: "wrong"}, at("wrong")},
		{kms.LocalConfig{KeyFile: "locked", PassphraseFile: "shared"}, "chmod 600"},
		{kms.LocalConfig{KeyFile: "locked", PassphraseFile: "newline"}, "is empty"},
		{kms.LocalConfig{KeyFile: "locked", PassphraseFile: "none"}, "no such file"},
		{kms.LocalConfig{KeyFile: "locked", PassphraseCredential: "ring"}, "LoadCredential=ring:FILE"},
		{kms.LocalConfig{KeyFile: "kek", PassphraseFile: "right"}, "the file has none"},
	} {
		t.Setenv("CREDENTIALS_DIRECTORY", "")
		p := open(t, dir, tt.c)
		_, err := p.Status(t.Context())
		if tt.want == "" {
			if err != nil {
				t.Errorf("%+v: %v", tt.c, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want %q", tt.c, err, tt.want)
			continue
		}
		for _, secret := range []string{passphrase, "BEGIN", lastWord(plain), lastWord(locked)} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%+v: %v shows a secret", tt.c, err)
			}
		}
		if _, other := p.Encrypt(t.Context(), "", []byte("x")); other == nil {
			t.Errorf("%+v: it wraps", tt.c)
		}
		if _, other := p.Decrypt(t.Context(), "", kms.Wrapped{KeyID: id}); other == nil || other.Error() != err.Error() {
			t.Errorf("%+v: Decrypt says %v", tt.c, other)
		}
	}
}

func lastWord(data []byte) string {
	words := strings.Fields(string(data))
	return words[len(words)-1][:16]
}

func TestACredentialOpensAKeyFile(t *testing.T) {
	dir, credentials := t.TempDir(), t.TempDir()
	create(t, filepath.Join(dir, "kek"), passphrase)
	write(t, filepath.Join(credentials, "ring"), passphrase+"\r\n", 0o440)
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	p := open(t, dir, kms.LocalConfig{KeyFile: "kek", PassphraseCredential: "ring"})
	if _, err := p.Status(t.Context()); err != nil {
		t.Error(err)
	}
	write(t, filepath.Join(credentials, "ring"), passphrase, 0o444)
	if _, err := p.Status(t.Context()); err == nil {
		t.Error("a credential that everybody can read is taken")
	}
}

func TestAKeyFileIsNeverOverwritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kek")
	create(t, file, "")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kms.CreateKeyFile(file, nil); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "choose another name") {
		t.Errorf("created again: %v", err)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it changed: %v", err)
	}
	if _, err := kms.CreateKeyFile(file+"2", []byte("too short")); err == nil {
		t.Error("a passphrase of 9 bytes is taken")
	}
}

// TestAKeyFileThatGoesIsNoticedAndOneThatComesBackWorks: a member may start before
// its key is there, and a check on a timer must not tell what was so at the start.
func TestAKeyFileThatGoesIsNoticedAndOneThatComesBackWorks(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kek")
	p := open(t, dir, kms.LocalConfig{KeyFile: "kek"})
	if _, err := p.Status(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	create(t, file, "")
	w, err := p.Encrypt(t.Context(), "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+".old"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Decrypt(t.Context(), "", w); err == nil {
		t.Error("it opens without its file")
	}
	id := create(t, file, "")
	if _, err := p.Decrypt(t.Context(), "", w); err == nil || !strings.Contains(err.Error(), w.KeyID) || !strings.Contains(err.Error(), id) {
		t.Errorf("another key file: %v", err)
	}
	if err := os.Rename(file+".old", file); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Decrypt(t.Context(), "", w); err != nil || string(got) != "secret" {
		t.Errorf("its file is back: %v", err)
	}
}

func TestConfigMistakes(t *testing.T) {
	l := &kms.LocalConfig{KeyFile: "kek"}
	for _, tt := range []struct {
		configs     []kms.Config
		field, want string
	}{
		{[]kms.Config{{Name: "a", Local: l}, {Name: "b", Local: l}}, "", ""},
		{nil, "providers", "there is none"},
		{[]kms.Config{{Name: "a", Local: l}, {Name: "a", Local: l}}, "providers[1].name", "providers[0] already"},
		{[]kms.Config{{Local: l}}, "providers[0].name", "can't be the name"},
		{[]kms.Config{{Name: "A b", Local: l}}, "providers[0].name", "can't be the name"},
		{[]kms.Config{{Name: "export", Local: l}}, "providers[0].name", "exports"},
		{[]kms.Config{{Name: "a"}}, "providers[0]", "no kind"},
		{[]kms.Config{{Name: "a", Local: &kms.LocalConfig{}}}, "providers[0].local.key-file", "missing"},
		{[]kms.Config{{Name: "a", Local: &kms.LocalConfig{KeyFile: "k", PassphraseFile: "p", PassphraseCredential: "c"}}},
			"providers[0].local.passphrase-credential", "there is a passphrase-file"},
		{[]kms.Config{{Name: "a", Local: &kms.LocalConfig{KeyFile: "k", PassphraseCredential: "../c"}}},
			"providers[0].local.passphrase-credential", "no name of a credential"},
	} {
		problems := kms.Check(tt.configs)
		_, err := kms.Open(tt.configs, "/")
		if (err == nil) != (tt.want == "") || (len(problems) == 0) != (tt.want == "") {
			t.Errorf("%+v: %v, %v", tt.configs, problems, err)
			continue
		}
		if tt.want != "" && (problems[0].Field != tt.field || !strings.Contains(problems[0].Message, tt.want) || problems[0].Fix == "" ||
			!strings.Contains(err.Error(), problems[0].String())) {
			t.Errorf("%+v: %v, %v; want %s: %s", tt.configs, problems, err, tt.field, tt.want)
		}
	}
}
