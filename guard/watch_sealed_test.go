package guard

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

var (
	testRing = seal.RingID{1, 2, 3}
	firstKey = seal.NewKey(testRing, 1, &[32]byte{1})
	nextKey  = seal.NewKey(testRing, 2, &[32]byte{2})
)

// sealing is a guard whose ring has both keys.
func sealing(t testing.TB, phase keyring.Phase) *fixture {
	f := newFixture(t)
	f.useRing(keyring.Static(testRing, phase, firstKey, nextKey))
	return f
}

func (f *fixture) useRing(r *keyring.Ring) {
	f.ring, f.fanout = r, newFanout(r, f.metrics.opened.Inc)
}

// openings is the value of etcdguard_watch_values_opened_total.
func (f *fixture) openings() float64 {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "etcdguard_watch_values_opened_total" {
			return family.Metric[0].Counter.GetValue()
		}
	}
	f.t.Fatal("openings are not exported")
	return 0
}

// stored is a KeyValue as etcd has it.
func stored(k *seal.Key, name, value string, revision int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: b(name), CreateRevision: 5, ModRevision: revision, Version: revision - 4,
		Value: k.Seal(nil, b(name), b(value)), Lease: 77}
}

func put(kv *mvccpb.KeyValue) *mvccpb.Event { return &mvccpb.Event{Kv: kv} }

func deletion(name string, revision int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: b(name), ModRevision: revision}}
}

// shown is the KeyValue that a client must see for one that is stored.
func shown(kv *mvccpb.KeyValue, value string) *mvccpb.KeyValue {
	seen := proto.CloneOf(kv)
	seen.Value = b(value)
	return seen
}

// fansOut is a server that hands the same events to all of its watchers, as etcd does.
type fansOut struct {
	*fixture
	mu      sync.Mutex
	streams []*fanStream
}

type fanStream struct {
	*wire
	server *lastingServer
	ended  chan error
}

// open opens a stream with watchers of everything; their ids are 0, 1 and so on.
func (f *fansOut) open(creates ...*pb.WatchRequest) *fanStream {
	f.t.Helper()
	ctx, cancel := context.WithCancel(as("admin"))
	f.t.Cleanup(cancel)
	s := &fanStream{}
	s.wire, s.server, s.ended = f.lasting(ctx)
	f.mu.Lock()
	f.streams = append(f.streams, s)
	f.mu.Unlock()
	for id, m := range creates {
		m.GetCreateRequest().WatchId = int64(id)
		s.toServer <- m
		wantCreated(f.t.(*testing.T), s.answer(f.t.(*testing.T)), int64(id))
	}
	return s
}

func everything() *pb.WatchRequest { return create("\x01", "\x00") }

func withPrevKV() *pb.WatchRequest {
	m := everything()
	m.GetCreateRequest().PrevKv = true
	return m
}

func TestAnEventIsOpenedOnceHoweverManyWatchIt(t *testing.T) {
	const streams, watchers, events = 20, 50, 30 // 1,000 watchers
	f := &fansOut{fixture: sealing(t, keyring.Strict)}
	f.fanout.age = 0 // nothing is forgotten by time, however slow this machine is
	f.fanout.armed = true
	var all []*mvccpb.Event
	for i := range events {
		all = append(all, put(stored(nextKey, fmt.Sprintf("/k/%d", i%7), fmt.Sprintf("value %d", i), int64(10+i))))
	}
	var done sync.WaitGroup
	for range streams {
		creates := make([]*pb.WatchRequest, watchers)
		for i := range creates {
			creates[i] = everything()
		}
		s := f.open(creates...)
		done.Go(func() {
			for _, e := range all {
				for id := range int64(watchers) {
					s.server.send <- &pb.WatchResponse{WatchId: id, Events: []*mvccpb.Event{e}}
				}
			}
		})
		done.Go(func() {
			for i := range events {
				for id := range int64(watchers) {
					a := s.answer(t)
					if a.WatchId != id || len(a.Events) != 1 || !proto.Equal(a.Events[0].Kv, shown(all[i].Kv, fmt.Sprintf("value %d", i))) {
						t.Errorf("watcher %d got %v, want event %d", id, a, i)
						return
					}
				}
			}
		})
	}
	done.Wait()
	if n := f.openings(); n != events {
		t.Errorf("%d events were opened %v times for %d watchers", events, n, streams*watchers)
	}

	// Watchers that lag get what etcd reads anew: the same content, other objects.
	late := f.open(everything())
	for i, e := range all {
		late.server.send <- &pb.WatchResponse{Events: []*mvccpb.Event{proto.CloneOf(e)}}
		if a := late.answer(t); !proto.Equal(a.Events[0].Kv, shown(e.Kv, fmt.Sprintf("value %d", i))) {
			t.Errorf("late: %v", a)
		}
	}
	if n := f.openings(); n != events {
		t.Errorf("a watcher that lags made it %v openings", n)
	}
}

