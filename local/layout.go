package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// fix is an error with the way out of it; the command line prints that as a hint
// and exits with the code.
type fix struct {
	error
	hint string
	code int
}

func (f fix) Hint() string  { return f.hint }
func (f fix) ExitCode() int { return f.code }
func (f fix) Unwrap() error { return f.error }

func withHint(hint, format string, args ...any) error {
	return fix{fmt.Errorf(format, args...), hint, 1}
}

// badFlag is an error in what the user asked for.
func badFlag(format string, args ...any) error {
	return fix{fmt.Errorf(format, args...), "etcdguard up --help", 2}
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

// dirFlag is what a command needs to mean this directory: nothing, if it is the
// one that every verb looks in.
func (l layout) dirFlag() string {
	if usual, err := DefaultDir(); err == nil && usual == l.dir {
		return ""
	}
	return " --dir " + ShellQuote(l.dir)
}

func (l layout) join(names ...string) string {
	return filepath.Join(append([]string{l.dir}, names...)...)
}

func (l layout) lock() string                  { return l.join(".lock") }
func (l layout) policy() string                { return l.join("policy.yaml") }
func (l layout) authority(realm string) string { return l.join("pki", realm+"-ca") } // + .crt, .key
func (l layout) client(name string) string     { return l.join("clients", name) }    // + .crt, .key
func (l layout) clientsCA() string             { return l.join("clients", "ca.crt") }

func (l layout) ringKey() string { return l.join("keys", "ring.key") }

func (l layout) member(name string, file ...string) string {
	return l.join(append([]string{"members", name}, file...)...)
}

// folders are all the folders that Up writes into itself.
func (l layout) folders(members []string) []string {
	out := []string{l.dir, l.join("pki"), l.join("clients"), l.join("keys"), l.join("members")}
	for _, name := range members {
		out = append(out, l.member(name), l.member(name, "data"))
	}
	return out
}
