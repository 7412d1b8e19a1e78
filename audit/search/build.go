package search

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/etcdguard/etcdguard/audit/journal"
)

// col is a column of an index. All but the last three have a number for each event.
type col int

const (
	colOffset col = iota // of the line in the file
	colTime
	colKind // these six: numbers of names, 0 for none
	colCaller
	colPeer
	colAction
	colDecision
	colCode
	colReach
	colRev
	colKeys
	colBytes
	colMicros
	colLink // from an intent on to its outcome, and from an outcome back to its intent; 0 if that is not in the segment

	colStray // outcomes whose intents are not in the segment, by their place in it,
	colOf    // and the numbers of those intents
	colOpen  // intents whose outcomes are not in the segment
	colCount
)

var colNames = [colCount]string{"offset", "time", "kind", "caller", "peer", "action", "decision", "code",
	"reach", "rev", "keys", "bytes", "micros", "link", "stray", "of", "open"}

// builder makes the index of one segment.
type builder struct {
	first uint64
	scan  scanner

	cols [colCount][]int64
	kinds, callers, peers, actions,
	decisions, codes names
	reach   reach
	thinned []thinned

	known   map[*Caller]callerNumbers
	scratch []int64
	actbuf  []byte
	foreign int
}

type callerNumbers struct{ caller, peer int64 }

// thinned is a count of a summary: events that a rule of the policy kept off the record.
type thinned struct {
	Event  int   `json:"event"`
	Caller int64 `json:"caller"`
	Count
}

// build reads a segment and returns its index, as it is written to a file. progress is
// told where it is, and its error ends it.
func build(r *journal.Reader, fileBytes int64, progress func(at int64) error) ([]byte, error) {
	b := &builder{first: r.First(), known: map[*Caller]callerNumbers{}}
	for line, err := range r.Lines(r.First()) {
		if err != nil {
			return nil, err
		}
		b.add(line.Offset, line.Text)
		if line.Seq%1024 == 0 {
			if err := progress(line.Offset); err != nil {
				return nil, err
			}
		}
	}
	return b.pack(indexHead{First: r.First(), Bytes: fileBytes, Header: headerSum(r)})
}

// headerSum tells one segment from another of the same number and size.
func headerSum(r *journal.Reader) string {
	sum := sha256.Sum256(r.Header())
	return hex.EncodeToString(sum[:])
}

// add takes the next line. One that is no event, or not the one that belongs here, is
// counted and has no kind, so that no query finds it.
func (b *builder) add(at int64, line []byte) {
	n := len(b.cols[colOffset])
	f, err := b.scan.scan(line)
	if err != nil || f.seq != b.first+uint64(n) {
		b.foreign++
		f = &facts{}
		if n > 0 {
			f.time = b.cols[colTime][n-1]
		}
	}
	who := b.callerOf(f.caller)
	reached, scratch := b.reach.of(f, b.scratch)
	b.scratch = scratch
	for c, v := range [colStray]int64{
		colOffset: at, colTime: f.time, colKind: b.kinds.of(f.kind), colCaller: who.caller, colPeer: who.peer,
		colAction: b.actions.of(b.allActions(f)), colDecision: b.decisions.of(f.decision), colCode: b.codes.of(f.code),
		colReach: reached, colRev: f.rev, colKeys: f.keys, colBytes: f.bytes, colMicros: f.micros, colLink: 0,
	} {
		b.cols[c] = append(b.cols[c], v)
	}
	if f.hasOf && string(f.kind) == kindOutcome {
		b.link(n, f.of)
	}
	for _, c := range f.counts {
		b.thinned = append(b.thinned, thinned{n, who.caller, c})
	}
}

// link joins an outcome with its intent, if that is in the segment. The first outcome of
// an intent counts.
func (b *builder) link(n int, of uint64) {
	links := b.cols[colLink]
	if of >= b.first && of < b.first+uint64(n) {
		i := int(of - b.first)
		if links[i] == 0 && b.cols[colKind][i] == b.kinds.of([]byte(kindIntent)) {
			links[i], links[n] = int64(n-i), int64(n-i)
			return
		}
	}
	b.cols[colStray] = append(b.cols[colStray], int64(n))
	b.cols[colOf] = append(b.cols[colOf], int64(of))
}

// callerOf is the number of a caller and that of its address. The same certificate is
// the same caller, from wherever it comes.
func (b *builder) callerOf(c *Caller) callerNumbers {
	if c == nil {
		return callerNumbers{}
	}
	if n, ok := b.known[c]; ok {
		return n
	}
	who := *c
	who.Peer = ""
	text, _ := json.Marshal(who) // texts and lists of them
	n := callerNumbers{b.callers.of(text), b.peers.of([]byte(hostOf(c.Peer)))}
	if len(b.known) >= mostCallers {
		clear(b.known)
	}
	b.known[c] = n
	return n
}

// hostOf is the address without its port.
func hostOf(peer string) string {
	if at, err := netip.ParseAddrPort(peer); err == nil {
		return at.Addr().Unmap().WithZone("").String()
	}
	return peer
}

// allActions are an event's action and those of its parts, separated by commas.
func (b *builder) allActions(f *facts) []byte {
	all := f.action
	own := func() { // before the first append: the line is not ours to write to
		if len(all) == len(f.action) {
			b.actbuf = append(b.actbuf[:0], f.action...)
			all = b.actbuf
		}
	}
	for i := range f.access {
		if a := f.access[i].action; len(a) > 0 && string(a) != string(f.action) && !slices.ContainsFunc(f.access[:i], func(o accessFacts) bool { return string(o.action) == string(a) }) {
			own()
			all = append(append(all, ','), a...)
			b.actbuf = all
		}
	}
	for i := range f.counts {
		if a := f.counts[i].Action; a != "" && !slices.ContainsFunc(f.counts[:i], func(o Count) bool { return o.Action == a }) {
			own()
			all = append(append(all, ','), a...)
			b.actbuf = all
		}
	}
	return all
}
