package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A disk is what a journal asks of a directory. Tests have one that fails, and one
// whose power fails.
type disk interface {
	Open(name string, flag int) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	Names() ([]string, error)
	Stat(name string) (size int64, changed time.Time, err error)
	Sync() error // which names there are, and what they name
	Space() (free, total int64, err error)

	// Background is called by the goroutine that prepares segments: what it does from
	// then on must not hold up others.
	Background()
}

type file interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Datasync() error // what was written, and the size
	Close() error
}

// dirDisk is a directory of the operating system.
type dirDisk string

func (d dirDisk) path(name string) string { return filepath.Join(string(d), name) }

func (d dirDisk) Open(name string, flag int) (file, error) {
	f, err := os.OpenFile(d.path(name), flag|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d dirDisk) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d dirDisk) Remove(name string) error     { return os.Remove(d.path(name)) }

func (d dirDisk) Names() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (d dirDisk) Stat(name string) (size int64, changed time.Time, err error) {
	info, err := os.Lstat(d.path(name))
	if err != nil {
		return 0, time.Time{}, err
	}
	return info.Size(), info.ModTime(), nil
}

func (d dirDisk) Sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

type osFile struct{ *os.File }

// remove removes what may not be there.
func remove(d disk, name string) error {
	if err := d.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// makeDir makes the directory for this user alone, and makes it last.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return dirDisk(filepath.Dir(filepath.Clean(dir))).Sync()
}

// lockDir keeps other writers away until the file is closed, which the end of the
// process does too.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			break
		}
	}
	if err == syscall.EWOULDBLOCK {
		err = ErrLocked
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// noSpace says whether an error is about room on the disk, and not about the disk.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
