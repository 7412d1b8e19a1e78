package codec

import "google.golang.org/grpc/mem"

// referTo is the length from which an event is referred to instead of copied: below
// it the copy costs less than one more buffer on every step of the way. In bytes.
const referTo = 512

// gather puts a short message together from bytes of its own and references to what
// many messages share.
type gather struct {
	own  []byte // appended to; what is in out never moves
	done int    // how much of own is in out

	out mem.BufferSlice
	// buffers is where those of out lie: a pointer fits into an interface without
	// one more allocation.
	buffers []mem.SliceBuffer
}

// value appends v.
func (g *gather) value(v []byte) {
	if len(v) < referTo {
		g.own = append(g.own, v...)
		return
	}
	g.finishOwn()
	g.push(v)
}

func (g *gather) finishOwn() {
	if len(g.own) > g.done {
		g.push(g.own[g.done:len(g.own):len(g.own)])
		g.done = len(g.own)
	}
}

func (g *gather) push(b []byte) {
	g.buffers = append(g.buffers, b)
	g.out = append(g.out, &g.buffers[len(g.buffers)-1])
}

// message is all of it.
func (g *gather) message() mem.BufferSlice {
	g.finishOwn()
	return g.out
}
