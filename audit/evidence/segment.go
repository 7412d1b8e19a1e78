package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Header is the first line of a segment.
type Header struct {
	Version int         `json:"etcdguardAudit"`
	Log     string      `json:"log"`   // the origin
	First   int64       `json:"first"` // event of the segment
	Tree    []tlog.Hash `json:"tree"`  // frontier of the events before it
}

const (
	headerVersion = 1
	maxHeader     = 16 << 10
)

// AppendHeader appends what this package has in the header of a segment that begins
// here: the members log and tree, without braces.
func (t *Tree) AppendHeader(b []byte, origin string) []byte {
	b = append(b, `"log":`...)
	b = strconv.AppendQuote(b, origin) // an origin is ASCII
	b = append(b, `,"tree":[`...)
	for i, h := range t.Frontier() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '"')
	}
	return append(b, ']')
}

// ParseHeader reads a segment's header line.
func ParseHeader(line []byte) (h Header, err error) {
	if err := json.Unmarshal(line, &h); err != nil {
		return h, fmt.Errorf("reading a segment's header: %w", err)
	}
	if h.Version != headerVersion {
		return h, fmt.Errorf("reading a segment's header: version %d of the format; this etcdguard knows %d", h.Version, headerVersion)
	}
	if _, err := newEdge(h.First, h.Tree); err != nil || h.First%BlockEvents != 0 || h.Log == "" {
		return h, errors.New("reading a segment's header: its log, first and tree do not belong together")
	}
	return h, nil
}

const (
	segmentSuffix = ".jsonl"
	sidecarSuffix = ".hashes"
)

// segment is a file of events as it was when it was looked at: a member may be writing
// the last one.
type segment struct {
	path   string
	first  int64 // as its name says
	header Header
	err    error // what is wrong with the header
	body   int64 // offset of the first event
	end    int64 // of the text: zero bytes follow, or nothing
	size   int64

	followed bool // by one to which nothing was written yet
}

// segmentPaths lists a log's segments in order.
func segmentPaths(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if _, ok := segmentFirst(e.Name()); ok {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil // ReadDir sorts, and the names have one length
}

func segmentFirst(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, err == nil && first >= 0
}

// errNoHeader: a segment was prepared, and nothing was written to it yet.
var errNoHeader = errors.New("nothing was written to the segment yet")

func lookAtSegment(path string) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &segment{path: path}
	s.first, _ = segmentFirst(filepath.Base(path))
	if err := s.look(f); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *segment) look(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", s.path)
	}
	s.size = info.Size()
	if s.end, err = textEnd(f, s.size); err != nil {
		return err
	}
	if s.end == 0 {
		return errNoHeader
	}
	line := make([]byte, min(s.end, maxHeader))
	if _, err := f.ReadAt(line, 0); err != nil {
		return fmt.Errorf("reading %s: %w", s.path, err)
	}
	n := bytes.IndexByte(line, '\n')
	if n < 0 {
		if s.end < maxHeader {
			return errNoHeader // a part of one
		}
		s.err = fmt.Errorf("reading a segment's header: there is none in the first %d bytes", maxHeader)
		return nil
	}
	s.body = int64(n) + 1
	if s.header, s.err = ParseHeader(line[:n]); s.err == nil && s.header.First != s.first {
		s.err = fmt.Errorf("reading a segment's header: it is that of event %d, and the file is called after %d", s.header.First, s.first)
	}
	return nil
}

// textEnd is the offset after the last byte that is not zero.
func textEnd(r io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for size > 0 {
		part := buf[:min(size, int64(len(buf)))]
		if _, err := r.ReadAt(part, size-int64(len(part))); err != nil {
			return 0, fmt.Errorf("reading the end of a segment: %w", err)
		}
		if text := bytes.TrimRight(part, "\x00"); len(text) > 0 {
			return size - int64(len(part)-len(text)), nil
		}
		size -= int64(len(part))
	}
	return 0, nil
}

