package member

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// newPair is the files of two members of one cluster.
func newPair(t *testing.T) (one, two *world) {
	one = newWorld(t)
	two = one.newMember("m2")
	one.cluster = "m1=https://" + one.peerAddr + ",m2=https://" + two.peerAddr
	two.cluster = one.cluster
	one.flags["strict-reconfig-check"], two.flags["strict-reconfig-check"] = "false", "false" // it waits for seconds of health
	return one, two
}

// prepare parses the member's configuration, and returns what starts it beside
// others: none is ready without the rest. All of a cluster are to be prepared
// before one is started, since etcd's flags write to variables of its packages.
func (w *world) prepare() func() <-chan *Member {
	w.t.Helper()
	c, err := w.config()
	check(w.t, err)
	return func() <-chan *Member {
		started := make(chan *Member, 1)
		go func() {
			defer close(started)
			m, err := Start(withTimeout(w.t), c)
			if err != nil {
				w.t.Errorf("starting %s: %v", w.name, err)
				return
			}
			w.t.Cleanup(func() { m.Stop("the test is over") })
			started <- m
		}()
		return started
	}
}

// id is the member's id in the member list.
func (w *world) id(c *clientv3.Client) uint64 {
	w.t.Helper()
	list, err := c.MemberList(withTimeout(w.t))
	check(w.t, err)
	for _, m := range list.Members {
		if m.Name == w.name {
			if len(m.ClientURLs) != 1 || m.ClientURLs[0] != "https://"+w.clientAddr {
				w.t.Errorf("the member list shows %s with %v", w.name, m.ClientURLs)
			}
			return m.ID
		}
	}
	w.t.Fatalf("%s is not in the member list %v", w.name, list.Members)
	return 0
}

// remove takes other out of the cluster. It does not lead when that happens: a
// leader that goes may be gone before it has answered.
func (w *world) remove(other *world) {
	w.t.Helper()
	admin, leaving := w.client("admin"), other.client("admin")
	mine, its := w.id(admin), other.id(admin)
	now, err := admin.Status(withTimeout(w.t), admin.Endpoints()[0])
	check(w.t, err)
	if now.Leader == its {
		_, err := leaving.MoveLeader(withTimeout(w.t), mine)
		check(w.t, err)
	}
	_, err = admin.MemberRemove(withTimeout(w.t), its)
	check(w.t, err)
}

// A member that was removed must not sit there with its doors open and old data.
func TestARemovedMemberEndsItsStreamsAndItself(t *testing.T) {
	one, two := newPair(t)
	first := one.prepare()()
	p := two.spawn()
	p.await(ready)
	if <-first == nil {
		t.FailNow()
	}
	watch := openWatch(t, two.dial("admin"), "/w/a")
	one.remove(two)
	if err := watch.RecvMsg(&pb.WatchResponse{}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "left its cluster") {
		t.Errorf("the watch on the removed member ended with %v", err)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.out)
	}
	_, err := one.client("admin").Put(withTimeout(t), "/w/a", "1")
	check(t, err) // the one that is left goes on
}

func TestDoneYieldsWhenTheMemberIsRemoved(t *testing.T) {
	one, two := newPair(t)
	startFirst, startSecond := one.prepare(), two.prepare()
	first, second := startFirst(), startSecond()
	m1, m2 := <-first, <-second
	if m1 == nil || m2 == nil {
		t.FailNow()
	}
	one.remove(two)
	select {
	case err := <-m2.Done():
		check(t, err)
	case <-withTimeout(t).Done():
		t.Fatal("Done does not yield")
	}
	m2.Stop("removed")
	m2.Stop("a second time does nothing")
	select {
	case err := <-m1.Done():
		t.Errorf("the member that is left ended: %v", err)
	default:
	}
}

// A policy that was replaced while its member waited for the others is the one in
// force when it opens its door.
func TestAPolicyReplacedDuringTheStartIsNoticed(t *testing.T) {
	one, two := newPair(t)
	startFirst, startSecond := one.prepare(), two.prepare()
	first := startFirst()
	eventually(t, "the first member to wait", func() bool { return strings.Contains(one.log(), "now serving peer") })
	one.write("policy.yaml", []byte(strings.Replace(thePolicy, "cn: [watcher]", "cn: [stranger]", 1)))
	second := startSecond()
	if <-first == nil || <-second == nil {
		t.FailNow()
	}
	stranger := one.client("stranger")
	eventually(t, "the rights of the policy's new caller", func() bool {
		_, err := stranger.Get(withTimeout(t), "/w/a")
		return err == nil
	})
}
