package member

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

const sealingSection = `sealing:
  providers:
    - name: local
      local: {key-file: ring.key}
`

// seals gives a member the sealing section and a key file, which all members of one
// cluster share.
func (w *world) seals(like ...*world) *world {
	w.t.Helper()
	if len(like) == 0 {
		_, err := kms.CreateKeyFile(w.file("ring.key"), nil)
		check(w.t, err)
	} else {
		w.write("ring.key", mustRead(w.t, like[0].file("ring.key")))
	}
	w.guardConfig(sealingSection)
	return w
}

// stored is what etcd stores under a key, sealed or not.
func stored(t testing.TB, m *Member, key string) []byte {
	t.Helper()
	r, err := store{server{m.etcd.Server}}.Range(withTimeout(t), &pb.RangeRequest{Key: []byte(key)})
	check(t, err)
	if len(r.Kvs) != 1 {
		t.Fatalf("%q is not stored", key)
	}
	return r.Kvs[0].Value
}

func sealStatus(t testing.TB, m *Member) keyring.Status {
	t.Helper()
	s, err := m.keeper.Status(withTimeout(t))
	check(t, err)
	return s
}

// onDisk reports whether text is anywhere in the files below dir.
func onDisk(t testing.TB, dir, text string) bool {
	t.Helper()
	found := false
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		found = found || bytes.Contains(data, []byte(text))
		return err
	}))
	return found
}

func TestANewClusterIsStrictFromBirth(t *testing.T) {
	w := newWorld(t).seals()
	m := w.start()
	c := w.client("admin")
	const secret = "correct horse battery staple"
	_, err := c.Put(withTimeout(t), "/w/secret", secret)
	check(t, err)
	got, err := c.Get(withTimeout(t), "/w/secret")
	check(t, err)
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != secret {
		t.Fatalf("read back %v", got.Kvs)
	}
	if !seal.IsSealed(stored(t, m, "/w/secret")) {
		t.Error("it is stored as it came")
	}
	s := sealStatus(t, m)
	if s.Phase != keyring.Strict || s.Generation != 1 || s.InForce != 1 || len(s.Members) != 1 || !s.Members[0].Confirmed || !s.Members[0].Guarded {
		t.Errorf("status %+v", s)
	}
	m.Stop("looking at the disk")
	if onDisk(t, w.file("data"), secret) {
		t.Error("the value is on the disk")
	}
	if !onDisk(t, w.file("data"), "/w/secret") {
		t.Error("the search does not find the key's name either, so it says nothing")
	}
	w.start()
	got, err = w.client("admin").Get(withTimeout(t), "/w/secret")
	check(t, err)
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != secret {
		t.Fatalf("read back after a restart %v", got.Kvs)
	}
}

func TestClientsSeeNothingOfTheKeyring(t *testing.T) {
	w := newWorld(t).seals()
	m := w.start()
	c := w.client("admin")
	all, err := c.Get(withTimeout(t), "\x00", withPrefix)
	if err == nil {
		t.Errorf("the reserved space is shown: %v", all.Kvs)
	}
	everything, err := c.Get(withTimeout(t), "", withPrefix)
	check(t, err)
	if everything.Count != 0 {
		t.Errorf("a client sees %v", everything.Kvs)
	}
	leases, err := c.Leases(withTimeout(t))
	check(t, err)
	if len(leases.Leases) != 0 {
		t.Errorf("a client sees the leases %v", leases.Leases)
	}
	own, err := m.etcd.Server.LeaseLeases(context.Background(), &pb.LeaseLeasesRequest{})
	check(t, err)
	if len(own.Leases) != 1 {
		t.Fatalf("etcd has the leases %v", own.Leases)
	}
	id := own.Leases[0].ID
	rpc := pb.NewLeaseClient(w.dial("admin"))
	if _, err := rpc.LeaseRevoke(withTimeout(t), &pb.LeaseRevokeRequest{ID: id}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("revoking the lease of a presence: %v", err)
	}
	if r, err := rpc.LeaseTimeToLive(withTimeout(t), &pb.LeaseTimeToLiveRequest{ID: id, Keys: true}); err == nil {
		t.Errorf("the lease of a presence is shown: %v", r)
	}
	if _, err := rpc.LeaseGrant(withTimeout(t), &pb.LeaseGrantRequest{ID: id + 1, TTL: 60}); err == nil {
		t.Error("a client was granted a lease of the reserved space")
	}
	alive, err := rpc.LeaseKeepAlive(withTimeout(t))
	check(t, err)
	check(t, alive.Send(&pb.LeaseKeepAliveRequest{ID: id}))
	if r, err := alive.Recv(); err == nil {
		t.Errorf("a client kept the lease of a presence alive: %v", r)
	}
}
