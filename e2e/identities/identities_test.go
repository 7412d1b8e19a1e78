package identities

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

// TestEveryIdentityIsRefusedWhatItIsNotThereFor tries every technique as everybody
// on every member, looks whether the cluster is still what it was, and then lets
// those who may.
func TestEveryIdentityIsRefusedWhatItIsNotThereFor(t *testing.T) {
	c := cluster.Up(t, 3)
	all := identities(t, c)
	c.EditPolicy(t, func(policy string) string { return withTenants(t, policy) })
	waitForTenant(t, c, all)
	prey := seed(t, c)
	settled(t, c)
	before, revision := fingerprint(t, c)

	refused, through, allowed := 0, 0, 0
	for _, m := range c.Members {
		targets := targetsOf(t, m, all, prey)
		for _, technique := range techniques() {
			for _, who := range all {
				if slices.Contains(technique.may, who.name) {
					continue
				}
				if err := try(technique, targets[who.name]); isRefusal(err, who.inside) {
					refused++
				} else {
					through++
					t.Errorf("%s was not refused on %s: %s, %s: %v", who.name, m.Name, technique.threat, technique.name, err)
				}
			}
		}
	}
	if after, _ := fingerprint(t, c); after != before {
		t.Errorf("what was refused left a trace:\nbefore %s\nafter  %s", before, after)
	}
	if written := writtenSince(t, c, revision); len(written) > 0 {
		t.Errorf("what was refused was written: %q", written)
	}
	targets := targetsOf(t, c.Members[0], all, prey)
	for _, technique := range inOrder(techniques()) {
		for _, name := range technique.may {
			allowed++
			if err := try(technique, targets[name]); status.Code(err) != technique.etcd {
				t.Errorf("control: %s should be able to: %s, %s (want %v): %v", name, technique.threat, technique.name, technique.etcd, err)
			}
		}
	}
	t.Logf("%d techniques, %d identities, %d members: %d attempts refused, %d not; %d controls",
		len(techniques()), len(all), len(c.Members), refused, through, allowed)
	t.Logf("who may what:\n%s", table())
	covered(t)
}

// TestTheTechniquesWorkOnStockEtcd is the control of the whole table: without a
// guard, a genuine certificate that nobody knows can do all of it, and gets the
// answers that the guarded cluster gives to those who may.
func TestTheTechniquesWorkOnStockEtcd(t *testing.T) {
	c := cluster.Stock(t, 3)
	all := identities(t, c)
	who := all[slices.IndexFunc(all, func(i identity) bool { return i.name == unnamed })]
	targets := targetsOf(t, c.Members[0], []identity{who}, seed(t, c))
	worked := 0
	for _, technique := range inOrder(techniques()) {
		if technique.gone {
			continue
		}
		err := try(technique, targets[who.name])
		switch {
		case isRefusal(err, true):
			t.Errorf("%s, %s: stock etcd refuses it too: %v", technique.threat, technique.name, err)
		case len(technique.may) > 0 && status.Code(err) != technique.etcd:
			t.Errorf("%s, %s: stock etcd says %v; the table expects %v", technique.threat, technique.name, err, technique.etcd)
		default:
			worked++
		}
	}
	t.Logf("%d of %d techniques work on stock etcd with a certificate that no one knows", worked, len(techniques()))
}

func try(technique technique, t target) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return technique.do(ctx, t)
}

