package difftest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// run is one comparison. It sends one request at a time, to both sides at once,
// and does not send the next before both have answered.
type run struct {
	t     testing.TB
	opt   Options
	conn  [2]*grpc.ClientConn
	name  [2]string
	names *names
	world world
	cover *coverage

	token       map[identityRef][2]string
	streamCount int
	seed        uint64 // of the epoch
	theme       string
	step        int // in the epoch
	sent        int // in the run
	recent      []string
}

// Run sends the same random requests to a, which is right by definition, and to b,
// and fails the test at the first answer that differs. Both must be fresh members of
// clusters of one, with the same limits and the same users.
func Run(t testing.TB, a, b Target, opt Options) {
	t.Helper()
	opt = opt.withDefaults()
	r := &run{
		t: t, opt: opt, names: newNames(), cover: newCoverage(),
		conn:  [2]*grpc.ClientConn{dial(t, a), dial(t, b)},
		name:  [2]string{a.Name, b.Name},
		token: map[identityRef][2]string{},
	}
	t.Logf("comparing %s with %s: %d requests from seed %d", b.Name, a.Name, opt.Steps, opt.Seed)
	began := time.Now()
	r.start()
	for epoch := uint64(0); r.sent < opt.Steps; epoch++ {
		r.epoch(opt.Seed + epoch)
	}
	t.Logf("%d requests compared in %v, no difference; %s", r.sent, time.Since(began).Round(time.Second), r.cover.summary())
	if testing.Verbose() {
		t.Logf("error answers that agreed:\n%s", r.cover.top())
	}
	if opt.Coverage {
		for _, gap := range r.cover.gaps() {
			t.Errorf("the generator left out: %s", gap)
		}
	}
}

// epoch runs the requests of one seed on an empty store, and empties it again.
func (r *run) epoch(seed uint64) {
	r.seed, r.step = seed, 0
	r.reset()
	g := newGenerator(seed, r)
	r.theme = g.theme.name
	for r.step = 1; r.step <= epochSteps && r.sent < r.opt.Steps; r.step++ {
		g.step()
		r.sent++
		if r.step%25 == 0 {
			r.barriers()
		}
		if r.opt.afterStep != nil {
			r.opt.afterStep(r.sent)
			r.must(request{rpc: "KV.Range", msgs: []proto.Message{&pb.RangeRequest{Key: anchorKey, Serializable: true}}})
		}
	}
	r.barriers()
}

func (r *run) barriers() {
	for _, p := range r.world.streams {
		r.barrier(p)
	}
}

// do sends one request to both sides and compares the answers. It returns A's,
// normalised, for the caller to learn from.
func (r *run) do(q request) answer {
	r.note(showRequest(q))
	if txn, ok := q.msgs[0].(*pb.TxnRequest); ok && poisonous(txn) {
		r.failf("the generator made a Txn that must not exist: %s", showRequest(q))
	}
	for _, m := range q.msgs {
		r.cover.request(q.rpc, m)
	}
	forB := make([]proto.Message, len(q.msgs))
	for i, m := range q.msgs {
		forB[i] = r.names.forB(m)
	}
	var b answer
	done := make(chan struct{})
	go func() {
		defer close(done)
		b = call(r.withToken(context.Background(), sideB, q.as), r.conn[sideB], q, forB)
	}()
	a := call(r.withToken(context.Background(), sideA, q.as), r.conn[sideA], q, q.msgs)
	<-done
	r.sane(a)
	r.learn(q, a, b)
	r.cover.answer(q.rpc, a)
	r.cover.met(q.rpc, q.msgs[0], a)
	r.compareAnswers(q, a, b)
	return a
}

// sane stops when the side that is right by definition is not well: an overloaded
// machine must not look like a difference.
func (r *run) sane(a answer) {
	switch a.err.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal:
		r.failf("%s, the reference, is not well: %s %q", r.name[sideA], a.err.Code(), a.err.Message())
	}
}

// learn takes the names that the two sides gave to the same thing, and the
// revisions that they gave to the same write.
func (r *run) learn(q request, a, b answer) {
	if a.err != nil || b.err != nil {
		return
	}
	if p, ok := q.msgs[0].(*pb.PutRequest); ok && !p.IgnoreValue {
		r.world.put[string(p.Key)] = p.Value
	}
	for i := range min(len(a.msgs), len(b.msgs)) {
		switch ma := a.msgs[i].(type) {
		case *pb.LeaseGrantResponse:
			if q.msgs[0].(*pb.LeaseGrantRequest).ID == 0 {
				r.names.leases[b.msgs[i].(*pb.LeaseGrantResponse).ID] = ma.ID
			}
		case *pb.MemberAddResponse:
			r.names.members[b.msgs[i].(*pb.MemberAddResponse).GetMember().GetID()] = ma.Member.ID
		case *pb.AuthenticateResponse:
			name := identityRef(q.msgs[0].(*pb.AuthenticateRequest).Name)
			r.token[name] = [2]string{ma.Token, b.msgs[i].(*pb.AuthenticateResponse).Token}
		}
		ha, hb := headerOf(a.msgs[i]), headerOf(b.msgs[i])
		if ha.GetRevision() == 0 || hb.GetRevision() == 0 {
			continue
		}
		if !r.names.revs.saw(ha.Revision, hb.Revision) {
			r.differ(fmt.Sprintf("revisions: %s is at %d, %s at %d, where %d was due and %d more allowed\n  request: %s",
				r.name[sideA], ha.Revision, r.name[sideB], hb.Revision, ha.Revision+r.names.revs.lead(), r.names.revs.budget, showRequest(q)))
		}
		r.world.head = max(r.world.head, ha.Revision)
	}
}

func headerOf(m proto.Message) *pb.ResponseHeader {
	switch m := m.(type) {
	case *pb.RangeStreamResponse:
		return m.GetRangeResponse().GetHeader()
	case interface{ GetHeader() *pb.ResponseHeader }:
		return m.GetHeader()
	}
	return nil
}

func (r *run) withToken(ctx context.Context, s side, as identityRef) context.Context {
	switch as {
	case nobody:
		return ctx
	case forged:
		// No dot: etcd waits for the raft index that follows one.
		return metadata.AppendToOutgoingContext(ctx, "token", "forged")
	default:
		return metadata.AppendToOutgoingContext(ctx, "token", r.token[as][s])
	}
}

// note keeps the last requests, which a report shows as the way to the difference.
func (r *run) note(line string) {
	const keep = 12
	if len(r.recent) == keep {
		r.recent = append(r.recent[:0], r.recent[1:]...)
	}
	r.recent = append(r.recent, fmt.Sprintf("#%d %s", r.step, line))
}

// differ reports a difference and ends the test: after the first, the two stores
// are no longer comparable.
func (r *run) differ(what string) {
	r.t.Helper()
	r.failf("DIFFERENCE in epoch seed %d, step %d, theme %s\n  %s\n  the last requests:\n    %s\n  replay: go test -run '^%s$' -difftest.seed=%d -difftest.steps=%d",
		r.seed, r.step, r.theme, what, strings.Join(r.recent, "\n    "), r.t.Name(), r.seed, max(r.step, 1))
}

func (r *run) failf(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf(format, args...)
}
