package prove

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LooseModes lists folders that others may enter and files that others may read,
// public certificates apart, and fails if it found no private key: then it did
// not look at what it is for.
func LooseModes(root string, skip func(dir string) bool) error {
	var problems []error
	keys := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running member renames and removes files
		}
		if err != nil {
			return err
		}
		if d.IsDir() && skip != nil && skip(path) {
			return fs.SkipDir
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".key") {
			keys++
		}
		public := strings.HasSuffix(path, ".crt")
		if mode := info.Mode().Perm(); mode&0o077 != 0 && !public || mode&0o022 != 0 {
			problems = append(problems, fmt.Errorf("%s has mode %04o; chmod go= %q", path, mode, path))
		}
		return nil
	})
	if keys == 0 && err == nil {
		err = untried("no private key under %s", root)
	}
	return errors.Join(append(problems, err)...)
}

// looseFiles lists those of some files and folders that others than their owner may
// use.
func looseFiles(paths []string) error {
	var problems []error
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			problems = append(problems, untried("%w", err))
			continue
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			problems = append(problems, fmt.Errorf("%s has mode %04o; chmod go= %q", path, mode, path))
		}
	}
	return errors.Join(problems...)
}