// etcd writes PrevKv into the event that it shows to everybody, for those that asked:
// the race detector sees whether anybody else looks.
func TestOnlyWhoAskedSeesThePreviousValue(t *testing.T) {
	f := &fansOut{fixture: sealing(t, keyring.Strict)}
	plain, asked := f.open(everything()), f.open(withPrevKV())
	for i := range int64(200) {
		before, now := stored(firstKey, "/k", fmt.Sprintf("before %d", i), 10+i), stored(nextKey, "/k", fmt.Sprintf("now %d", i), 11+i)
		e := put(now)
		if i%3 == 0 {
			e = deletion("/k", 11+i)
		}
		plain.server.send <- &pb.WatchResponse{Events: []*mvccpb.Event{e}}
		go func() {
			e.PrevKv = before
			asked.server.send <- &pb.WatchResponse{Events: []*mvccpb.Event{e}}
		}()
		want := shown(now, fmt.Sprintf("now %d", i))
		if i%3 == 0 {
			want = e.Kv
		}
		if a := plain.answer(t); len(a.Events) != 1 || a.Events[0].PrevKv != nil || !proto.Equal(a.Events[0].Kv, want) || a.Events[0].Type != e.Type {
			t.Fatalf("who did not ask got %v", a)
		}
		if a := asked.answer(t); len(a.Events) != 1 || !proto.Equal(a.Events[0].Kv, want) ||
			!proto.Equal(a.Events[0].PrevKv, shown(before, fmt.Sprintf("before %d", i))) {
			t.Fatalf("who asked got %v", a)
		}
	}
}

func TestADeletionNeedsNoKey(t *testing.T) {
	f := &fansOut{fixture: sealing(t, keyring.Strict)}
	s := f.open(everything())
	e := deletion("/k", 9)
	s.server.send <- &pb.WatchResponse{Events: []*mvccpb.Event{e}}
	if a := s.answer(t); len(a.Events) != 1 || !proto.Equal(a.Events[0], e) || f.openings() != 0 {
		t.Errorf("got %v after %v openings", a, f.openings())
	}
}

// All that etcd says beside the values arrives as it was said, in its order.
func TestASealedStreamKeepsItsOrderAndItsFlags(t *testing.T) {
	f := &fansOut{fixture: sealing(t, keyring.Strict)}
	s := f.open(everything())
	header := &pb.ResponseHeader{ClusterId: 1, MemberId: 2, Revision: 30, RaftTerm: 4}
	one, two := stored(firstKey, "/a", strings.Repeat("one", 1000), 20), stored(nextKey, "/b", "", 20)
	sent := []*pb.WatchResponse{
		{Header: header, Fragment: true, Events: []*mvccpb.Event{put(one)}},
		{Header: header, Fragment: false, Events: []*mvccpb.Event{put(two), deletion("/c", 20)}},
		{Header: header},
		{Header: header, WatchId: noWatch},
		{Header: header, CompactRevision: 17, Canceled: true, CancelReason: "compacted"},
	}
	for _, m := range sent {
		s.server.send <- proto.CloneOf(m)
	}
	sent[0].Events[0].Kv = shown(one, strings.Repeat("one", 1000))
	sent[1].Events[0].Kv = shown(two, "")
	sent[1].Events[0].Kv.Value = nil
	for i, want := range sent {
		if got := s.answer(t); !proto.Equal(got, want) {
			t.Errorf("answer %d is %v, want %v", i, got, want)
		}
	}
}

// hostile are values that must not be shown, by what is wrong with them.
func hostile() map[string]*mvccpb.KeyValue {
	flipped := stored(nextKey, "/k", "value", 12)
	flipped.Value[len(flipped.Value)-1] ^= 1
	moved := stored(nextKey, "/other", "value", 12)
	moved.Key = b("/k")
	plain := stored(nextKey, "/k", "", 12)
	plain.Value = b("value")
	empty := stored(nextKey, "/k", "", 12)
	empty.Value = nil
	return map[string]*mvccpb.KeyValue{
		"flipped": flipped, "moved": moved, "plaintext": plain, "empty plaintext": empty,
		"unknown key":  stored(seal.NewKey(testRing, 9, &[32]byte{9}), "/k", "value", 12),
		"foreign ring": stored(seal.NewKey(seal.RingID{9}, 1, &[32]byte{1}), "/k", "value", 12),
	}
}

