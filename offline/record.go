package offline

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/keyring"
)

// In etcd's bucket "key", one entry is one revision of one key: under 8 bytes of
// revision, '_', 8 bytes of where in the revision, and 't' if it is a deletion, there
// is a mvccpb.KeyValue (server/storage/mvcc/revision.go of etcd 3.4 to 3.7).
const (
	putSize       = 8 + 1 + 8
	tombstoneSize = putSize + 1
	tombstoneMark = 't'
)

var keyBucket = []byte("key")

// record is one entry. Its slices but those of kv belong to the transaction.
type record struct {
	at, stored []byte
	revision   int64
	tombstone  bool
	kv         mvccpb.KeyValue
}

// reserved reports whether the record is etcdguard's own.
func (r *record) reserved() bool { return isReserved(r.kv.Key) }

func isReserved(key []byte) bool { return bytes.HasPrefix(key, []byte(keyring.ReservedPrefix)) }

func (r *record) parse(at, stored []byte) error {
	switch {
	case len(at) != putSize && len(at) != tombstoneSize,
		at[8] != '_',
		len(at) == tombstoneSize && at[putSize] != tombstoneMark:
		return fmt.Errorf("an entry is not under a revision: %w", ErrDamaged)
	}
	r.at, r.stored = at, stored
	r.revision = int64(binary.BigEndian.Uint64(at))
	r.tombstone = len(at) == tombstoneSize
	if r.revision < 1 || int64(binary.BigEndian.Uint64(at[9:])) < 0 {
		return fmt.Errorf("an entry is under the revision %d: %w", r.revision, ErrDamaged)
	}
	r.kv.Reset()
	if proto.Unmarshal(stored, &r.kv) != nil || len(r.kv.Key) == 0 {
		return fmt.Errorf("the entry of revision %d is no key and value: %w", r.revision, ErrDamaged)
	}
	return nil
}

// records passes every record, in the order of revisions.
func (s *Snapshot) records(ctx context.Context, tx *bolt.Tx, progress Progress, each func(*record) error) error {
	b := tx.Bucket(keyBucket)
	if b == nil {
		return errNoEtcd
	}
	var r record
	var before []byte
	done, reported := int64(0), int64(0)
	for c, n := b.Cursor(), 0; ; n++ {
		at, stored := step(c, n)
		if at == nil {
			progress.say(s.size, s.size)
			return nil
		}
		if err := r.parse(at, stored); err != nil {
			return err
		}
		if len(before) >= putSize && bytes.Compare(before[:putSize], at[:putSize]) >= 0 {
			return fmt.Errorf("revision %d is not where it belongs: %w", r.revision, ErrDamaged)
		}
		before = at
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := each(&r); err != nil {
			return err
		}
		if done += int64(len(at) + len(stored)); done-reported >= 1<<20 {
			progress.say(done, s.size)
			reported = done
		}
	}
}

func step(c *bolt.Cursor, n int) (at, stored []byte) {
	if n == 0 {
		return c.First()
	}
	return c.Next()
}

// Ring is the wrapped ring that the snapshot itself holds.
func (s *Snapshot) Ring(ctx context.Context) (*keyring.Document, error) {
	var document []byte
	err := s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(keyBucket)
		if b == nil {
			return errNoEtcd
		}
		// The last word on the ring is near the end or nowhere.
		name := []byte(keyring.DocumentKey)
		var r record
		n := 0
		c := b.Cursor()
		for at, stored := c.Last(); at != nil; at, stored = c.Prev() {
			if n++; n%4096 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if !bytes.Contains(stored, name) {
				continue
			}
			if err := r.parse(at, stored); err != nil {
				return err
			}
			if string(r.kv.Key) == keyring.DocumentKey {
				document = r.kv.Value // nil in a tombstone
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the ring in %s: %w", s.file, err)
	}
	if document == nil {
		return nil, fmt.Errorf("looking for the ring in %s: it holds none; give an export of the ring, or a member's mirror", s.file)
	}
	d, err := keyring.ParseDocument(document)
	if err != nil {
		return nil, fmt.Errorf("reading the ring in %s: %w", s.file, err)
	}
	return d, nil
}
