package local

import (
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
	for {
		done, err := r.step(ctx)
		if err != nil {
			return withHint("run the same command again: it goes on where this stopped", "rebuilding %s: %w", name, err)
		}
		if done {
			say("%s is rebuilt", name)
			return nil
		}
	}
}

// rebuild is one member on its way out of the cluster and back.
type rebuild struct {
	*Cluster
	at         placement
	executable string
	say        func(string, ...any)
	left       bool // this run has seen the member go, or gone already
}

// step does the next thing, as the member list says what that is.
func (r *rebuild) step(ctx context.Context) (done bool, err error) {
	members, err := r.memberList(ctx)
	if err != nil {
		return false, err
	}
	peer := "https://" + r.at.peer.String()
	i := slices.IndexFunc(members, func(m *pb.Member) bool { return slices.Contains(m.PeerURLs, peer) })
	if j := slices.IndexFunc(members, func(m *pb.Member) bool { return m.Name == r.at.name }); i < 0 && j >= 0 {
		return false, fmt.Errorf("the cluster knows %s at %s, and its configuration says %s", r.at.name, strings.Join(members[j].PeerURLs, ","), peer)
	}
	switch {
	case i < 0:
		r.left = true
		return false, r.join(ctx, peer)
	case members[i].IsLearner:
		r.left = true
		return false, r.catchUp(ctx, members[i].ID)
	case r.left:
		return true, r.awaitAnswer(ctx)
	default:
		return false, r.leave(ctx, members[i].ID)
	}
}

// leave removes the member, if the others can do without.
func (r *rebuild) leave(ctx context.Context, id uint64) error {
	status, err := r.Status(ctx)
	if err != nil {
		return err
	}
	var sick []string
	for _, m := range status.Members {
		if m.Name != r.at.name && m.State != Healthy {
			sick = append(sick, m.Name+": "+m.Problem)
		}
	}
	if len(sick) > 0 {
		return fmt.Errorf("the other members have to be healthy to go on without it; %s", strings.Join(sick, "; "))
	}
	r.say("%s leaves the cluster", r.at.name)
	// etcd lets go of a member only when the others have been connected for 5 s
	// (etcdserver.HealthInterval): after the last rebuild they may not have been yet.
	return r.retry(ctx, nil, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewClusterClient(conn).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		return err
	})
}

// retry makes one call to the others until it succeeds, rebuildFor has passed, or the
// child ends; child may be nil.
func (r *rebuild) retry(ctx context.Context, child *started, call func(context.Context, *grpc.ClientConn) error) error {
	ended := make(<-chan struct{})
	if child != nil {
		ended = child.ended
	}
	deadline := time.Now().Add(rebuildFor)
	for {
		err := r.others(ctx, call)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ended:
			return child.failure()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// join erases what the member had and has the cluster expect it as a learner. The
// order matters: a process that is expected must not find the old data.
func (r *rebuild) join(ctx context.Context, peer string) error {
	if err := r.ended(ctx); err != nil {
		return err
	}
	data := r.member(r.at.name, "data")
	r.say("%s: erasing %s", r.at.name, data)
	if err := erase(data); err != nil {
		return err
	}
	if err := makePrivate(data); err != nil {
		return err
	}
	if err := joinExisting(r.member(r.at.name, "etcd.yaml")); err != nil {
		return err
	}
	return r.others(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewClusterClient(conn).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{peer}, IsLearner: true})
		return err
	})
}

// catchUp runs the learner and promotes it once it has what the leader has.
func (r *rebuild) catchUp(ctx context.Context, id uint64) error {
	proc, err := r.process(r.at.name)
	if err != nil {
		return err
	}
	var child *started
	if !proc.running {
		if child, err = r.start(r.executable, r.at.name); err != nil {
			return err
		}
		r.say("%s started (pid %d) as a learner", r.at.name, child.pid)
	}
	err = r.retry(ctx, child, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewClusterClient(conn).MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	})
	if err != nil {
		return fmt.Errorf("waiting for the learner to catch up: %w", err)
	}
	r.say("%s has caught up and votes again", r.at.name)
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
		if time.Now().After(deadline) {
			return errors.New(m.Problem)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *rebuild) memberList(ctx context.Context) (members []*pb.Member, err error) {
	err = r.others(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		members = list.GetMembers()
		return err
	})
	return members, err
}

// others makes one call to the first of the other members that answers it.
func (r *rebuild) others(ctx context.Context, call func(context.Context, *grpc.ClientConn) error) error {
	admin, err := r.loadClient("admin")
	if err != nil {
		return err
	}
	var problems []error
	for _, p := range r.places {
		if p == r.at {
			continue
		}
		conn, err := r.connectAs(admin, p.client)
		if err != nil {
			return err
		}
		within, cancel := context.WithTimeout(ctx, 2*askFor)
		err = call(within, conn)
		cancel()
		conn.Close()
		if err == nil {
			return nil
		}
		problems = append(problems, describe("asking "+p.name, err))
	}
	return errors.Join(problems...)
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

// erase overwrites every file of a folder with zeros and removes the folder. What
// the device, a snapshot of the volume or a copying file system keeps of the old
// blocks is beyond it.
func erase(dir string) error {
	zeros := make([]byte, 1<<20)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return overwrite(path, zeros)
	})
	if err != nil {
		return fmt.Errorf("erasing %s: %w", dir, err)
	}
	return os.RemoveAll(dir)
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