func TestAnEventThatDoesNotOpenEndsItsWatchAlone(t *testing.T) {
	for name, bad := range hostile() {
		for _, previous := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/previous=%v", name, previous), func(t *testing.T) {
				f := &fansOut{fixture: sealing(t, keyring.Strict)}
				s := f.open(withPrevKV(), withPrevKV())
				good := func(revision int64) *mvccpb.Event { return put(stored(nextKey, "/k", "value", revision)) }
				wrong := put(bad)
				if previous {
					wrong = good(12)
					wrong.PrevKv = bad
				}
				s.server.send <- &pb.WatchResponse{WatchId: 0, Events: []*mvccpb.Event{good(10), good(11), good(12), wrong}}
				if id := await(t, "etcd is asked to cancel", s.server.cancel); id != 0 {
					t.Fatalf("watch %d was to be cancelled", id)
				}
				s.server.send <- &pb.WatchResponse{WatchId: 0, Events: []*mvccpb.Event{good(13)}}
				s.server.send <- &pb.WatchResponse{WatchId: 0}       // progress, and it missed an event
				s.server.send <- &pb.WatchResponse{WatchId: noWatch} // of all, which includes it
				s.server.send <- &pb.WatchResponse{WatchId: 1, Events: []*mvccpb.Event{good(13)}}
				s.server.send <- &pb.WatchResponse{WatchId: 0, Canceled: true}
				s.server.send <- &pb.WatchResponse{WatchId: noWatch}

				if a := s.answer(t); a.WatchId != 0 || len(a.Events) != 2 || a.Events[1].Kv.ModRevision != 11 {
					t.Errorf("before the revision that is wrong came %v", a)
				}
				if a := s.answer(t); a.WatchId != 1 || len(a.Events) != 1 {
					t.Errorf("the other watch got %v", a)
				}
				a := s.answer(t)
				if a.WatchId != 0 || !a.Canceled || !strings.Contains(a.CancelReason, `the value of key "/k" (mod revision 12)`) ||
					!strings.Contains(a.CancelReason, "seal quarantine") || strings.Contains(a.CancelReason, "= DataLoss") {
					t.Errorf("the watch ended with %v", a)
				}
				if a := s.answer(t); a.WatchId != noWatch {
					t.Errorf("then came %v", a)
				}
			})
		}
	}
}

// Who ended its own side can't be told that one watch is over.
func TestAnEventThatDoesNotOpenEndsAStreamThatIsNotRead(t *testing.T) {
	f := &fansOut{fixture: sealing(t, keyring.Strict)}
	s := f.open(everything())
	close(s.toServer)
	await(t, "etcd stops reading", s.server.eof)
	s.server.send <- &pb.WatchResponse{Events: []*mvccpb.Event{put(hostile()["flipped"])}}
	wantCode(t, await(t, "the stream ends", s.ended), codes.DataLoss, `"/k"`)
}

func TestWithoutSealingValuesAreShownAsTheyAre(t *testing.T) {
	for name, ring := range map[string]*keyring.Ring{"no ring": nil, "off": keyring.Static(testRing, keyring.Off, nextKey)} {
		f := &fansOut{fixture: newFixture(t)}
		f.useRing(ring)
		s := f.open(everything())
		e := put(&mvccpb.KeyValue{Key: b("/k"), Value: bytes.Repeat([]byte{7}, 3000), ModRevision: 3})
		s.server.send <- &pb.WatchResponse{Events: []*mvccpb.Event{e}}
		if a := s.answer(t); !proto.Equal(a.Events[0], e) || f.openings() != 0 {
			t.Errorf("%s: got %v after %v openings", name, a, f.openings())
		}
	}
}

// What is in the history is sealed still when the ring is gone. A watch from an old
// revision on is no way to be told that ciphertext is a value.
func TestWithoutARingNoSealedValueIsShownToAWatch(t *testing.T) {
	f := &fansOut{fixture: newFixture(t)}
	f.useRing(keyring.Static(seal.RingID{}, keyring.Off))
	s := f.open(everything(), withPrevKV())
	sealed := stored(firstKey, "/k", "secret", 6)
	for id, e := range []*mvccpb.Event{put(sealed), {Type: mvccpb.Event_DELETE,
		Kv: &mvccpb.KeyValue{Key: b("/k"), ModRevision: 7}, PrevKv: sealed}} {
		s.server.send <- &pb.WatchResponse{WatchId: int64(id), Events: []*mvccpb.Event{e}}
		if got := await(t, "etcd is asked to cancel", s.server.cancel); got != int64(id) {
			t.Fatalf("watch %d was to be cancelled", got)
		}
		s.server.send <- &pb.WatchResponse{WatchId: int64(id), Canceled: true}
		if a := s.answer(t); !a.Canceled || len(a.Events) > 0 || !strings.Contains(a.CancelReason, keyring.ErrNoRing.Error()) {
			t.Errorf("the watch got %v", a)
		}
	}
}
