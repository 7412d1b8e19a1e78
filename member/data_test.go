package member

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// asStock runs etcd without a guard on the member's data, and f on it.
func (w *world) asStock(f func(*embed.Etcd), changes ...string) {
	w.t.Helper()
	c, err := w.config(changes...)
	check(w.t, err)
	e, err := embed.StartEtcd(withoutDoors(c.Etcd))
	check(w.t, err)
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case <-withTimeout(w.t).Done():
		w.t.Fatal("stock etcd does not get ready")
	}
	f(e)
}

func TestDataWithReservedKeysIsRefusedWithTheList(t *testing.T) {
	w := newWorld(t)
	const reserved = 12
	w.asStock(func(e *embed.Etcd) {
		for i := range reserved {
			_, err := e.Server.Put(withTimeout(t), &pb.PutRequest{Key: fmt.Appendf(nil, "\x00mine/%02d", i), Value: []byte("MARKER")})
			check(t, err)
		}
		_, err := e.Server.Put(withTimeout(t), &pb.PutRequest{Key: []byte("\x01"), Value: []byte("v")}) // the first that is free
		check(t, err)
	})
	m, err := w.tryStart()
	if err == nil {
		m.Stop("it should not have started")
		t.Fatal("the member started")
	}
	for _, part := range []string{"12 keys", `"\x00mine/00"`, `"\x00mine/09"`, "stock etcd"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %s: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "mine/10") || strings.Contains(err.Error(), "MARKER") {
		t.Errorf("the error shows more than ten names: %v", err)
	}
	// The way out works, and nothing was lost on it.
	w.asStock(func(e *embed.Etcd) {
		r, err := e.Server.DeleteRange(withTimeout(t), &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{1}})
		check(t, err)
		if r.Deleted != reserved {
			t.Errorf("%d of the reserved keys are left", r.Deleted)
		}
	})
	w.start()
	r, err := w.client("admin").Get(withTimeout(t), "\x01")
	check(t, err)
	if r.Count != 1 {
		t.Error("the client's key is gone")
	}
}

// v2Request is how etcd 3.5 wrote a request to its v2 store: an ID, a method and
// a path as fields 1 to 3.
func v2Request() []byte {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 4711)
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), "PUT")
	return protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), "/0/members/8e9e05c52164694d/attributes")
}

// appendToWAL writes one more committed entry, as an etcd that ran before did.
func appendToWAL(t *testing.T, dir string, data []byte) (index, term uint64) {
	t.Helper()
	log, err := wal.Open(zap.NewNop(), dir, &walpb.Snapshot{})
	check(t, err)
	defer log.Close()
	_, state, entries, err := log.ReadAll()
	check(t, err)
	last := entries[len(entries)-1]
	index, term = last.GetIndex()+1, last.GetTerm()
	state.Commit = proto.Uint64(index)
	check(t, log.Save(state, []*raftpb.Entry{{Index: proto.Uint64(index), Term: proto.Uint64(term), Data: data}}))
	return index, term
}

// LOCAL-ETCD-UPGRADE-37-V2-WAL-ENTRIES: 3.7 panics at every start on a request of
// the v2 store that stands after the newest snapshot, and so on every member in
// turn. It must not come to the first panic.
func TestAWALOfEtcd35IsRefusedBeforeEtcdSeesIt(t *testing.T) {
	for name, changes := range map[string]func(*world) []string{
		"in the data directory": func(*world) []string { return nil },
		"in its own directory":  func(w *world) []string { return []string{"wal-dir=" + w.file("wal")} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			flags := changes(w)
			dir := filepath.Join(w.file("data"), "member", "wal")
			if flags != nil {
				dir = w.file("wal")
			}
			w.asStock(func(e *embed.Etcd) {
				_, err := e.Server.Put(withTimeout(t), &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
				check(t, err)
			}, flags...)
			c, err := w.config(flags...)
			check(t, err)
			check(t, checkWAL(c.Etcd)) // what 3.7 itself wrote is fine

			if proto.Unmarshal(v2Request(), &pb.InternalRaftRequest{}) == nil {
				t.Fatal("the entry is one that 3.7 can read: this test shows nothing")
			}
			index, term := appendToWAL(t, dir, v2Request())
			before := tree(t, w.dir)
			m, err := w.tryStart(flags...)
			if err == nil {
				m.Stop("it should not have started")
				t.Fatal("the member started")
			}
			for _, part := range []string{fmt.Sprintf("entry %d", index), "etcd 3.6", "--snapshot-count=10"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error lacks %q: %v", part, err)
				}
			}
			if after := tree(t, w.dir); after != before {
				t.Errorf("the data was touched:\n%s\n%s", before, after)
			}

			// What 3.6 leaves behind after the snapshot that the error asks for.
			snapshots := snap.New(zap.NewNop(), filepath.Join(w.file("data"), "member", "snap"))
			check(t, snapshots.SaveSnap(&raftpb.Snapshot{Data: []byte("{}"), Metadata: &raftpb.SnapshotMetadata{
				Index: proto.Uint64(index), Term: proto.Uint64(term), ConfState: &raftpb.ConfState{},
			}}))
			log, err := wal.Open(zap.NewNop(), dir, &walpb.Snapshot{})
			check(t, err)
			_, _, _, err = log.ReadAll()
			check(t, err)
			check(t, log.SaveSnapshot(&walpb.Snapshot{Index: proto.Uint64(index), Term: proto.Uint64(term), ConfState: &raftpb.ConfState{}}))
			check(t, log.Close())
			if err := checkWAL(c.Etcd); err != nil {
				t.Errorf("a snapshot covers the entry, and yet: %v", err)
			}
		})
	}
}

// tree is every file below dir but the log, with its size and time.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	check(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && info.Name() != "log" {
			fmt.Fprintf(&b, "%s %d %v\n", path, info.Size(), info.ModTime())
		}
		return err
	}))
	if b.Len() == 0 {
		t.Fatal("no files")
	}
	return b.String()
}

func TestAWALThatCannotBeReadIsAnErrorWithItsName(t *testing.T) {
	w := newWorld(t)
	w.asStock(func(*embed.Etcd) {})
	dir := filepath.Join(w.file("data"), "member", "wal")
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	check(t, err)
	if len(files) != 1 {
		t.Fatalf("the log has %d files", len(files))
	}
	data := mustRead(t, files[0])
	data[20] ^= 0xff
	check(t, os.WriteFile(files[0], data, 0o600))
	if m, err := w.tryStart(); err == nil {
		m.Stop("it should not have started")
		t.Error("the member started")
	} else if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name %s: %v", dir, err)
	}
}
