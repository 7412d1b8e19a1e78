package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/etcdguard/etcdguard/pki"
)

// rebuildFor bounds each wait of a rebuild: for a process to end, for a learner to
// catch up.
const rebuildFor = 5 * time.Minute

// goOn is the command that finishes what a Rebuild began.
const goOn = "etcdguard seal scrub --yes"

// Rebuild gives a member an empty data directory and lets the others fill it: the
// member leaves the cluster, its files are erased, and it comes back as a learner
// that is promoted once it has caught up. What of the files was never meant to last
// (old log entries, old snapshots) is gone then.
//
// It refuses while the others could not go on without the member. Where to go on is
// read off the member list and the disk, so that a Rebuild that was killed finishes
// when it is run again.
func (c *Cluster) Rebuild(ctx context.Context, executable, name string, say func(format string, args ...any)) error {
	i := slices.IndexFunc(c.places, func(p placement) bool { return p.name == name })
	if i < 0 {
		return withHint("one of the names that etcdguard status shows", "rebuilding %q: there is no such member", name)
	}
	if len(c.places) == 1 {
		return fmt.Errorf("rebuilding %s: a cluster of one member has nobody to be rebuilt from", name)
	}
	release, err := c.lockDir()
	if err != nil {
		return err
	}
	defer release()
	r := &rebuild{Cluster: c, at: c.places[i], executable: executable, say: say}
	r.others = slices.Delete(slices.Clone(c.places), i, i+1)
	for {
		done, err := r.step(ctx)
		if known := (fix{}); errors.As(err, &known) {
			return fmt.Errorf("rebuilding %s: %w", name, err)
		}
		if err != nil {
			return withHint("run the same command again: it goes on where this stopped", "rebuilding %s: %w", name, err)
		}
		if done {
			say("%s is rebuilt", name)
			return nil
		}
	}
}

// HalfRebuilt names the members that are not in the cluster, or do not vote: a Rebuild
// was cut off. Another one finishes it.
func (c *Cluster) HalfRebuilt(ctx context.Context) ([]string, error) {
	members, err := c.memberList(ctx, c.places)
	if err != nil {
		return nil, withHint("etcdguard up"+c.dirFlag(), "asking who is in the cluster: %w", err)
	}
	var half []string
	for _, p := range c.places {
		if m := p.in(members); m == nil || m.IsLearner {
			half = append(half, p.name)
		}
	}
	return half, nil
}

// in is the member at this place, nil if the list has none.
func (p placement) in(members []*pb.Member) *pb.Member {
	for _, m := range members {
		if slices.Contains(m.PeerURLs, "https://"+p.peer.String()) {
			return m
		}
	}
	return nil
}

// rebuild is one member on its way out of the cluster and back.
type rebuild struct {
	*Cluster
	at         placement
	others     []placement
	executable string
	say        func(string, ...any)
	left       bool      // this run has seen the member go, or gone already
	child      *started  // the member, if this run started it
	doing      string    // what was begun last
	failing    time.Time // since when the others refuse it; zero: they don't
}

// begin says what is done now, once.
func (r *rebuild) begin(doing string) {
	if r.doing != doing {
		r.doing, r.failing = doing, time.Time{}
		r.say("%s", doing)
	}
}

// step does the next thing, as the member list says what that is.
func (r *rebuild) step(ctx context.Context) (done bool, err error) {
	members, err := r.memberList(ctx, r.others)
	if err != nil {
		return false, cmp.Or(r.othersRun(), err)
	}
	m := r.at.in(members)
	if j := slices.IndexFunc(members, func(m *pb.Member) bool { return m.Name == r.at.name }); m == nil && j >= 0 {
		return false, fmt.Errorf("the cluster knows %s at %s, and its configuration says https://%s", r.at.name, strings.Join(members[j].PeerURLs, ","), r.at.peer)
	}
	switch {
	case m == nil:
		r.left = true
		return false, r.join(ctx)
	case m.IsLearner:
		r.left = true
		return false, r.catchUp(ctx, m.ID)
	case r.left:
		r.say("%s has caught up and votes again", r.at.name)
		return true, r.awaitAnswer(ctx)
	default:
		return false, r.leave(ctx, m.ID)
	}
}

// leave removes the member, if the others can do without.
func (r *rebuild) leave(ctx context.Context, id uint64) error {
	status, err := r.Status(ctx)
	if err != nil {
		return err
	}
	if sick := status.sick(r.at.name); len(sick) > 0 {
		return fmt.Errorf("the other members have to be healthy to go on without it; %s", strings.Join(sick, "; "))
	}
	r.begin(r.at.name + " leaves the cluster")
	return r.change(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewClusterClient(conn).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		return err
	})
}

