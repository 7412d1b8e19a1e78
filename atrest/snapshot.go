package atrest

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
)

// A raft snapshot file is a snappb.Snapshot: crc 1, data 2; data is a raftpb.Snapshot:
// data 1, metadata 2; and that data is etcd's old store in JSON. Where a file says
// its parts begin is all that is read of it at once.
type snapshotFile struct {
	crc       uint32
	data      int64 // where the snapshot begins; it ends with the file
	store     int64 // where the store begins
	storeSize int64
}

// readSnapshotFile reads the lengths at a file's beginning. They must agree with the
// size of the file.
func readSnapshotFile(head []byte, size int64) (s snapshotFile, ok bool) {
	if len(head) == 0 || head[0] != 0x08 {
		return s, false
	}
	crc, rest, ok := nextField(head)
	if !ok {
		return s, false
	}
	at := len(head) - len(rest)
	n, length := lengthOf(rest, 0x12)
	if n == 0 || int64(at+n)+int64(length) != size || length == 0 {
		return s, false
	}
	s.crc, s.data = uint32(crc.value), int64(at+n)
	rest = rest[n:]
	n, length = lengthOf(rest, 0x0a)
	if n > 0 && length <= uint64(size-s.data-int64(n)) {
		s.store, s.storeSize = s.data+int64(n), int64(length)
	}
	return s, true
}

func lengthOf(b []byte, tag byte) (n int, length uint64) {
	if len(b) < 2 || b[0] != tag {
		return 0, 0
	}
	length, n = binary.Uvarint(b[1:])
	if n <= 0 || length > 1<<40 {
		return 0, 0
	}
	return n + 1, length
}

// maxStore bounds what is read as JSON; more is searched only.
const maxStore = 256 << 20

// readSnapshot counts the values in a raft snapshot. It reads the file twice: once for
// the CRC, and once for what is in it.
func readSnapshot(s *stream, t *tally, f *File, head snapshotFile) {
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(s.f, head.data, s.size-head.data)); err == nil && sum.Sum32() != head.crc {
		f.problem("its CRC disagrees")
	}
	s.window(1) // the rest is read through the section below
	if head.storeSize > 0 && head.storeSize <= maxStore {
		if err := t.storeV2(io.NewSectionReader(s.f, head.store, head.storeSize)); err == nil {
			for s.ctx.Err() == nil { // for the hash and the progress
				b := s.window(chunkSize)
				if len(b) == 0 {
					return
				}
				s.pass(len(b))
			}
			return
		}
		f.problem("what is in it is not etcd's old store; it was searched")
	}
	s.carveRest(t, inLog)
}

// storeV2 counts the values of the old store: nodes with Path, Value and Children.
func (t *tally) storeV2(r io.Reader) error {
	d := json.NewDecoder(r)
	var paths []string // of the objects that enclose the present token
	key, inKey := "", false
	for {
		token, err := d.Token()
		if err == io.EOF && len(paths) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		switch v := token.(type) {
		case json.Delim:
			switch v {
			case '{':
				paths = append(paths, "")
				inKey = true
				continue
			case '}':
				paths = paths[:len(paths)-1]
			}
		case string:
			if inKey {
				key, inKey = v, false
				continue
			}
			if len(paths) > 0 {
				t.nodeV2(key, v, &paths[len(paths)-1])
			}
		}
		inKey = len(paths) > 0
	}
}

func (t *tally) nodeV2(key, value string, path *string) {
	switch key {
	case "Path", "key": // of a node, of an event in its history
		*path = value
	case "Value", "value":
		if value != "" {
			t.valueV2([]byte(*path), field{bytes: []byte(value), whole: true})
		}
	}
}
