package offline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Progress is told how far a pass over the file is, in bytes. It may be nil.
type Progress func(done, total int64)

func (p Progress) say(done, total int64) {
	if p != nil {
		p(min(done, total), total)
	}
}

// Snapshot is a snapshot or database file that is open for reading.
type Snapshot struct {
	file   string
	size   int64 // of the database in it, in bytes
	hashed bool
	db     *bolt.DB
}

var (
	// ErrHash: the bytes are not those that were saved.
	ErrHash = errors.New("its SHA-256 is not the one at its end: it was altered or damaged since it was saved; take another copy")
	// ErrDamaged: what is in the file is not what etcd writes.
	ErrDamaged = errors.New("it is damaged, or was copied while etcd wrote to it; take another copy, of a running member with etcdctl snapshot save")
	errInUse   = errors.New("it is in use by a running etcd; take a snapshot with etcdctl snapshot save")
	errNoEtcd  = errors.New("it is no database of etcd")
)

// Open opens what etcdctl snapshot save wrote, whose hash it verifies, or a copy of a
// stopped member's database (member/snap/db), which has none.
func Open(ctx context.Context, file string, progress Progress) (*Snapshot, error) {
	s := &Snapshot{file: file}
	if err := s.open(ctx, progress); err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, plain(err))
	}
	return s, nil
}

// Size is how many bytes the database has, and Hashed whether a hash at the end of
// the file vouches for them.
func (s *Snapshot) Size() int64  { return s.size }
func (s *Snapshot) Hashed() bool { return s.hashed }

// Close closes the file.
func (s *Snapshot) Close() error { return guarded(s.db.Close) }

func (s *Snapshot) open(ctx context.Context, progress Progress) error {
	// Nonblocking, or a named pipe would keep the process here for ever.
	f, err := os.OpenFile(s.file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() {
		if s.db == nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is no regular file")
	}
	s.size = info.Size()
	// As etcdutl tells: a database is whole pages, and a snapshot has its hash besides.
	if s.size%512 == sha256.Size {
		s.hashed = true
		s.size -= sha256.Size
		if err := verify(ctx, f, s.size, progress); err != nil {
			return err
		}
	}
	if s.size < 4096 {
		return errNoEtcd
	}
	return guarded(func() error {
		// The very file that was hashed, whatever has its name by now.
		db, err := bolt.Open(s.file, 0, &bolt.Options{ReadOnly: true, Timeout: time.Second,
			OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil }})
		switch {
		case errors.Is(err, bolterrors.ErrTimeout):
			return errInUse
		case err != nil:
			return fmt.Errorf("%w (%v)", ErrDamaged, err)
		}
		s.db = db
		err = db.View(func(tx *bolt.Tx) error { return checkTree(ctx, f, s.size, tx, progress) })
		if err != nil {
			s.db = nil
			db.Close()
		}
		return err
	})
}

func verify(ctx context.Context, f *os.File, size int64, progress Progress) error {
	h := sha256.New()
	if err := readAll(ctx, h, f, size, progress); err != nil {
		return err
	}
	var want [sha256.Size]byte
	if _, err := f.ReadAt(want[:], size); err != nil {
		return err
	}
	if !bytes.Equal(h.Sum(nil), want[:]) {
		return ErrHash
	}
	return nil
}

// readAll copies the first size bytes of f.
func readAll(ctx context.Context, w io.Writer, f io.ReaderAt, size int64, progress Progress) error {
	const step = 4 << 20
	for at := int64(0); at < size; at += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.Copy(w, io.NewSectionReader(f, at, min(step, size-at))); err != nil {
			return err
		}
		progress.say(at+step, size)
	}
	return nil
}

// view runs f in a read transaction.
func (s *Snapshot) view(f func(tx *bolt.Tx) error) error {
	return guarded(func() error { return s.db.View(f) })
}

// guarded turns what bbolt does with a damaged file, panics and faults of the memory
// it maps, into an error. f must not start a goroutine.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			// Not what it says: that may quote bytes.
			err = ErrDamaged
		}
	}()
	return f()
}

// plain is what went wrong, without the path that the caller names anyway.
func plain(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
