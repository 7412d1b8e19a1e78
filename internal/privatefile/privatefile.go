// Package privatefile reads and writes the files that only this user may see: keys,
// passphrases, the wrapped ring. It trusts the file system and root. It promises that
// what it returns was in a regular file which no other user could read or change, and
// that what it wrote is there whole or not at all, also after a power loss.
package privatefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Read returns the content of a file of this user or root that nobody else may read
// or write, of at most limit bytes. Symbolic links are followed: it is the file in the
// end that counts. The error wraps fs.ErrNotExist where there is none.
func Read(name string, limit int) ([]byte, error) { return read(name, limit, 0o077) }

// ReadCredential is Read for a file below $CREDENTIALS_DIRECTORY. systemd gives a
// service that is not root its credentials by an access list, which shows as the
// group's right to read.
func ReadCredential(name string, limit int) ([]byte, error) { return read(name, limit, 0o037) }

func read(name string, limit int, loose fs.FileMode) ([]byte, error) {
	// Nonblocking, or a named pipe would keep the process here for ever.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, withoutPath(err))
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened: no race with who swaps the name
	if err == nil {
		err = private(name, info, loose)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, withoutPath(err))
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, withoutPath(err))
	case len(data) > limit:
		return nil, fmt.Errorf("reading %s: it has more than %d bytes, and no such file has", name, limit)
	}
	return data, nil
}

// private refuses a file that others can read, or could have written.
func private(name string, info fs.FileInfo, loose fs.FileMode) error {
	if !info.Mode().IsRegular() {
		return errors.New("it is no regular file")
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() && sys.Uid != 0 {
		return fmt.Errorf("it belongs to user %d, and this process is user %d: run this as that user, or if nobody else saw the file: chown %d %s",
			sys.Uid, os.Geteuid(), os.Geteuid(), name)
	}
	if mode := info.Mode().Perm(); mode&loose != 0 {
		return fmt.Errorf("others may read or change it (mode %04o): replace what is in it, or if nobody did: chmod 600 %s", mode, name)
	}
	return nil
}

// Create writes a file that must not be there yet, with mode 0600. The error wraps
// fs.ErrExist where it is, and the file is as it was.
func Create(name string, data []byte) error {
	return write(name, data, func(fresh string) error {
		// A link, unlike a rename, replaces nothing.
		if err := os.Link(fresh, name); err != nil {
			return err
		}
		return os.Remove(fresh)
	})
}

// Replace writes a file with mode 0600 in the place of one that may be there.
func Replace(name string, data []byte) error {
	return write(name, data, func(fresh string) error { return os.Rename(fresh, name) })
}

func write(name string, data []byte, place func(fresh string) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // 0600 from birth
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, withoutPath(err))
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("writing %s: %w", name, withoutPath(err))
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = place(f.Name()); err != nil {
		return err
	}
	return SyncDir(name)
}

// SyncDir brings to the disk which files are in the directory of name.
func SyncDir(name string) error {
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Lock keeps other processes that ask for it away from name, until unlock is called or
// the process ends. It locks a file beside it, which only this user can open: anybody
// who may list a directory could hold a lock on that for ever.
func Lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", name, withoutPath(err))
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}

// withoutPath is what went wrong, without the path that the caller names anyway, or
// the one of the temporary file.
func withoutPath(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
