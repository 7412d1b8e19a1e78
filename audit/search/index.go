package search

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"slices"
)

// An index is a file:
//
//	magic, length of the head (4 bytes), its CRC-32C (4 bytes), head (JSON), sections
//
// where the head says where the sections are: a column each, the callers, and what
// events reach. Numbers are little-endian.
const (
	indexMagic   = "etcdguard audit index\n"
	indexVersion = 1 // of this form, and of what the scanner makes of lines
	indexPrefix  = len(indexMagic) + 8
)

const (
	secCallers = "callers"
	secThinned = "thinned"
	secKeys    = "reach.keys"
	secRanges  = "reach.ranges"
	secSets    = "reach.sets"
)

type indexHead struct {
	Version int    `json:"version"`
	First   uint64 `json:"first"`  // the segment's first event
	Bytes   int64  `json:"bytes"`  // its size
	Header  string `json:"header"` // SHA-256 of its header line
	Events  int    `json:"events"`
	Strays  int    `json:"strays"`  // outcomes whose intents are not in the segment
	Open    int    `json:"open"`    // intents whose outcomes are not
	Foreign int    `json:"foreign"` // lines that are not the events that belong there
	From    int64  `json:"from"`    // the earliest and the latest time
	To      int64  `json:"to"`
	RevTo   int64  `json:"revTo"` // the highest revision

	Kinds     []string    `json:"kinds"`
	Peers     []string    `json:"peers"`
	Actions   []string    `json:"actions"`
	Decisions []string    `json:"decisions"`
	Codes     []string    `json:"codes"`
	Reach     packedReach `json:"reach"`

	Sections map[string]section `json:"sections"`
}

