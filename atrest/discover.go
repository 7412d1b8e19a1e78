package atrest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// discovery finds the files below the paths, each once. What is no file, and what
// cannot be opened, is left to the report.
type discovery struct {
	files []string
	gaps  []Gap
	seen  map[inode]bool
}

type inode struct{ dev, ino uint64 }

// discover fails only for a path that is not there: a mistake of the caller's.
func discover(paths []string) (d discovery, err error) {
	d.seen = map[inode]bool{}
	for _, p := range paths {
		if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
			return d, fmt.Errorf("looking for %s: %w", p, fs.ErrNotExist)
		}
		d.add(p)
	}
	return d, nil
}

func (d *discovery) gap(path string, err error) {
	why := err.Error()
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		why = pathErr.Err.Error()
	}
	d.gaps = append(d.gaps, Gap{path, why, true})
}

// add follows symbolic links: an etcd's logs are often on another device.
func (d *discovery) add(path string) {
	info, err := os.Stat(path)
	if err != nil {
		d.gap(path, err)
		return
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		id := inode{uint64(stat.Dev), stat.Ino}
		if d.seen[id] {
			return
		}
		d.seen[id] = true
	}
	switch {
	case info.IsDir():
		d.directory(path)
	case info.Mode().IsRegular():
		d.files = append(d.files, path)
	default:
		d.gap(path, fmt.Errorf("it is no file but a %s", strings.TrimLeft(info.Mode().Type().String(), "-")))
	}
}

func (d *discovery) directory(path string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		d.gap(path, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		d.add(filepath.Join(path, e.Name()))
	}
}

// kindOf tells what a file is: by what it begins with, and a broken log by its name.
func kindOf(f *os.File, size int64) (FileKind, snapshotFile) {
	head := make([]byte, 64)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	name := filepath.Base(f.Name())
	if snap, ok := readSnapshotFile(head, size); ok && strings.Contains(name, ".snap") {
		return KindSnapshot, snap
	}
	if looksLikeWAL(head) {
		return KindWAL, snapshotFile{}
	}
	if size >= 2*minPageSize && looksLikeBolt(f, size) {
		return KindDB, snapshotFile{}
	}
	if strings.HasSuffix(strings.TrimSuffix(name, ".broken"), ".wal") {
		return KindWAL, snapshotFile{}
	}
	return KindOther, snapshotFile{}
}