// isRefusal tells a refusal from an accident: someone who is let in is told that he
// may not, or that there is no such thing; someone who is not finds the connection
// closed (that it is the handshake which fails, TestTheDoors shows).
func isRefusal(err error, inside bool) bool {
	code := status.Code(err)
	if inside {
		return code == codes.PermissionDenied || code == codes.Unimplemented
	}
	if code != codes.Unavailable {
		return false
	}
	// The server's alert, or what is left of it when it closed the connection before
	// the client had sent all it wanted.
	for _, sign := range []string{"tls: ", "broken pipe", "connection reset by peer", "conn could not be established"} {
		if strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}

// inOrder puts what leaves little behind it to the end.
func inOrder(all []technique) []technique {
	slices.SortStableFunc(all, func(a, b technique) int {
		switch {
		case a.last == b.last:
			return 0
		case a.last:
			return 1
		}
		return -1
	})
	return all
}

func targetsOf(t *testing.T, m *cluster.Member, all []identity, p prey) map[string]target {
	targets := map[string]target{}
	for _, who := range all {
		targets[who.name] = target{conn: m.Dial(t, who.config), member: m, config: who.config, prey: p}
	}
	return targets
}

// waitForTenant waits until every member has taken the edited policy.
func waitForTenant(t *testing.T, c *cluster.Cluster, all []identity) {
	t.Helper()
	who := all[slices.IndexFunc(all, func(i identity) bool { return i.name == tenant })]
	for _, m := range c.Members {
		target := target{conn: m.Dial(t, who.config), member: m, config: who.config}
		deadline := time.Now().Add(time.Minute)
		for {
			err := try(technique{do: get("/tenant/mine", "")}, target)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has not taken the edited policy after a minute: %v", m.Name, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// settled waits until all members are at the same revision.
func settled(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, m := range c.Members {
		// A linearizable read: the member has applied all that was acknowledged.
		conn := m.Dial(t, c.TLS(t, admin))
		if _, err := pb.NewKVClient(conn).Range(t.Context(), rangeOf(secret, "")); err != nil {
			t.Fatal(err)
		}
	}
}

// fingerprint is everything about the cluster that the techniques are after, and the
// revision that it is at. Members write checkpoints of their audit logs meanwhile, so
// neither the revision nor the hash of all keys is part of it.
func fingerprint(t *testing.T, c *cluster.Cluster) (string, int64) {
	t.Helper()
	target := target{conn: c.Members[0].Dial(t, c.TLS(t, admin))}
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	keys, err := target.kv().Range(ctx, everything())
	must(err)
	content := sha256.New()
	for _, kv := range keys.Kvs {
		fmt.Fprintf(content, "%q %q %d %d %d %x\n", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
	}
	hash, err := target.maintenance().HashKV(ctx, &pb.HashKVRequest{})
	must(err)
	members, err := target.cluster().MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	must(err)
	alarms, err := target.maintenance().Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
	must(err)
	users, err := target.auth().UserList(ctx, &pb.AuthUserListRequest{})
	must(err)
	roles, err := target.auth().RoleList(ctx, &pb.AuthRoleListRequest{})
	must(err)
	auth, err := target.auth().AuthStatus(ctx, &pb.AuthStatusRequest{})
	must(err)
	leases, err := target.lease().LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	must(err)
	state, err := target.maintenance().Status(ctx, &pb.StatusRequest{})
	must(err)
	return fmt.Sprintf("%d keys with hash %x, compacted %d, members %d, alarms %d, users %d, roles %d, auth %v at %d, leases %d, leader %x",
		len(keys.Kvs), content.Sum(nil)[:8], hash.CompactRevision, len(members.Members), len(alarms.Alarms),
		len(users.Users), len(roles.Roles), auth.Enabled, auth.AuthRevision, len(leases.Leases), state.Leader), keys.Header.Revision
}

func everything() *pb.RangeRequest { return &pb.RangeRequest{Key: []byte{1}, RangeEnd: []byte{0}} }

// writtenSince are the keys of clients that were written after a revision, also if they
// were put back: a watch from there on shows all, up to a write that it waits for.
func writtenSince(t *testing.T, c *cluster.Cluster, revision int64) (keys []string) {
	t.Helper()
	const marker = "/the-end-of-what-was-refused"
	conn := c.Members[0].Dial(t, c.TLS(t, admin))
	if _, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte(marker)}); err != nil {
		t.Fatal(err)
	}
	stream, err := pb.NewWatchClient(conn).Watch(t.Context())
	if err == nil {
		err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
			Key: everything().Key, RangeEnd: everything().RangeEnd, StartRevision: revision + 1}}})
	}
	for err == nil {
		var r *pb.WatchResponse
		if r, err = stream.Recv(); err != nil {
			break
		}
		for _, e := range r.Events {
			if string(e.Kv.Key) == marker {
				return keys
			}
			keys = append(keys, string(e.Kv.Key))
		}
	}
	t.Fatal(err)
	return nil
}

// covered holds the table to the threats that it is there for.
func covered(t *testing.T) {
	count := map[string]int{}
	for _, technique := range techniques() {
		count[technique.threat]++
	}
	for _, threat := range []string{"T2", "T3", "T4", "T6", "T7", "T8", "T10", "T11", "T17"} {
		if count[threat] == 0 {
			t.Errorf("no technique for threat %s", threat)
		}
	}
	t.Logf("techniques by threat: %v", count)
}

// table is the whole of it, to read: each technique, and who may.
func table() string {
	var b strings.Builder
	for _, technique := range techniques() {
		who := strings.Join(technique.may, ", ")
		if who == "" {
			who = "nobody"
		}
		fmt.Fprintf(&b, "  %-4s %-72s %s\n", technique.threat, technique.name, who)
	}
	return b.String()
}
