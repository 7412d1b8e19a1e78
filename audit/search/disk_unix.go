//go:build unix

package search

import (
	"errors"
	"os"
	"syscall"
)

// openRegular opens a file and nothing else: whoever owns the directory of a log must
// not be able to lead a reader elsewhere, or to keep it waiting.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// leaveTo gives a file to the owner of another, which only root can.
func leaveTo(f *os.File, of string) error {
	info, err := os.Lstat(of)
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return f.Chown(int(owner.Uid), int(owner.Gid))
	}
	return nil
}
