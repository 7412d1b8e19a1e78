package member

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/reseal"
)

// Sizes implements control.Etcd.
func (s server) Sizes() reseal.Sizes {
	b := s.Backend()
	quota := s.Cfg.QuotaBackendBytes
	switch {
	case quota == 0:
		quota = storage.DefaultQuotaBytes
	case quota < 0:
		quota = 0 // none
	}
	return reseal.Sizes{File: b.Size(), InUse: b.SizeInUse(), Quota: quota}
}

const (
	// windowEntries bounds what is read in one view of the database. Each view is let
	// go after it, since one that is held keeps bbolt from using free pages again.
	windowEntries = 2000
	// windowRest is for how many times as long as a window took the reading rests.
	windowRest = 2
)

// EachRevision implements reseal.History. It reads the database itself: what a
// compaction leaves out, and has not removed yet, is there, too. Revisions that are
// written meanwhile are seen.
func (s server) EachRevision(ctx context.Context, each func(kv *mvccpb.KeyValue, tombstone bool) error) error {
	for from, window := int64(0), int64(windowEntries); from <= s.KV().Rev(); {
		began := time.Now()
		to := from + window
		if to < from {
			to = math.MaxInt64
		}
		n, err := s.window(from, to, window > 1, each)
		if err != nil {
			return err
		}
		if n < 0 {
			window = max(1, window/8)
			continue
		}
		from = to
		if n < windowEntries/4 && window < math.MaxInt64/8 {
			window *= 4 // a stretch that was compacted
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(windowRest * time.Since(began)):
		}
	}
	return nil
}

// window reads the revisions [from, to) and returns how many entries there were, -1
// if they were too many for one window.
//
// etcd takes what it has not written to bbolt yet first, and so what it returns under
// a limit may have a hole in it: only less than the limit is all there is. And its copy
// of what is not written may be of before it was, which comes twice then: first as
// bbolt has it, in order, and again behind that.
func (s server) window(from, to int64, bounded bool, each func(*mvccpb.KeyValue, bool) error) (int, error) {
	limit := int64(0)
	if bounded {
		limit = windowEntries
	}
	tx := s.Backend().ConcurrentReadTx()
	tx.RLock()
	defer tx.RUnlock()
	keys, values := rangeOf(tx, from, to, limit)
	if bounded && len(keys) >= windowEntries {
		return -1, nil
	}
	var last []byte
	for i, value := range values {
		if bytes.Compare(keys[i], last) <= 0 {
			continue
		}
		last = keys[i]
		kv := &mvccpb.KeyValue{}
		if err := proto.Unmarshal(value, kv); err != nil {
			return 0, fmt.Errorf("reading revision %d of the database: %w", mvcc.BytesToRev(keys[i]).Main, err)
		}
		if err := each(kv, mvcc.IsTombstone(keys[i])); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

func rangeOf(tx backend.ReadTx, from, to, limit int64) (keys, values [][]byte) {
	return tx.UnsafeRange(schema.Key, mvcc.RevToBytes(mvcc.Revision{Main: from}, mvcc.NewRevBytes()),
		mvcc.RevToBytes(mvcc.Revision{Main: to}, mvcc.NewRevBytes()), limit)
}