// change asks the others for a change of the member list. They may refuse for a while:
// etcd lets go of a member only when the others have been connected for 5 s
// (etcdserver.HealthInterval), and a learner has to catch up. And the answer to a change
// that they made may be lost. So a failure is none before rebuildFor has passed: step
// reads the list again and asks for what is still to be done.
func (r *rebuild) change(ctx context.Context, call func(context.Context, *grpc.ClientConn) error) error {
	err := r.onOne(ctx, r.others, 2*askFor, call)
	if err == nil {
		r.failing = time.Time{}
		return nil
	}
	if err := r.othersRun(); err != nil {
		return err
	}
	if r.failing.IsZero() {
		r.failing = time.Now()
	}
	if time.Since(r.failing) > rebuildFor {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(500 * time.Millisecond):
		return nil
	}
}

// othersRun is an error if one of the others has no process: only this command's end
// lets another one start it.
func (r *rebuild) othersRun() error {
	for _, p := range r.others {
		if proc, err := r.process(p.name); err != nil {
			return err
		} else if !proc.running {
			return withHint("etcdguard up"+r.dirFlag()+" starts it; then run the same command again", "%s does not run", p.name)
		}
	}
	return nil
}

// join erases what the member had and has the cluster expect it as a learner. The
// order matters: a process that is expected must not find the old data, and one that
// finds none, because somebody starts it, must not found a cluster.
func (r *rebuild) join(ctx context.Context) error {
	if err := r.ended(ctx); err != nil {
		return err
	}
	if err := joinExisting(r.member(r.at.name, "etcd.yaml")); err != nil {
		return err
	}
	data := r.member(r.at.name, "data")
	r.begin(r.at.name + ": erasing " + data)
	if err := erase(data); err != nil {
		return err
	}
	return r.change(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewClusterClient(conn).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"https://" + r.at.peer.String()}, IsLearner: true})
		return err
	})
}

// catchUp runs the learner and promotes it once it has what the leader has.
func (r *rebuild) catchUp(ctx context.Context, id uint64) error {
	if err := r.run(); err != nil {
		return err
	}
	err := r.change(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewClusterClient(conn).MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	})
	if err != nil {
		return fmt.Errorf("waiting for the learner to catch up: %w", err)
	}
	return nil
}

// run starts the learner, unless it runs.
func (r *rebuild) run() error {
	if r.child != nil {
		select {
		case <-r.child.ended:
			return r.child.failure()
		default:
			return nil
		}
	}
	proc, err := r.process(r.at.name)
	if err != nil || proc.running {
		return err
	}
	if r.child, err = r.start(r.executable, r.at.name); err != nil {
		return err
	}
	r.begin(fmt.Sprintf("%s started (pid %d) as a learner", r.at.name, r.child.pid))
	return nil
}

// ended waits until the process of a member that was removed is gone; it goes by
// itself, unless it did not notice.
func (r *rebuild) ended(ctx context.Context) error {
	left, err := r.awaitStopped(ctx, []string{r.at.name}, 10*time.Second)
	if err != nil || len(left) == 0 {
		return err
	}
	if err := r.signal(r.at.name, syscall.SIGTERM); err != nil {
		return err
	}
	if left, err = r.awaitStopped(ctx, left, time.Minute); err == nil && len(left) > 0 {
		err = fmt.Errorf("%s does not stop", r.at.name)
	}
	return err
}

func (r *rebuild) awaitAnswer(ctx context.Context) error {
	admin, err := r.loadClient("admin")
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(rebuildFor); ; {
		m := r.memberStatus(ctx, admin, r.at)
		if m.State == Healthy {
			return nil
		}
		if m.State == Down || time.Now().After(deadline) {
			return errors.New(m.Problem)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// memberList is what a majority says, by the first of some members that answers.
func (c *Cluster) memberList(ctx context.Context, from []placement) (members []*pb.Member, err error) {
	err = c.onOne(ctx, from, 2*askFor, func(ctx context.Context, conn *grpc.ClientConn) error {
		list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		members = list.GetMembers()
		return err
	})
	return members, err
}

var initialState = regexp.MustCompile(`(?m)^initial-cluster-state:.*$`)

// joinExisting makes a member's configuration say that its cluster is there
// already. The rest of the file, comments included, stays as it is.
func joinExisting(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	const joins = "initial-cluster-state: existing"
	if !initialState.Match(data) {
		return fmt.Errorf("reading %s: it does not say initial-cluster-state", file)
	}
	return pki.WriteFile(file, initialState.ReplaceAll(data, []byte(joins)), 0o600)
}

// erase overwrites every file of a folder with zeros and removes it; the folder stays,
// empty. What the device, a snapshot of the volume or a copying file system keeps of the
// old blocks is beyond it.
func erase(dir string) error {
	zeros := make([]byte, 1<<20)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return overwrite(path, zeros)
	})
	if err != nil {
		return fmt.Errorf("erasing %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("erasing %s: %w", dir, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("erasing %s: %w", dir, err)
		}
	}
	return nil
}

func overwrite(path string, zeros []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for left := info.Size(); left > 0; {
		n, err := f.Write(zeros[:min(left, int64(len(zeros)))])
		if err != nil && err != io.ErrShortWrite {
			return err
		}
		left -= int64(n)
	}
	return f.Sync()
}
