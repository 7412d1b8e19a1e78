package guard

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/codec"
	"github.com/etcdguard/etcdguard/keyring"
)

// What a fanout remembers is bounded twice: by its size, and by time, so that the
// plaintext of an event does not outlive its delivery by much.
const (
	fanoutBytes = 4 << 20 // of one generation, of two
	fanoutTime  = 5 * time.Second
)

// fanout encodes the KeyValues of events, their values opened, once for all the
// watchers that get them.
//
// It never changes what etcd hands out, since etcd hands the same event to every
// watcher. A KeyValue is recognised by all of its content, ciphertext included; so a
// value that was moved or altered is never taken for one that was opened before.
type fanout struct {
	ring   *keyring.Ring
	opened func() // counts
	most   int64  // fanoutBytes
	age    time.Duration
	seed   maphash.Seed

	now atomic.Pointer[generations]

	mu    sync.Mutex // held to turn
	armed bool       // a turn is due
}

// generations are what a fanout remembers. At a turn, young becomes old, and what
// was old is forgotten.
type generations struct{ young, old *generation }

type generation struct {
	entries sync.Map // hash → *delivery
	bytes   atomic.Int64
}

// delivery is one KeyValue on its way to watchers.
type delivery struct {
	// Held as etcd has it: so its address can't become another's meanwhile.
	kv        *mvccpb.KeyValue
	tombstone bool
	phase     keyring.Phase // in which it was opened
	hash      uint64
	in        *generation // nil: nobody else will find it

	once    sync.Once
	encoded codec.KV
	err     error
}

func newFanout(ring *keyring.Ring, opened func()) *fanout {
	f := &fanout{ring: ring, opened: opened, most: fanoutBytes, age: fanoutTime, seed: maphash.MakeSeed()}
	f.now.Store(&generations{young: &generation{}, old: &generation{}})
	return f
}

// encode returns kv as a client is to see it. A tombstone, the kv of a deletion, has
// no value to open. The error is the ring's.
func (f *fanout) encode(kv *mvccpb.KeyValue, tombstone bool) (codec.KV, error) {
	d := f.delivery(kv, tombstone)
	d.once.Do(func() {
		d.encoded, d.err = f.fill(d)
		switch {
		case d.in == nil:
		case d.err != nil:
			d.in.entries.CompareAndDelete(d.hash, d) // what is wrong may be put right
		default:
			f.remember(d)
		}
	})
	return d.encoded, d.err
}

func (f *fanout) fill(d *delivery) (codec.KV, error) {
	value := d.kv.Value
	if !d.tombstone {
		var err error
		if value, err = f.ring.Open(d.kv.Key, value); err != nil {
			return codec.KV{}, err
		}
		if d.phase != keyring.Off {
			f.opened()
		}
	}
	return codec.NewKV(d.kv, value), nil
}

// delivery finds the one of kv, or makes it.
func (f *fanout) delivery(kv *mvccpb.KeyValue, tombstone bool) *delivery {
	phase := f.ring.Phase()
	hash := maphash.Bytes(f.seed, kv.Key) ^ uint64(kv.ModRevision)*0x9e3779b97f4a7c15
	g := f.now.Load()
	for _, generation := range [...]*generation{g.young, g.old} {
		if found, ok := generation.entries.Load(hash); ok {
			if d := found.(*delivery); d.is(kv, tombstone, phase) {
				return d
			}
		}
	}
	d := &delivery{kv: kv, tombstone: tombstone, phase: phase, hash: hash, in: g.young}
	if found, loaded := g.young.entries.LoadOrStore(hash, d); loaded {
		if other := found.(*delivery); other.is(kv, tombstone, phase) {
			return other
		}
		d.in = nil // as good as never: two with one hash, or of a phase ago
	}
	return d
}

// is reports whether d is the delivery of kv: the same object of etcd's, as it is for
// all watchers that keep up, or one of the same content.
func (d *delivery) is(kv *mvccpb.KeyValue, tombstone bool, phase keyring.Phase) bool {
	if d.phase != phase || d.tombstone != tombstone {
		return false
	}
	k := d.kv
	return k == kv || k.ModRevision == kv.ModRevision && k.CreateRevision == kv.CreateRevision && k.Version == kv.Version &&
		k.Lease == kv.Lease && bytes.Equal(k.Key, kv.Key) && bytes.Equal(k.Value, kv.Value)
}

// remember counts d, and sees to it that it is forgotten.
func (f *fanout) remember(d *delivery) {
	const overhead = 256 // of a delivery beside its bytes
	size := int64(len(d.kv.Key) + len(d.kv.Value) + d.encoded.Size() + overhead)
	full := d.in.bytes.Add(size) > f.most
	f.mu.Lock()
	defer f.mu.Unlock()
	if full && f.now.Load().young == d.in {
		f.turnLocked()
	}
	if !f.armed {
		f.armed = true
		time.AfterFunc(f.age, f.turn)
	}
}

func (f *fanout) turn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turnLocked()
	f.armed = f.now.Load().old.bytes.Load() > 0
	if f.armed {
		time.AfterFunc(f.age, f.turn)
	}
}

func (f *fanout) turnLocked() {
	f.now.Store(&generations{young: &generation{}, old: f.now.Load().young})
}
