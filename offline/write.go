package offline

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

// What becomes of a value that does not open, when it is to be skipped? To leave its
// record out would make the value before it the key's value again: a password that
// was changed, a right that was taken away. An empty value would be taken for one. So
// where it is the newest of its key, a deletion stands in its place, at its revision;
// and where it is history, it stays as it is, which no client takes for a value, and
// keeps versions and revisions of what comes after it right.

// UnreadableError refuses to write a snapshot without the values that do not open.
type UnreadableError struct{ Count int }

func (e *UnreadableError) Error() string {
	if e.Count == 1 {
		return "one value does not open"
	}
	return fmt.Sprintf("%d values do not open", e.Count)
}

// Write makes out, which must not be there: a snapshot that etcdutl restores. The
// report is that of Survey with the same opener. If values do not open it is an
// *UnreadableError, unless skip is true. On any error there is no out.
func (s *Snapshot) Write(ctx context.Context, out string, open Opener, report *Report, skip bool, progress Progress) (err error) {
	if n := len(report.Unreadable); n > 0 && !skip {
		return &UnreadableError{n}
	}
	f, err := newFile(out)
	if err != nil {
		return fmt.Errorf("writing %s: %w", out, plain(err))
	}
	defer f.Close()
	if err = s.write(ctx, f, open, report, progress); err == nil {
		err = f.place()
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", out, plain(err))
	}
	return nil
}

func (s *Snapshot) write(ctx context.Context, f *file, open Opener, report *Report, progress Progress) error {
	size, err := s.writeDatabase(ctx, f, open, report, progress)
	if err != nil {
		return err
	}
	// A snapshot is the pages that are counted: bbolt may have made the file longer, or
	// not have written the last of them.
	if err := f.Truncate(size); err != nil {
		return err
	}
	h := sha256.New()
	if err := readAll(ctx, h, f, size, nil); err != nil {
		return err
	}
	_, err = f.WriteAt(h.Sum(nil), size)
	return err
}

// writeDatabase fills f and returns how many bytes the database has.
func (s *Snapshot) writeDatabase(ctx context.Context, f *file, open Opener, report *Report, progress Progress) (size int64, err error) {
	db, err := bolt.Open(f.Name(), 0o600, &bolt.Options{NoSync: true, NoGrowSync: true,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f.again() }})
	if err != nil {
		return 0, err
	}
	defer func() {
		if closed := db.Close(); err == nil {
			err = closed
		}
	}()
	c := &copying{open: open, report: report, out: batch{db: db}}
	err = s.view(func(tx *bolt.Tx) error {
		defer c.out.rollback()
		if err := c.buckets(ctx, tx); err != nil {
			return err
		}
		if err := c.out.begin(keyBucket); err != nil {
			return err
		}
		if err := s.records(ctx, tx, progress, c.record); err != nil {
			return err
		}
		if err := c.finish(); err != nil {
			return err
		}
		return c.out.commit()
	})
	if err != nil {
		return 0, err
	}
	err = db.View(func(tx *bolt.Tx) error {
		size = tx.Size()
		return nil
	})
	return size, err
}

// copying is one pass from a snapshot to its plaintext.
type copying struct {
	open   Opener
	report *Report
	out    batch

	records, opened int64
}

// buckets copies all buckets but that of the keys: leases, users, members, meta.
func (c *copying) buckets(ctx context.Context, tx *bolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		if string(name) == string(keyBucket) {
			return nil
		}
		if err := c.out.begin(name); err != nil {
			return err
		}
		return b.ForEach(func(k, v []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return c.out.put(k, v)
		})
	})
}

func (c *copying) record(r *record) error {
	c.records++
	if r.reserved() {
		return nil
	}
	if r.tombstone {
		return c.out.put(r.at, r.stored)
	}
	if newest, unreadable := c.report.at[string(r.at)]; unreadable {
		if newest {
			return c.delete(r.at, r.kv.Key)
		}
		return c.out.put(r.at, r.stored)
	}
	if !seal.IsSealed(r.kv.Value) {
		return c.out.put(r.at, r.stored)
	}
	value, err := c.open(r.kv.Key, r.kv.Value)
	if err != nil {
		return fmt.Errorf("the value of key %q (mod revision %d) %w, and did open a moment ago: the file was changed meanwhile", r.kv.Key, r.revision, err)
	}
	r.kv.Value = value
	stored, err := proto.Marshal(&r.kv)
	if err != nil {
		return err
	}
	c.opened++
	return c.out.put(r.at, stored)
}

func (c *copying) delete(at, key []byte) error {
	stored, err := proto.Marshal(&mvccpb.KeyValue{Key: key})
	if err != nil {
		return err
	}
	return c.out.put(append(at[:putSize:putSize], tombstoneMark), stored)
}

// finish holds the last revision, if a reserved record has it: were it left out, etcd
// would count from an earlier one, and a client that has seen this one would miss
// what is written under it a second time. A deletion of the ring stands for it.
func (c *copying) finish() error {
	if c.records != c.report.Records || c.opened != c.report.Sealed {
		return errors.New("the file that is read was changed meanwhile; take a copy that nothing writes to")
	}
	if c.report.holder == nil {
		return nil
	}
	return c.delete(c.report.holder, []byte(keyring.DocumentKey))
}
