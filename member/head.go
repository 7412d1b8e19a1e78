package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/etcdguard/etcdguard/guard"
)

// headOnDisk reads, before etcd opens it, the newest revision in the database of a
// data directory, and when the file was last written: whatever is in there is at
// least that old, however long the member was away since. No database is the zero
// Head.
func headOnDisk(dataDir string) (guard.Head, error) {
	file := filepath.Join(dataDir, "member", "snap", "db")
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return guard.Head{}, nil
	}
	if err != nil {
		return guard.Head{}, err
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return guard.Head{}, fmt.Errorf("opening the database %s: %w", file, err)
	}
	defer db.Close()
	head := guard.Head{Time: info.ModTime()}
	err = db.View(func(tx *bbolt.Tx) error {
		// Revisions are the keys of this bucket, big-endian, so the last is the
		// newest (server/storage/mvcc/revision.go).
		if bucket := tx.Bucket([]byte("key")); bucket != nil {
			if last, _ := bucket.Cursor().Last(); len(last) >= 8 {
				head.Revision = int64(binary.BigEndian.Uint64(last))
			}
		}
		return nil
	})
	return head, err
}
