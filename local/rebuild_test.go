package local

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fakeCluster is a cluster as one member knows it, whose every change takes effect and
// loses its answer. Each is refused a few times before.
type fakeCluster struct {
	pb.UnimplementedClusterServer
	members  []*pb.Member
	refusals int
	asked    []string
}

func (c *fakeCluster) isLearner() bool {
	return c != nil && len(c.members) == 1 && c.members[0].IsLearner
}

func (c *fakeCluster) change(what string, do func()) error {
	c.asked = append(c.asked, what)
	if n := len(c.asked); c.refusals > 0 && n%(c.refusals+1) != 0 {
		return status.Error(codes.Unavailable, "not yet")
	}
	do()
	return status.Error(codes.Unavailable, "the answer is lost")
}

func (c *fakeCluster) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	return &pb.MemberListResponse{Members: c.members}, nil
}

func (c *fakeCluster) MemberRemove(_ context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, c.change("remove", func() {
		c.members = slices.DeleteFunc(c.members, func(m *pb.Member) bool { return m.ID == r.ID })
	})
}

func (c *fakeCluster) MemberAdd(_ context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, c.change("add", func() {
		c.members = append(c.members, &pb.Member{ID: 99, PeerURLs: r.PeerURLs, IsLearner: r.IsLearner})
	})
}

func (c *fakeCluster) MemberPromote(_ context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, c.change("promote", func() {
		for _, m := range c.members {
			m.IsLearner = m.IsLearner && m.ID != r.ID
		}
	})
}

// Two members: m1 is there, and m2 is rebuilt.
func twoMembers(t *testing.T, known *fakeCluster) *Cluster {
	t.Helper()
	c := fake{cluster: known}.start(t)
	m1 := c.places[0]
	m2 := m1
	m2.name, m2.peer = "m2", m1.metrics // an address of its own
	c.places = append(c.places, m2)
	if err := os.CopyFS(c.member("m2"), os.DirFS(c.member("m1"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.member("m2", "member.pid")); err != nil {
		t.Fatal(err)
	}
	tighten(t, c.member("m2"))
	known.members = []*pb.Member{
		{ID: 1, Name: "m1", PeerURLs: []string{"https://" + m1.peer.String()}},
		{ID: 2, Name: "m2", PeerURLs: []string{"https://" + m2.peer.String()}},
	}
	return c
}

// What was done is read off the list, and not done again because nobody said so.
func TestRebuildGoesOnWhenAnswersAreLost(t *testing.T) {
	known := &fakeCluster{refusals: 1}
	c := twoMembers(t, known)
	r := &rebuild{Cluster: c, at: c.places[1], others: c.places[:1], say: t.Logf}
	runs := false
	for steps := 0; ; steps++ {
		if at := r.at.in(known.members); at != nil && at.IsLearner && !runs {
			holdPidFile(t, c.member("m2", "member.pid")) // it runs from here on
			runs = true
		}
		done, err := r.step(t.Context())
		if err != nil || steps > 20 {
			t.Fatalf("step %d: %v", steps, err)
		}
		if done {
			break
		}
	}
	if got, want := strings.Join(known.asked, " "), "remove remove add add promote promote"; got != want {
		t.Errorf("asked to %s; want %s", got, want)
	}
	config, err := c.readEtcdYAML("m2")
	if err != nil || config.InitialClusterState != "existing" {
		t.Errorf("m2 starts with initial-cluster-state %q (%v)", config.InitialClusterState, err)
	}
}

// One that can't go on without somebody who is down ends, so that he can be started.
func TestRebuildEndsWhenAnotherMemberIsDown(t *testing.T) {
	c := twoMembers(t, &fakeCluster{})
	down := c.places[0]
	down.name = "m3"
	r := &rebuild{Cluster: c, at: c.places[1], others: []placement{c.places[0], down}, say: t.Logf}
	err := r.change(t.Context(), func(context.Context, *grpc.ClientConn) error { return errors.New("no leader") })
	if err == nil || !strings.Contains(err.Error(), "m3 does not run") {
		t.Error(err)
	}
}

func TestAHalfRebuiltMemberIsNamed(t *testing.T) {
	known := &fakeCluster{}
	c := fake{cluster: known}.start(t)
	voter := &pb.Member{PeerURLs: []string{"https://" + c.places[0].peer.String()}}
	learner := &pb.Member{PeerURLs: voter.PeerURLs, IsLearner: true}
	other := &pb.Member{PeerURLs: []string{"https://127.0.0.1:1"}}
	for _, tt := range []struct {
		members []*pb.Member
		half    bool
	}{
		{[]*pb.Member{voter}, false},
		{[]*pb.Member{learner}, true},
		{[]*pb.Member{other}, true},
	} {
		known.members = tt.members
		half, err := c.HalfRebuilt(t.Context())
		if err != nil || slices.Contains(half, "m1") != tt.half {
			t.Errorf("%v: half rebuilt are %q (%v)", tt.members, half, err)
		}
	}
	// Nobody waits for a learner to become healthy.
	known.members = []*pb.Member{learner}
	err := c.awaitHealthy(t.Context(), nil, func() ([]*started, error) { return nil, nil }, t.Logf)
	if err == nil || !strings.Contains(err.Error(), "starting m1: its rebuild was cut off") {
		t.Error(err)
	}
}

func TestJoinExistingKeepsTheRestOfTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "etcd.yaml")
	const before = "# initial-cluster-state: a comment\nname: m1\ninitial-cluster-state: new\nlog-level: info # mine\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a rebuild that is run again finds its own change
		if err := joinExisting(file); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Replace(before, "state: new", "state: existing", 1); string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := os.WriteFile(file, []byte("name: m1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := joinExisting(file); err == nil {
		t.Error("a file that does not say it was taken for one that does")
	}
}

func TestErase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "member", "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "member", "wal", "0.wal")
	if err := os.WriteFile(file, bytes.Repeat([]byte("secret"), 300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(file) // sees what is overwritten, also after the name is gone
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	outside := filepath.Join(filepath.Dir(dir), "outside")
	if err := os.WriteFile(outside, []byte("stays"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := erase(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v %v", left, err)
	}
	left := make([]byte, 1_800_000)
	if n, _ := open.ReadAt(left, 0); n != len(left) || bytes.Count(left, []byte{0}) != n {
		t.Errorf("of %d bytes only %d were overwritten", n, bytes.Count(left, []byte{0}))
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "stays" {
		t.Errorf("what a link led to: %q %v", got, err)
	}
	if err := erase(dir); err != nil {
		t.Errorf("nothing to erase: %v", err)
	}
}

func TestRebuildRefuses(t *testing.T) {
	one := &Cluster{layout{t.TempDir()}, []placement{{name: "m1"}}}
	say := func(string, ...any) {}
	if err := one.Rebuild(t.Context(), "", "m9", say); err == nil || !strings.Contains(err.Error(), "no such member") {
		t.Error(err)
	}
	if err := one.Rebuild(t.Context(), "", "m1", say); err == nil || !strings.Contains(err.Error(), "nobody to be rebuilt from") {
		t.Error(err)
	}
}
