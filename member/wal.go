package member

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// checkWAL refuses a write-ahead log that etcd 3.7 would panic on: one that etcd
// 3.5 wrote part of, in which requests of the v2 store stand after the newest
// snapshot. 3.6 still skips them, 3.7 can't read them and dies at start, on every
// member in turn if the upgrade rolls on. A log that can't be opened is left for
// etcd to report.
func checkWAL(c *embed.Config) error {
	dir := walDir(c)
	if !wal.Exist(dir) {
		return nil // nothing yet, or an empty folder that was mounted for it
	}
	lg := zap.NewNop()
	marks, err := wal.ValidSnapshotEntries(lg, dir)
	if err != nil {
		return fmt.Errorf("reading the write-ahead log in %s before etcd does: %w", dir, err)
	}
	start := &walpb.Snapshot{}
	newest, err := snap.New(lg, filepath.Join(c.Dir, "member", "snap")).LoadNewestAvailable(marks)
	switch {
	case errors.Is(err, snap.ErrNoSnapshot):
	case err != nil:
		return fmt.Errorf("looking for the newest snapshot in %s: %w", c.Dir, err)
	default:
		start.Index, start.Term = newest.Metadata.Index, newest.Metadata.Term
	}
	log, err := wal.OpenForRead(lg, dir, start)
	if err != nil {
		return fmt.Errorf("opening the write-ahead log in %s before etcd does: %w", dir, err)
	}
	defer log.Close()
	_, _, entries, err := log.ReadAll()
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("reading the write-ahead log in %s before etcd does: %w", dir, err)
	}
	for _, e := range entries {
		if e.GetType() != raftpb.EntryNormal || len(e.Data) == 0 {
			continue
		}
		if proto.Unmarshal(e.Data, &etcdserverpb.InternalRaftRequest{}) != nil {
			return fmt.Errorf("entry %d of the write-ahead log in %s is a v2 request of etcd 3.5: etcd 3.7 would panic on it at every start; "+
				"start etcd 3.6 on this data once more with --snapshot-count=10, write a few dozen keys so that it takes a snapshot, stop it, and come back", e.GetIndex(), dir)
		}
	}
	return nil
}

// walDir is where etcd keeps its write-ahead log.
func walDir(c *embed.Config) string {
	if c.WalDir != "" {
		return c.WalDir
	}
	return filepath.Join(c.Dir, "member", "wal")
}