type section struct {
	At    int64  `json:"at"` // from the end of the head
	Len   int64  `json:"len"`
	CRC   uint32 `json:"crc"`
	Base  int64  `json:"base,omitempty"`
	Width int    `json:"width,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pack writes the index.
func (b *builder) pack(h indexHead) ([]byte, error) {
	h.Version, h.Events, h.Strays, h.Foreign = indexVersion, len(b.cols[colOffset]), len(b.cols[colStray]), b.foreign
	h.Kinds, h.Peers, h.Actions, h.Decisions, h.Codes = b.kinds.list, b.peers.list, b.actions.list, b.decisions.list, b.codes.list
	if h.Events > 0 {
		h.From, h.To = slices.Min(b.cols[colTime]), slices.Max(b.cols[colTime])
		h.RevTo = slices.Max(b.cols[colRev])
	}
	h.Sections = map[string]section{}
	var body []byte
	put := func(name string, data []byte) {
		h.Sections[name] = section{At: int64(len(body)), Len: int64(len(data)), CRC: crc32.Checksum(data, castagnoli)}
		body = append(body, data...)
	}
	intent := b.kinds.of([]byte(kindIntent))
	for i, k := range b.cols[colKind] {
		if k == intent && b.cols[colLink][i] == 0 {
			b.cols[colOpen] = append(b.cols[colOpen], int64(i))
		}
	}
	h.Kinds, h.Open = b.kinds.list, len(b.cols[colOpen])
	var final func(int64) int64
	h.Reach, final = b.reach.pack()
	for i, n := range b.cols[colReach] {
		b.cols[colReach][i] = final(n)
	}
	for c, values := range b.cols {
		packed := packColumn(values)
		put(colNames[c], packed.data)
		s := h.Sections[colNames[c]]
		s.Base, s.Width = packed.base, packed.width
		h.Sections[colNames[c]] = s
	}
	put(secKeys, h.Reach.keys)
	put(secRanges, h.Reach.ranges)
	put(secSets, h.Reach.sets)
	callers := make([]json.RawMessage, len(b.callers.list))
	for i, c := range b.callers.list {
		callers[i] = json.RawMessage(c)
	}
	for name, v := range map[string]any{secCallers: callers, secThinned: b.thinned} {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		put(name, text)
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, indexPrefix+len(head)+len(body))
	out = append(out, indexMagic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(head)))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(head, castagnoli))
	out = append(out, head...)
	return append(out, body...), nil
}

// index answers for one segment.
type index struct {
	indexHead
	r    io.ReaderAt
	size int64
	body int64 // where the sections begin
}

// openIndex reads the head of an index of this size.
func openIndex(r io.ReaderAt, size int64) (*index, error) {
	prefix := make([]byte, indexPrefix)
	if _, err := r.ReadAt(prefix, 0); err != nil || string(prefix[:len(indexMagic)]) != indexMagic {
		return nil, errBroken
	}
	length := int64(binary.LittleEndian.Uint32(prefix[len(indexMagic):]))
	if length > size-int64(indexPrefix) {
		return nil, errBroken
	}
	head := make([]byte, length)
	if _, err := r.ReadAt(head, int64(indexPrefix)); err != nil ||
		crc32.Checksum(head, castagnoli) != binary.LittleEndian.Uint32(prefix[len(indexMagic)+4:]) {
		return nil, errBroken
	}
	x := &index{r: r, size: size, body: int64(indexPrefix) + length}
	if json.Unmarshal(head, &x.indexHead) != nil || x.Version != indexVersion {
		return nil, errBroken
	}
	// Every event has a line, so that no more of them are believed than there can be.
	if x.Events < 0 || int64(x.Events) > x.Bytes || x.Strays < 0 || x.Strays > x.Events || x.Open < 0 || x.Open > x.Events {
		return nil, errBroken
	}
	return x, nil
}

// section reads a part of the index.
func (x *index) section(name string) ([]byte, error) {
	s, ok := x.Sections[name]
	if !ok || s.At < 0 || s.Len < 0 || s.At > x.size-x.body || s.Len > x.size-x.body-s.At {
		return nil, errBroken
	}
	data := make([]byte, s.Len)
	if _, err := x.r.ReadAt(data, x.body+s.At); err != nil && s.Len > 0 {
		return nil, err
	}
	if crc32.Checksum(data, castagnoli) != s.CRC {
		return nil, errBroken
	}
	return data, nil
}

// column reads a column.
func (x *index) column(c col) (column, error) {
	numbers := x.Events
	switch c {
	case colStray, colOf:
		numbers = x.Strays
	case colOpen:
		numbers = x.Open
	}
	data, err := x.section(colNames[c])
	if err != nil {
		return column{}, err
	}
	s := x.Sections[colNames[c]]
	if s.Width < 0 || s.Width > 8 || len(data) < columnPad || s.Width > 0 && numbers > (len(data)-columnPad)/s.Width {
		return column{}, errBroken
	}
	return newColumn(s.Base, s.Width, data), nil
}

// reaches reads which numbers of colReach stand for something that reaches these keys.
func (x *index) reaches(k Keys) ([]bool, error) {
	p, err := x.packedReach()
	if err != nil {
		return nil, err
	}
	return p.hits(k)
}

func (x *index) packedReach() (p packedReach, err error) {
	p = x.Reach
	for name, to := range map[string]*[]byte{secKeys: &p.keys, secRanges: &p.ranges, secSets: &p.sets} {
		if *to, err = x.section(name); err != nil {
			return p, err
		}
	}
	// Each takes a byte at least: no more than that is believed.
	if p.Keys < 0 || p.Ranges < 0 || p.Sets < 0 || p.Keys > len(p.keys) || p.Ranges > len(p.ranges) || p.Sets > len(p.sets) {
		return p, errBroken
	}
	return p, nil
}

func (x *index) callers() (all []Caller, err error) {
	err = x.json(secCallers, &all)
	return all, err
}

func (x *index) thinned() (all []thinned, err error) {
	err = x.json(secThinned, &all)
	return all, err
}

func (x *index) json(name string, v any) error {
	text, err := x.section(name)
	if err == nil && json.Unmarshal(text, v) != nil {
		err = errBroken
	}
	return err
}

// ends are what the rows of a segment share with other segments.
type ends struct {
	open   []uint64 // numbers of intents that have no outcome in it
	strays []stray  // outcomes of intents that are not in it, in order
}

type stray struct{ seq, of uint64 }

func (x *index) ends() (e ends, err error) {
	var open, strays, of column
	for c, to := range map[col]*column{colOpen: &open, colStray: &strays, colOf: &of} {
		if *to, err = x.column(c); err != nil {
			return e, err
		}
	}
	for i := range x.Open {
		e.open = append(e.open, x.First+uint64(open.at(i)))
	}
	for i := range x.Strays {
		e.strays = append(e.strays, stray{x.First + uint64(strays.at(i)), uint64(of.at(i))})
	}
	return e, nil
}
