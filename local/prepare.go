package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/pki"
)

// prepare brings the directory to the point where every member can be started,
// from wherever it is: empty, half written by an up that was killed, or complete.
// The caller holds the directory's lock.
func (l layout) prepare(cfg Config, say func(string, ...any)) ([]placement, error) {
	places, isNew, err := l.plan(cfg)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range places {
		names = append(names, p.name)
	}
	for _, dir := range l.folders(names) {
		if err := makePrivate(dir); err != nil {
			return nil, err
		}
	}
	if err := l.sweep(names); err != nil {
		return nil, err
	}
	if err := l.preparePKI(places, say); err != nil {
		return nil, err
	}
	if err := writeOnce(l.policy(), policyYAML()); err != nil {
		return nil, err
	}
	guard, err := l.guardYAML(isNew, say)
	if err != nil {
		return nil, err
	}
	token := newToken()
	// From last to first: members() takes the file of m1 as the sign that the
	// files of all the others are there.
	for i := len(places) - 1; i >= 0; i-- {
		p := places[i]
		if err := writeOnce(l.member(p.name, "guard.yaml"), guard); err != nil {
			return nil, err
		}
		if !isNew {
			continue
		}
		data, err := l.etcdYAML(p, places, token)
		if err != nil {
			return nil, err
		}
		if err := pki.WriteFile(l.member(p.name, "etcd.yaml"), data, 0o600); err != nil {
			return nil, err
		}
	}
	if isNew {
		say("wrote policy.yaml and the configuration of %d members in %s", len(places), l.dir)
	}
	return places, nil
}

// guardYAML is the guard's configuration of every member. A new cluster seals; one
// that was made before it could stays as it is, and its files are its operator's.
func (l layout) guardYAML(isNew bool, say func(string, ...any)) ([]byte, error) {
	_, err := os.Lstat(l.ringKey())
	there := err == nil
	if !there && (!errors.Is(err, fs.ErrNotExist) || !isNew) {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return []byte(guardYAML), err
	}
	if there {
		return []byte(guardYAML + sealingYAML), nil
	}
	if _, err := kms.CreateKeyFile(l.ringKey(), nil); err != nil {
		return nil, fmt.Errorf("making the key that opens the cluster's data keys: %w", err)
	}
	say("made the key that opens the cluster's data keys, %s", l.ringKey())
	return []byte(guardYAML + sealingYAML), nil
}

// plan decides where the members are: where the files say, or, for a cluster that
// never ran, where the flags say.
func (l layout) plan(cfg Config) (places []placement, isNew bool, err error) {
	existing, err := l.members()
	if err != nil && !errors.Is(err, ErrNoCluster) {
		return nil, false, err
	}
	if existing == nil {
		if orphan, err := l.orphanData(); err != nil {
			return nil, false, err
		} else if orphan != "" {
			return nil, false, withHint("put the file back, or name another directory with --dir",
				"reading %s: it is missing, but %s is there", l.member("m1", "etcd.yaml"), orphan)
		}
	} else if same, err := cfg.agrees(existing); err != nil || same {
		return existing, false, err
	} else if l.everRan(existing) {
		return nil, false, withHint("leave out --members and --listen to start it as it is, or make another cluster with --dir",
			"changing %s: a cluster that holds data keeps its %d members and their addresses (%s is at %s)",
			l.dir, len(existing), existing[0].name, existing[0].client)
	}
	n, listen := cfg.Members, cfg.Listen
	if n == 0 {
		n = DefaultMembers
		if existing != nil {
			n = len(existing)
		}
	}
	if listen == "" {
		listen = DefaultListen
	}
	if places, err = place(listen, n); err != nil {
		return nil, false, err
	}
	if err := checkFree(places, false); err != nil {
		return nil, false, err
	}
	if theirs, err := l.stranger(); err != nil {
		return nil, false, err
	} else if theirs != "" {
		return nil, false, withHint("name another directory with --dir, or move that away",
			"making a cluster in %s: up did not make %s", l.dir, theirs)
	}
	// A crash from here on leaves no file of m1: the directory counts as empty.
	if err := os.Remove(l.member("m1", "etcd.yaml")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	return places, true, os.RemoveAll(l.join("members"))
}

// agrees reports whether the flags ask for the cluster that is there.
func (cfg Config) agrees(existing []placement) (bool, error) {
	if cfg.Members != 0 && cfg.Members != len(existing) {
		return false, nil
	}
	if cfg.Listen == "" {
		return true, nil
	}
	wanted, err := place(cfg.Listen, len(existing))
	return slices.Equal(wanted, existing), err
}

// everRan reports whether a member runs or left data behind. Data that other
// members know the addresses of cannot be moved by rewriting a file.
func (l layout) everRan(places []placement) bool {
	for _, p := range places {
		if _, err := os.Stat(l.member(p.name, "data", "member")); err == nil {
			return true
		}
		if proc, err := l.process(p.name); err != nil || proc.running {
			return true
		}
	}
	return false
}

// orphanData finds data in a directory whose first configuration file is gone:
// the rest of a cluster that somebody lost a disk or a file of. It is not ours to
// clear away.
func (l layout) orphanData() (string, error) {
	entries, err := os.ReadDir(l.join("members"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("looking for data: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue // not ours; see stranger
		}
		data := l.member(e.Name(), "data", "member")
		if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return "", nil
}

// memberFiles are all that up and a member that never served put into a member's
// folder.
var memberFiles = []string{"data", "etcd.yaml", "guard.yaml", "server.crt", "server.key", "peer.crt", "peer.key",
	"member.log", "member.log.1", "member.pid"}

// stranger finds what somebody else put where the members' folders are made anew:
// --dir may name a project that has a folder called members.
func (l layout) stranger() (string, error) {
	top := l.join("members")
	found := ""
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		ours := false
		switch steps := strings.Split(rel, string(filepath.Separator)); len(steps) {
		case 1:
			ours = d.IsDir() && (rel == "m1" || rel == "m2" || rel == "m3")
		case 2:
			ours = d.IsDir() == (steps[1] == "data") && (slices.Contains(memberFiles, steps[1]) || strings.HasPrefix(steps[1], ".new-"))
		}
		if !ours {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("looking for what is not of this cluster: %w", err)
	}
	return found, err
}

// makePrivate makes a folder that only its owner can enter. An empty one that is
// there already is taken over; one with something in it that others may enter is
// refused, since nobody can say what they put there or took away.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, pki.DirMode); err != nil {
		return fmt.Errorf("making the cluster's directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("making the cluster's directory: %w", err)
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		// Its owner could replace any file in it, and root would run members on them.
		return withHint("name a directory of your own with --dir", "using %s: it belongs to another user (uid %d)", dir, sys.Uid)
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return withHint("chmod 700 "+ShellQuote(dir), "using %s: others may enter it (mode %04o), and it is to hold keys", dir, mode)
	}
	if err := os.Chmod(dir, pki.DirMode); err != nil {
		return withHint("name a directory of your own with --dir", "using %s: others may enter it (mode %04o): %w", dir, mode, err)
	}
	return nil
}

// sweep removes what a killed writer left behind: a temporary file may hold a key.
func (l layout) sweep(members []string) error {
	for _, dir := range l.folders(members) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("looking for leftovers: %w", err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".new-") {
				continue
			}
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("removing a leftover: %w", err)
			}
		}
	}
	return nil
}

func writeOnce(name string, data []byte) error {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return pki.WriteFile(name, data, 0o600)
}
