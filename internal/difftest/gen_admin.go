package difftest

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

func (g *generator) admin() {
	switch n := g.rng.IntN(100); {
	case n < 15:
		g.send("Maintenance.Status", &pb.StatusRequest{})
	case n < 20:
		g.send("Maintenance.Hash", &pb.HashRequest{})
	case n < 35:
		g.send("Maintenance.HashKV", &pb.HashKVRequest{Revision: g.revision()})
	case n < 38:
		g.send("Maintenance.Defragment", &pb.DefragmentRequest{})
	case n < 41:
		g.send("Maintenance.Snapshot", &pb.SnapshotRequest{})
	case n < 44:
		g.send("Maintenance.MoveLeader", &pb.MoveLeaderRequest{TargetID: pick(g, []uint64{0, 1, g.w.self})})
	case n < 54:
		g.downgrade()
	case n < 58:
		g.alarmRequest(pb.AlarmRequest_GET)
	case n < 80:
		g.cluster()
	default:
		g.health()
	}
}

// downgrade never asks for one that etcd would begin: it proceeds in the
// background and changes what Status says at some time of its own.
func (g *generator) downgrade() {
	q := &pb.DowngradeRequest{Action: pb.DowngradeRequest_DowngradeAction(g.rng.IntN(3))}
	q.Version = pick(g, []string{"", "3.6.0", "3.6", "3.7.0", "3.5.0", "4.0.0", "nonsense"})
	if q.Action == pb.DowngradeRequest_ENABLE {
		q.Version = pick(g, []string{"", "3.7.0", "3.5.0", "nonsense"})
	}
	g.send("Maintenance.Downgrade", q)
}

// cluster changes the membership only by learners that nobody starts: a voting
// member more, or the only one less, would end the run. Updates name valid URLs.
func (g *generator) cluster() {
	ids := append([]uint64{0, 1, 12345}, g.w.learners...)
	learnerURL := g.learnerURL()
	switch g.rng.IntN(6) {
	case 0, 1:
		g.send("Cluster.MemberList", &pb.MemberListRequest{Linearizable: g.chance(50)})
	case 2:
		q := &pb.MemberAddRequest{PeerURLs: []string{pick(g, []string{"", "no url", "http://127.0.0.1", "ftp://127.0.0.1:1"})}}
		switch {
		case g.chance(20):
			q.PeerURLs = nil
			q.IsLearner = true
		case g.chance(40):
			q.PeerURLs = []string{g.w.selfURL}
			q.IsLearner = g.chance(50)
		case g.chance(60):
			g.addLearner()
			return
		}
		if len(q.PeerURLs) == 0 {
			q.PeerURLs = []string{"no url"}
		}
		g.send("Cluster.MemberAdd", q)
	case 3:
		id := pick(g, ids)
		a := g.send("Cluster.MemberRemove", &pb.MemberRemoveRequest{ID: id})
		if a.err == nil {
			g.w.learners = nil
		}
	case 4:
		g.send("Cluster.MemberUpdate", &pb.MemberUpdateRequest{ID: pick(g, ids),
			PeerURLs: []string{pick(g, []string{learnerURL, g.w.selfURL})}})
	default:
		g.send("Cluster.MemberPromote", &pb.MemberPromoteRequest{ID: pick(g, ids)})
	}
}

// learnerURL is a new one each time: a member's ID is made of its URL and the
// second in which it is added, and the two servers' clocks may be a second apart.
func (g *generator) learnerURL() string {
	g.urls++
	return fmt.Sprintf("http://127.0.0.1:%d", 1+(g.r.sent+g.urls)%60_000)
}

func (g *generator) addLearner() {
	a := g.send("Cluster.MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{g.learnerURL()}, IsLearner: true})
	if a.err == nil {
		g.w.learners = append(g.w.learners, a.msgs[0].(*pb.MemberAddResponse).Member.ID)
	}
}

func (g *generator) health() {
	service := pick(g, []string{"", "", "etcdserverpb.KV", "nothing"})
	switch g.rng.IntN(3) {
	case 0:
		g.send("Health.Check", &healthpb.HealthCheckRequest{Service: service})
	case 1:
		g.send("Health.List", &healthpb.HealthListRequest{})
	default:
		g.send("Health.Watch", &healthpb.HealthCheckRequest{Service: service})
	}
}

// alarm raises an alarm, or takes it back. While one is raised most writes are
// refused.
func (g *generator) alarm() {
	action := pb.AlarmRequest_AlarmAction(g.rng.IntN(3))
	if len(g.w.alarms) > 0 && g.chance(50) {
		action = pb.AlarmRequest_DEACTIVATE
	}
	if action == pb.AlarmRequest_ACTIVATE {
		g.r.barriers() // which need to write
	}
	g.alarmRequest(action)
}

func (g *generator) alarmRequest(action pb.AlarmRequest_AlarmAction) {
	q := &pb.AlarmRequest{
		Action:   action,
		MemberID: pick(g, []uint64{0, 1, g.w.self}),
		Alarm:    pb.AlarmType(g.rng.IntN(3)),
	}
	if action != pb.AlarmRequest_GET {
		if a := g.send("Maintenance.Alarm", q); a.err != nil {
			return
		}
	}
	// What is raised now decides what the run may expect of its own writes.
	a := g.r.do(request{rpc: "Maintenance.Alarm", as: g.anybody(), msgs: []proto.Message{&pb.AlarmRequest{Alarm: q.Alarm}}})
	if a.err != nil || q.Alarm != pb.AlarmType_NONE && action == pb.AlarmRequest_GET {
		return
	}
	all := g.r.do(request{rpc: "Maintenance.Alarm", as: g.anybody(), msgs: []proto.Message{&pb.AlarmRequest{}}})
	clear(g.w.alarms)
	for _, m := range all.msgs[0].(*pb.AlarmResponse).Alarms {
		g.w.alarms[m.Alarm] = true
	}
}

// strange calls what is not of the API.
func (g *generator) strange() {
	path := pick(g, []string{
		"/etcdserverpb.KV/Nothing", "/etcdserverpb.Nothing/Range", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/etcdserverpb.KV/range", "/nothing",
	})
	g.r.do(request{path: path, as: g.identity(), msgs: []proto.Message{&pb.RangeRequest{Key: g.realKey()}}})
}
