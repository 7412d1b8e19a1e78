package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// fix is an error with the way out of it; the command line prints that as a hint.
type fix struct {
	error
	hint string
}

func (f fix) Hint() string  { return f.hint }
func (f fix) Unwrap() error { return f.error }

func withHint(hint, format string, args ...any) error {
	return fix{fmt.Errorf(format, args...), hint}
}

// ErrNoCluster says that a directory holds no cluster made by Up.
var ErrNoCluster = errors.New("no cluster here")

// DefaultDir is where a cluster lives when nobody names a place: the user's data
// folder as the XDG base directory specification defines it.
func DefaultDir() (string, error) {
	base := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(base) { // the specification: a relative one is ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", withHint("say where with --dir", "finding your data folder: %w", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "etcdguard"), nil
}

// layout names every file of a cluster. The tree is a contract with operators
// and with the end-to-end tests.
type layout struct{ dir string }

func newLayout(dir string) (layout, error) {
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return layout{}, err
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return layout{}, fmt.Errorf("finding %s: %w", dir, err)
	}
	return layout{abs}, nil
}

func (l layout) join(names ...string) string {
	return filepath.Join(append([]string{l.dir}, names...)...)
}

func (l layout) lock() string                  { return l.join(".lock") }
func (l layout) policy() string                { return l.join("policy.yaml") }
func (l layout) authority(realm string) string { return l.join("pki", realm+"-ca") } // + .crt, .key
func (l layout) client(name string) string     { return l.join("clients", name) }    // + .crt, .key
func (l layout) clientsCA() string             { return l.join("clients", "ca.crt") }

func (l layout) member(name string, file ...string) string {
	return l.join(append([]string{"members", name}, file...)...)
}

// folders are all the folders that Up writes into itself.
func (l layout) folders(members []string) []string {
	out := []string{l.dir, l.join("pki"), l.join("clients"), l.join("members")}
	for _, name := range members {
		out = append(out, l.member(name), l.member(name, "data"))
	}
	return out
}
