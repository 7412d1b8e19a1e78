package offline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// file is a file on its way. It has no name, so that a process that is killed leaves
// no plaintext behind, until place gives it one; where the file system can't do that
// (NFS), a hidden one that Close removes.
type file struct {
	*os.File
	target string
	hidden string // "" if it has no name
}

var errThere = errors.New("it is there already, and is never overwritten; name another file, or move it away")

func newFile(target string) (*file, error) {
	if _, err := os.Lstat(target); err == nil {
		return nil, errThere
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dir := filepath.Dir(target)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		f := &file{File: os.NewFile(uintptr(fd), target), target: target}
		if _, err := os.Stat(f.path()); err == nil {
			return f, nil
		}
		f.File.Close() // no /proc to name it through
	}
	return newHidden(target)
}

func newHidden(target string) (*file, error) {
	temp, err := os.CreateTemp(filepath.Dir(target), ".new-*") // 0600 from birth
	if err != nil {
		return nil, err
	}
	return &file{File: temp, target: target, hidden: temp.Name()}, nil
}

func (f *file) path() string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// again is the same file for someone who closes it.
func (f *file) again() (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.target), nil
}

// place brings the file to the disk and gives it its name. A name that is there by
// now stays what it is.
func (f *file) place() error {
	if err := f.Sync(); err != nil {
		return err
	}
	var err error
	if f.hidden == "" {
		err = unix.Linkat(unix.AT_FDCWD, f.path(), unix.AT_FDCWD, f.target, unix.AT_SYMLINK_FOLLOW)
	} else {
		err = os.Link(f.hidden, f.target)
	}
	if errors.Is(err, fs.ErrExist) {
		return errThere
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.target))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Close closes the file, and removes it unless place named it.
func (f *file) Close() error {
	if f.hidden != "" {
		os.Remove(f.hidden)
	}
	return f.File.Close()
}
