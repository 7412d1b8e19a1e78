package prove

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// search is what was found of some needles in files, and how much was looked at.
type search struct {
	files int
	bytes int64
	found map[string]string // needle's name → the first file it was in
	// unread is what could not be looked at.
	unread []string

	followed map[string]bool // where paths led to
}

// needle is a string of bytes to look for, under a name that may be shown.
type needle struct {
	name  string
	bytes []byte
}

// find reads every regular file under the roots from end to end and looks for the
// needles. Symbolic links are followed: an etcd's logs are often on another device. A
// file that goes away meanwhile (a running member renames and removes) was not there;
// whatever else cannot be read is said.
func find(roots []string, needles ...needle) (search, error) {
	s := search{found: map[string]string{}, followed: map[string]bool{}}
	buf := make([]byte, 1<<20)
	for _, root := range roots {
		if err := s.follow(root, buf, needles); err != nil {
			return s, fmt.Errorf("looking through %s: %w", root, err)
		}
	}
	return s, nil
}

func (s *search) walk(root string, buf []byte, needles []needle) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != root:
			return nil
		case err != nil && path == root:
			return err
		case err != nil:
		case d.Type()&fs.ModeSymlink != 0:
			err = s.follow(path, buf, needles)
		case d.Type()&fs.ModeDevice != 0:
			err = fmt.Errorf("%s is a device", path)
		case d.Type().IsRegular():
			if err = s.file(path, buf, needles); errors.Is(err, fs.ErrNotExist) {
				return nil
			}
		}
		if err != nil {
			s.unread = append(s.unread, err.Error())
		}
		return nil
	})
}

// follow looks through what a path leads to, once.
func (s *search) follow(path string, buf []byte, needles []needle) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil || s.followed[target] {
		return err
	}
	s.followed[target] = true
	return s.walk(target, buf, needles)
}

// file looks through one file in pieces that overlap by the longest needle.
func (s *search) file(path string, buf []byte, needles []needle) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s.files++
	keep := 0
	for _, n := range needles {
		keep = max(keep, len(n.bytes)-1)
	}
	have := 0
	for {
		n, err := f.Read(buf[have:])
		s.bytes += int64(n)
		have += n
		for _, n := range needles {
			if _, already := s.found[n.name]; !already && bytes.Contains(buf[:have], n.bytes) {
				s.found[n.name] = path
			}
		}
		if have > keep {
			have = copy(buf, buf[have-keep:have])
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
