package offline

import bolt "go.etcd.io/bbolt"

// batchSize bounds, in bytes, what one transaction holds in memory.
const batchSize = 4 << 20

// batch puts entries in ascending order into one bucket after the other, in
// transactions of bounded size.
type batch struct {
	db      *bolt.DB
	tx      *bolt.Tx
	name    []byte
	bucket  *bolt.Bucket
	pending int
}

// begin goes on to another bucket.
func (b *batch) begin(name []byte) error {
	if b.name = name; b.tx == nil {
		return b.next()
	}
	return b.into()
}

func (b *batch) next() (err error) {
	if b.tx, err = b.db.Begin(true); err != nil {
		return err
	}
	return b.into()
}

func (b *batch) into() (err error) {
	if b.bucket, err = b.tx.CreateBucketIfNotExists(b.name); err != nil {
		return err
	}
	b.bucket.FillPercent = 0.9 // entries come in order, as etcd's own do
	return nil
}

// put adds an entry. Neither slice may change before the batch is committed.
func (b *batch) put(key, value []byte) error {
	if err := b.bucket.Put(key, value); err != nil {
		return err
	}
	if b.pending += len(key) + len(value); b.pending < batchSize {
		return nil
	}
	if err := b.commit(); err != nil {
		return err
	}
	return b.next()
}

func (b *batch) commit() error {
	tx := b.tx
	b.tx, b.pending = nil, 0
	return tx.Commit()
}

// rollback gives up what is not committed, if anything.
func (b *batch) rollback() {
	if b.tx != nil {
		b.tx.Rollback()
		b.tx = nil
	}
}