// Origin is the name of the log in a directory, as its oldest segment has it.
func Origin(dir string) (string, error) {
	segments, err := lookAtSegments(dir)
	if err != nil {
		return "", fmt.Errorf("reading the audit log: %w", err)
	}
	for _, s := range segments {
		if s.err == nil {
			return s.header.Log, nil
		}
	}
	return "", fmt.Errorf("reading the audit log in %s: %w", dir, segments[0].err)
}

// ReadLines is the Lines of the log in a directory.
func ReadLines(dir string) Lines {
	return func(first int64, n int, each func([]byte)) error {
		paths, err := segmentPaths(dir)
		if err != nil {
			return err
		}
		at := sort.Search(len(paths), func(i int) bool {
			f, _ := segmentFirst(filepath.Base(paths[i]))
			return f > first
		})
		if at == 0 {
			return ErrExpired
		}
		s, err := lookAtSegment(paths[at-1])
		if err != nil {
			return err
		}
		f, err := os.Open(s.path)
		if err != nil {
			return err
		}
		defer f.Close()
		return s.read(f, first, n, each)
	}
}

// read finds event first by halving, as events carry their number, and reads on.
func (s *segment) read(f io.ReaderAt, first int64, n int, each func([]byte)) error {
	low, high := s.body, s.end
	buf := make([]byte, 2*(maxLine+1))
	for high-low > int64(len(buf)) {
		middle := low + (high-low)/2
		m, err := f.ReadAt(buf[:min(int64(len(buf)), s.end-middle)], middle)
		if err != nil && err != io.EOF {
			return err
		}
		skip := bytes.IndexByte(buf[:m], '\n') + 1
		seq, ok := leadingNumber(buf[skip:m])
		if !ok {
			break // the lines that are no events are read one by one
		}
		if seq <= first {
			low = middle + int64(skip)
		} else {
			high = middle
		}
	}
	lines := newLineReader(io.NewSectionReader(f, low, s.end-low))
	for n > 0 {
		line, err := lines.next()
		if err == io.EOF {
			return fmt.Errorf("event %d is not in %s: etcdguard audit verify says what is wrong there", first, s.path)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", s.path, err)
		}
		if seq, ok := leadingNumber(line); ok && seq == first {
			each(line)
			first, n = first+1, n-1
		}
	}
	return nil
}

// each gives the whole lines of a segment but the header.
func (s *segment) each(take func(line []byte) error) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := newLineReader(io.NewSectionReader(f, s.body, s.end-s.body))
	for {
		line, err := lines.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", s.path, err)
		}
		if err := take(line); err != nil {
			return err
		}
	}
}

func leadingNumber(line []byte) (int64, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"seq":`))
	if !ok {
		return 0, false
	}
	n, _, ok := number(rest)
	return n, ok
}

// lineReader gives the whole lines of a text.
type lineReader struct {
	r          io.Reader
	buf        []byte
	begin, end int
	eof        bool
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: r, buf: make([]byte, 4*maxLine)}
}

var errLongLine = fmt.Errorf("a line of more than %d bytes", 4*maxLine)

// next gives a line without its line break, valid until the next call; io.EOF after the
// last whole one.
func (l *lineReader) next() ([]byte, error) {
	for {
		if n := bytes.IndexByte(l.buf[l.begin:l.end], '\n'); n >= 0 {
			line := l.buf[l.begin : l.begin+n]
			l.begin += n + 1
			return line, nil
		}
		if l.eof {
			return nil, io.EOF
		}
		l.end = copy(l.buf, l.buf[l.begin:l.end])
		l.begin = 0
		if l.end == len(l.buf) {
			return nil, errLongLine
		}
		n, err := io.ReadAtLeast(l.r, l.buf[l.end:], 1)
		l.end += n
		if err == io.EOF {
			l.eof = true
		} else if err != nil {
			return nil, err
		}
	}
}
