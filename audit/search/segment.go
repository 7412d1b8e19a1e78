package search

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	suffix   = ".jsonl"
	mostLine = 64 << 10
)

// segment is a file of a log.
type segment struct {
	path  string
	first uint64 // the number of its first event
	bytes int64  // the size of the file
	last  bool   // it may still be written
}

// segments lists the segments of a directory, oldest first.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []segment
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), suffix)
		first, err := strconv.ParseUint(number, 10, 64)
		if !ok || len(number) != 20 || err != nil || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) { // it expired just now
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, segment{path: filepath.Join(dir, e.Name()), first: first, bytes: info.Size()})
	}
	slices.SortFunc(all, func(a, b segment) int { return strings.Compare(a.path, b.path) })
	if len(all) > 0 {
		all[len(all)-1].last = true
	}
	return all, nil
}

// readLines reads a segment to the end of its text: yield gets each line after the
// header, and where in the file it begins. The line is valid during the call. progress
// is told what was read.
func readLines(f io.ReaderAt, yield func(at int64, line []byte) error, progress func(int) error) (header []byte, end int64, err error) {
	buf := make([]byte, 1<<20)
	have := 0
	for at := int64(0); ; {
		n, readErr := f.ReadAt(buf[have:], at+int64(have))
		if err := progress(n); err != nil {
			return header, at, err
		}
		if readErr != nil && readErr != io.EOF {
			return header, at, readErr
		}
		text := buf[:have+n]
		ended := readErr == io.EOF
		if zero := bytes.IndexByte(text[have:], 0); zero >= 0 { // what was filled in ahead
			text, ended = text[:have+zero], true
		}
		for {
			i := bytes.IndexByte(text, '\n')
			if i < 0 {
				break
			}
			if header == nil {
				header = bytes.Clone(text[:i])
			} else if err := yield(at, text[:i]); err != nil {
				return header, at, err
			}
			text, at = text[i+1:], at+int64(i)+1
		}
		if ended {
			return header, at, nil
		}
		if len(text) == len(buf) {
			return header, at, fmt.Errorf("a line of more than %d bytes at %d", len(text), at)
		}
		have = copy(buf, text)
	}
}

var errNotSegment = errors.New("not a segment of an audit log")

// checkHeader reads the first line of a segment.
func checkHeader(header []byte) (sum string, err error) {
	var h struct {
		Form int `json:"etcdguardAudit"`
	}
	if json.Unmarshal(header, &h) != nil || h.Form != 1 {
		return "", errNotSegment
	}
	hash := sha256.Sum256(header)
	return hex.EncodeToString(hash[:]), nil
}
