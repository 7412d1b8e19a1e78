package atrest

import "hash/crc32"

// Types of a record in a write-ahead log (server/storage/wal).
const (
	walMetadata = 1
	walEntry    = 2
	walState    = 3
	walCRC      = 4
	walSnapshot = 5
)

const frameSize = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame reads the length of a record, little-endian: its size in the lower 56 bits,
// and if the sign is set, the size of the padding in the three bits above them.
func frame(b []byte) (size uint64, padding int) {
	l := le.Uint64(b)
	size = l & (1<<56 - 1)
	if int64(l) < 0 {
		padding = int(l >> 56 & 7)
	}
	return size, padding
}

// looksLikeWAL reports whether b begins as every log does: with a record of the
// previous log's CRC.
func looksLikeWAL(b []byte) bool {
	if len(b) < frameSize+2 {
		return false
	}
	size, _ := frame(b)
	return size >= 2 && size < 64 && b[frameSize] == 0x08 && b[frameSize+1] == walCRC
}

// readWAL counts what is in the records of a log, and searches what is behind them:
// space made ready beforehand, and whatever was there before.
func readWAL(s *stream, t *tally, f *File) {
	crc, wrong, first := uint32(0), 0, int64(0)
	for s.ctx.Err() == nil {
		b := s.window(frameSize)
		if len(b) < frameSize {
			break
		}
		size, padding := frame(b)
		if size == 0 {
			break
		}
		if size > uint64(s.size-s.off-frameSize) || size > maxRun {
			f.problem("the record at byte %d says it has %d bytes, more than there are; the rest was searched", s.off, size)
			break
		}
		b = s.window(frameSize + int(size))
		if len(b) < frameSize+int(size) {
			break
		}
		kind, sum, data, ok := readRecord(b[frameSize:])
		if !ok {
			f.problem("the record at byte %d is no record of a log; the rest was searched", s.off)
			break
		}
		f.Records++
		if kind == walCRC {
			crc = sum
		} else if crc = crc32.Update(crc, castagnoli, data); crc != sum {
			if wrong++; wrong == 1 {
				first = s.off
			}
			crc = sum // look at the next one for itself
		}
		t.record(kind, data)
		s.pass(frameSize + int(size))
		s.pass(len(s.window(padding)))
	}
	if wrong > 0 {
		f.problem("the CRC chain is broken at %s, first at byte %d", plural(int64(wrong), "record"), first)
	}
	s.carveRest(t, inResidue)
}

// readRecord reads a walpb.Record: type 1, crc 2, data 3.
func readRecord(b []byte) (kind uint64, crc uint32, data []byte, ok bool) {
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		if !ok || !f.whole || f.number > 3 {
			return 0, 0, nil, false
		}
		switch b = rest; f.number {
		case 1:
			kind = f.value
		case 2:
			crc = uint32(f.value)
		case 3:
			data = f.bytes
		}
	}
	return kind, crc, data, kind != 0
}

// record counts the values in one record.
func (t *tally) record(kind uint64, data []byte) {
	switch kind {
	case walMetadata, walState, walCRC, walSnapshot:
	case walEntry:
		t.entry(data)
	default:
		t.carve(data, inLog)
	}
}

// entry looks into a raftpb.Entry: type 1, data 4. A type other than 0 is a change of
// members.
func (t *tally) entry(b []byte) {
	kind := uint64(0)
	var data []byte
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		if !ok {
			t.carve(b, inLog)
			return
		}
		switch b = rest; f.number {
		case 1:
			kind = f.value
		case 4:
			data = f.bytes
		}
	}
	switch {
	case kind != 0:
		t.carve(data, inLog)
	case isV2(data):
		t.requestV2(data)
	default:
		t.request(data)
	}
}
