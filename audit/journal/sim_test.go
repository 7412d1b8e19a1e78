package journal

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A platter is a disk whose power can fail. It knows what was synced, what is only in
// the cache, and what is on its way. It is mean within what file systems promise:
//
//   - a sector is as it was or as it was written, each on its own;
//   - a size is as it was or as it was set;
//   - names change in order, but as late as the directory is synced;
//   - a sync that failed has brought any of it to the disk, and the cache believes that
//     all of it is there.
type platter struct {
	mu      sync.Mutex
	rng     *rand.Rand
	names   map[string]*inode
	durable map[string]*inode
	pending []func(map[string]*inode) // changes of names since the directory was synced
	room    int64
}

const sector = 512

type inode struct {
	data    []byte // as the processes see it
	disk    []byte // on stable storage
	dirty   map[int64]bool
	flights []*flight
}

// A flight is what a sync that is under way took along.
type flight struct {
	sectors map[int64][]byte
	size    int
}

func newPlatter(rng *rand.Rand) *platter {
	return &platter{rng: rng, names: map[string]*inode{}, durable: map[string]*inode{}, room: 64 << 20}
}

func newInode() *inode { return &inode{dirty: map[int64]bool{}} }

func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

func (n *inode) sector(at int64) []byte {
	return slices.Clone(n.data[min(at*sector, int64(len(n.data))):min((at+1)*sector, int64(len(n.data)))])
}

// land brings sectors to the disk, those that keep says.
func (n *inode) land(f *flight, keep func() bool) {
	for _, at := range slices.Sorted(maps.Keys(f.sectors)) {
		if data := f.sectors[at]; keep() {
			n.disk = resize(n.disk, max(len(n.disk), int(at*sector)+len(data)))
			copy(n.disk[at*sector:], data)
		}
	}
}

func (n *inode) take() *flight {
	f := &flight{sectors: map[int64][]byte{}, size: len(n.data)}
	for at := range n.dirty {
		f.sectors[at] = n.sector(at)
	}
	n.dirty = map[int64]bool{}
	return f
}

// powerFails leaves what was on stable storage, and of the rest what chance leaves.
func (p *platter) powerFails() {
	p.mu.Lock()
	defer p.mu.Unlock()
	share := []float64{0, 1, 0.5, 0.05, 0.95}[p.rng.IntN(5)]
	keep := func() bool { return p.rng.Float64() < share }
	if n := len(p.pending); n > 0 {
		for _, change := range p.pending[:p.rng.IntN(n+1)] {
			change(p.durable)
		}
	}
	p.pending = nil
	p.names = maps.Clone(p.durable)
	done := map[*inode]bool{}
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		n := p.names[name]
		if done[n] {
			continue
		}
		done[n] = true
		size := len(n.disk)
		if keep() {
			size = len(n.data)
		}
		for _, f := range append(n.flights, n.take()) {
			n.land(f, keep)
		}
		n.disk = resize(n.disk, size)
		n.data = slices.Clone(n.disk)
		n.dirty, n.flights = map[int64]bool{}, nil
	}
}

func (p *platter) used() (n int64) {
	for _, i := range p.names {
		n += int64(len(i.data))
	}
	return n
}

// An act is one call of a disk: what, on what, and how often that was before.
type act struct {
	op, on string
	count  int
}

// A fault is what goes wrong with it.
type fault struct {
	err   error
	took  bool          // it failed, but took effect
	delay time.Duration // before it
	yield bool          // before it others run, without time passing: for what happens under the journal's lock
	short bool          // half of a write took effect
}

// A simDisk is a platter as one process sees it. Once it is dead nothing that the
// process does has an effect.
type simDisk struct {
	*platter
	faults func(act) fault
	dead   bool
	counts map[act]int
}

var errDead = fmt.Errorf("the process was killed")

func (p *platter) attach() *simDisk { return &simDisk{platter: p, counts: map[act]int{}} }

func (d *simDisk) kill() {
	d.mu.Lock()
	d.dead = true
	d.mu.Unlock()
}

// kindOf is what a file is, for those who choose faults.
func kindOf(name string) string {
	if _, ok := firstOf(name); ok {
		return "segment"
	}
	return name
}

// do is the way of every act: late, in vain, or not at all.
func (d *simDisk) do(op, name string, effect func() error, short func()) error {
	a := act{op: op, on: kindOf(name)}
	d.mu.Lock()
	a.count = d.counts[a]
	d.counts[act{op: op, on: a.on}]++
	faults := d.faults
	d.mu.Unlock()
	var f fault
	if faults != nil {
		f = faults(a)
	}
	if f.delay > 0 {
		time.Sleep(f.delay)
	}
	for n := 0; f.yield && n < 100; n++ {
		runtime.Gosched()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errDead
	}
	if f.err != nil && !f.took {
		if f.short && short != nil {
			short()
		}
		return &fs.PathError{Op: op, Path: name, Err: f.err}
	}
	if err := effect(); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	if f.err != nil {
		return &fs.PathError{Op: op, Path: name, Err: f.err}
	}
	return nil
}

