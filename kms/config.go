package kms

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Config is one entry of sealing.providers in a guard's configuration.
type Config struct {
	// Name is recorded with each data key that the provider wraps: it can't change.
	Name string `yaml:"name,required"`
	// Local is a key file. It is the only kind so far.
	Local *LocalConfig `yaml:"local"`
}

// LocalConfig is a provider whose key-encryption key is in a file, which
// CreateKeyFile makes. The passphrase, if the file has one, comes from one of two
// places.
type LocalConfig struct {
	KeyFile              string `yaml:"key-file,required"`
	PassphraseFile       string `yaml:"passphrase-file"`
	PassphraseCredential string `yaml:"passphrase-credential"` // systemd's LoadCredential=NAME
}

// Problem is one thing that is wrong with a configuration. It is printed by who knows
// in which file and line.
type Problem struct {
	Field   string // "providers[1].local.key-file"
	Message string
	Fix     string
}

func (p Problem) String() string { return p.Field + ": " + p.Message + "; " + p.Fix }

// Check reports everything that is wrong with the entries of sealing.providers.
func Check(configs []Config) (problems []Problem) {
	if len(configs) == 0 {
		return []Problem{{"providers", "there is none, and nothing can be sealed without",
			"name one, or remove \"sealing\": - {name: local, local: {key-file: ring-kek.key}}"}}
	}
	first := map[string]int{}
	for i, c := range configs {
		at := fmt.Sprintf("providers[%d]", i)
		complain := func(field, message, fix string) {
			problems = append(problems, Problem{at + field, message, fix})
		}
		if err := CheckName(c.Name); err != nil {
			complain(".name", err.Error(), "name: local")
		} else if c.Name == ExportName {
			complain(".name", fmt.Sprintf("%q is what exports under a passphrase are recorded as", c.Name), "choose another name")
		} else if j, taken := first[c.Name]; taken {
			complain(".name", fmt.Sprintf("%q is the name of providers[%d] already", c.Name, j), "give each provider a name of its own")
		} else {
			first[c.Name] = i
		}
		if c.Local == nil {
			complain("", "says no kind of provider", "local: {key-file: ring-kek.key}")
			continue
		}
		l := c.Local
		if l.KeyFile == "" {
			complain(".local.key-file", "is missing", "key-file: ring-kek.key; etcdguard ring new-key-file makes one")
		}
		if l.PassphraseFile != "" && l.PassphraseCredential != "" {
			complain(".local.passphrase-credential", "there is a passphrase-file, too", "keep one of them")
		}
		if name := l.PassphraseCredential; strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
			complain(".local.passphrase-credential", "is no name of a credential", "give the NAME of LoadCredential=NAME:PATH, without a path")
		}
	}
	return problems
}

// Open makes the providers of a configuration, in its order. Relative paths are below
// baseDir. It fails on what Check reports only: that a key can't be had now, a
// provider says itself, each time it is asked.
func Open(configs []Config, baseDir string) ([]Provider, error) {
	if problems := Check(configs); len(problems) > 0 {
		var all []error
		for _, p := range problems {
			all = append(all, errors.New(p.String()))
		}
		return nil, fmt.Errorf("reading the providers: %w", errors.Join(all...))
	}
	below := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(baseDir, name)
	}
	providers := make([]Provider, len(configs))
	for i, c := range configs {
		providers[i] = &local{name: c.Name, keyFile: below(c.Local.KeyFile), passphrase: passphraseSource{
			file: below(c.Local.PassphraseFile), credential: c.Local.PassphraseCredential}}
	}
	return providers, nil
}
