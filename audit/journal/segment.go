package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	suffix   = ".jsonl"
	prepared = "segment.new" // the next segment while it is filled and has no name
)

// A Segment is a file of lines.
type Segment struct {
	Path    string
	First   uint64    // the number of its first line, in its name too
	Next    uint64    // the first of the segment after it; 0 for the last one, which may be being written
	Bytes   int64     // its size: that of its text, but for the last
	Changed time.Time // when it was last written
}

// Hashes is the path of the file that may lie beside a closed segment, and expires
// with it.
func (s Segment) Hashes() string { return hashesOf(s.Path) }

func hashesOf(name string) string { return strings.TrimSuffix(name, suffix) + ".hashes" }

func nameOf(first uint64) string { return fmt.Sprintf("%020d%s", first, suffix) }

// firstOf is the inverse of nameOf.
func firstOf(name string) (first uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil && nameOf(first) == name
}

// firsts are the numbers in the names of segments, in order.
func firsts(names []string) (all []uint64) {
	for _, name := range names {
		if first, ok := firstOf(name); ok {
			all = append(all, first)
		}
	}
	slices.Sort(all)
	return all
}

// Segments lists the segments of a directory in order. It needs no lock.
func Segments(dir string) ([]Segment, error) {
	all, err := list(dirDisk(dir), dir)
	if err != nil {
		return nil, fmt.Errorf("listing the segments: %w", err)
	}
	return all, nil
}

func list(d disk, dir string) (all []Segment, err error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	for _, first := range firsts(names) {
		s := Segment{Path: filepath.Join(dir, nameOf(first)), First: first}
		s.Bytes, s.Changed, err = d.Stat(nameOf(first))
		if errors.Is(err, fs.ErrNotExist) {
			continue // expired meanwhile
		}
		if err != nil {
			return nil, err
		}
		if len(all) > 0 {
			all[len(all)-1].Next = first
		}
		all = append(all, s)
	}
	return all, nil
}

// appendHeader appends the header line of a segment without its line break.
func appendHeader(buf []byte, owner func([]byte) []byte, first uint64, created time.Time) []byte {
	buf = append(buf, `{"etcdguardAudit":1,`...)
	if before := len(buf); owner != nil {
		if buf = owner(buf); len(buf) > before {
			buf = append(buf, ',')
		}
	}
	buf = append(buf, `"first":`...)
	buf = strconv.AppendUint(buf, first, 10)
	buf = append(buf, `,"created":"`...)
	buf = created.UTC().AppendFormat(buf, time.RFC3339Nano)
	return append(buf, `"}`...)
}

// checkHeader refuses what is not the header of the segment that begins with first. A
// header that a crash tore is no line, and does not come here.
func checkHeader(header []byte, first uint64) error {
	var h struct {
		Version int     `json:"etcdguardAudit"`
		First   *uint64 `json:"first"`
	}
	switch err := json.Unmarshal(header, &h); {
	case err != nil:
		return fmt.Errorf("its header is damaged: %w", err)
	case h.Version != 1:
		return fmt.Errorf("its header says form %d, and this etcdguard knows form 1", h.Version)
	case h.First == nil || *h.First != first:
		return errors.New("its header and its name begin with different lines")
	}
	return nil
}