func (d *simDisk) change(c func(map[string]*inode)) {
	c(d.names)
	d.pending = append(d.pending, c)
}

func (d *simDisk) Open(name string, flag int) (file, error) {
	var n *inode
	err := d.do("open", name, func() error {
		switch n = d.names[name]; {
		case n == nil && flag&os.O_CREATE == 0:
			return fs.ErrNotExist
		case n == nil:
			n = newInode()
			d.change(func(names map[string]*inode) { names[name] = n })
		case flag&os.O_TRUNC != 0:
			n.data = n.data[:0]
		}
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return &simFile{d: d, n: n, name: name}, nil
}

func (d *simDisk) Rename(from, to string) error {
	return d.do("rename", to, func() error {
		if d.names[from] == nil {
			return fs.ErrNotExist
		}
		d.change(func(names map[string]*inode) { names[to] = names[from]; delete(names, from) })
		return nil
	}, nil)
}

func (d *simDisk) Remove(name string) error {
	return d.do("remove", name, func() error {
		if d.names[name] == nil {
			return fs.ErrNotExist
		}
		d.change(func(names map[string]*inode) { delete(names, name) })
		return nil
	}, nil)
}

func (d *simDisk) Names() (names []string, err error) {
	err = d.do("names", "", func() error { names = slices.Collect(maps.Keys(d.names)); return nil }, nil)
	return names, err
}

func (d *simDisk) Stat(name string) (size int64, changed time.Time, err error) {
	err = d.do("stat", name, func() error {
		n := d.names[name]
		if n == nil {
			return fs.ErrNotExist
		}
		size = int64(len(n.data))
		return nil
	}, nil)
	return size, changed, err
}

func (d *simDisk) Sync() error {
	return d.do("sync", "directory", func() error {
		for _, change := range d.pending {
			change(d.durable)
		}
		d.pending = nil
		return nil
	}, nil)
}

func (d *simDisk) Space() (free, total int64, err error) {
	err = d.do("space", "", func() error { free, total = d.room-d.used(), d.room; return nil }, nil)
	return free, total, err
}

func (d *simDisk) Background() {}

type simFile struct {
	d    *simDisk
	n    *inode
	name string // under which it was opened
}

func (f *simFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.d.do("read", f.name, func() error {
		if off < int64(len(f.n.data)) {
			n = copy(p, f.n.data[off:])
		}
		return nil
	}, nil)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *simFile) WriteAt(p []byte, off int64) (int, error) {
	op := "write"
	switch zeros := len(bytes.Trim(p, "\x00")) == 0; {
	case zeros:
		op = "zero"
	case off == 0:
		op = "header"
	}
	put := func(p []byte) {
		n := f.n
		n.data = resize(n.data, max(len(n.data), int(off)+len(p)))
		copy(n.data[off:], p)
		for at := off / sector; at*sector < off+int64(len(p)); at++ {
			n.dirty[at] = true
		}
	}
	err := f.d.do(op, f.now(), func() error {
		if grows := off + int64(len(p)) - int64(len(f.n.data)); grows > 0 && f.d.used()+grows > f.d.room {
			return syscall.ENOSPC
		}
		put(p)
		return nil
	}, func() { put(p[:len(p)/2]) })
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// now is the name of the file, which may have been given another since it was opened.
func (f *simFile) now() string {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	for name, n := range f.d.names {
		if n == f.n {
			return name
		}
	}
	return f.name
}

func (f *simFile) Truncate(size int64) error {
	return f.d.do("truncate", f.now(), func() error {
		f.n.data = resize(f.n.data, int(size))
		maps.DeleteFunc(f.n.dirty, func(at int64, _ bool) bool { return at*sector >= size })
		return nil
	}, nil)
}

func (f *simFile) Datasync() error {
	var flying *flight
	name := f.now()
	f.d.mu.Lock()
	if !f.d.dead {
		flying = f.n.take()
		f.n.flights = append(f.n.flights, flying)
	}
	f.d.mu.Unlock()
	gone := func(keep func() bool) {
		if !slices.Contains(f.n.flights, flying) {
			return // the power failed meanwhile
		}
		f.n.flights = slices.DeleteFunc(f.n.flights, func(o *flight) bool { return o == flying })
		f.n.land(flying, keep)
	}
	all := func() bool { return true }
	err := f.d.do("datasync", name, func() error {
		gone(all)
		f.n.disk = resize(f.n.disk, flying.size)
		return nil
	}, nil)
	if err != nil && flying != nil {
		f.d.mu.Lock()
		if f.d.dead {
			// Nobody waits for it any more; the kernel may still bring it there.
			for at := range flying.sectors {
				f.n.dirty[at] = true
			}
			f.n.flights = slices.DeleteFunc(f.n.flights, func(o *flight) bool { return o == flying })
		} else {
			gone(func() bool { return f.d.rng.IntN(2) == 0 })
		}
		f.d.mu.Unlock()
	}
	return err
}

func (f *simFile) Close() error { return nil }
