package search

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/audit/journal"
)

// threeSegments is a log whose first two segments are complete.
func threeSegments(t *testing.T) (dir string, all []journal.Segment) {
	t.Helper()
	w := newWriter(t, t.TempDir(), 7, 200_000)
	for len(all) < 3 {
		w.some(t, 200)
		w.flush(t)
		var err error
		if all, err = journal.Segments(w.dir); err != nil {
			t.Fatal(err)
		}
	}
	return w.dir, all
}

var apiservers = Query{Callers: []CallerIs{{"", "kube-apiserver"}}}

func count(t *testing.T, c Config) int {
	t.Helper()
	rows, found := find(t, New(c), apiservers, Page{})
	if len(rows) != found.Rows || len(rows) == 0 {
		t.Fatalf("%d rows given, %d found", len(rows), found.Rows)
	}
	return len(rows)
}

func TestAnIndexThatDoesNotFitIsMadeAgain(t *testing.T) {
	dir, all := threeSegments(t)
	c := Config{Logs: []Log{{"", dir}}}
	want := count(t, c)
	path := besideIt(all[0].Path)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(besideIt(all[1].Path))
	if err != nil {
		t.Fatal(err)
	}
	end := len(good)
	for name, bad := range map[string][]byte{
		"none": nil, "no index": []byte("something else altogether"), "half": good[:end/2], "of another segment": other,
		"of another version": bytes.Replace(good, []byte(`"version":1`), []byte(`"version":0`), 1),
		"a bit in a column":  append(append(bytes.Clone(good[:end-300]), good[end-300]^1), good[end-299:]...),
	} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		// Everything is asked, so that every column is read.
		q := apiservers
		whole := Prefix(nil)
		q.Keys, q.Actions, q.Codes = &whole, []string{"*"}, []string{"OK"}
		rows, _ := find(t, New(c), q, Page{})
		if name != "a bit in a column" && len(rows) == 0 || count(t, c) != want {
			t.Errorf("%s: %d rows, want %d", name, count(t, c), want)
		}
		if name == "a bit in a column" {
			continue // it may lie in a section that these did not read
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now[:len(indexMagic)], good[:len(indexMagic)]) || len(now) != len(good) {
			t.Errorf("%s: not made again: %v", name, err)
		}
	}
	gone := filepath.Join(dir, strings.Repeat("9", 20)+indexSuffix)
	if err := errors.Join(os.Remove(path), os.WriteFile(gone, good, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", path); err != nil {
		t.Fatal(err)
	}
	if got := count(t, c); got != want {
		t.Errorf("a link: %d rows, want %d", got, want)
	}
	if _, err := os.Lstat(gone); err == nil {
		t.Error("the index of a segment that is no more is kept")
	}
}

// TestAnIndexCanHideAndNotInvent gives a segment the index of a forged one.
func TestAnIndexCanHideAndNotInvent(t *testing.T) {
	dir, all := threeSegments(t)
	c := Config{Logs: []Log{{"", dir}}}
	admins := Query{Callers: []CallerIs{{"", "kube-apiservex"}}}
	text, err := os.ReadFile(all[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(t.TempDir(), filepath.Base(all[0].Path))
	if err := os.WriteFile(forged, bytes.ReplaceAll(text, []byte(`"kube-apiserver"`), []byte(`"kube-apiservex"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := journal.OpenSegment(forged)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	index, err := build(f, all[0].Bytes, func(int64) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(besideIt(all[0].Path), index, 0o600); err != nil {
		t.Fatal(err)
	}
	rows, found := find(t, New(c), admins, Page{})
	if len(rows) != 0 || found.Rows != 0 || len(found.Problems) != 1 || !strings.Contains(found.Problems[0], "index") {
		t.Errorf("invented: %d rows, %d counted, %v", len(rows), found.Rows, found.Problems)
	}
	hidden, _ := find(t, New(c), apiservers, Page{})
	c.NoIndex = true
	if everything := count(t, c); len(hidden) >= everything {
		t.Errorf("%d rows with the forged index, %d without: it hid nothing, and this test shows nothing", len(hidden), everything)
	}
}

func TestWhereNothingCanBeWrittenTheCacheKeepsTheIndex(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root writes anywhere: a directory in the place of the file stands in for it.
		t.Log("as root, by a name that is taken")
	}
	dir, all := threeSegments(t)
	for _, s := range all {
		if err := os.MkdirAll(filepath.Join(besideIt(s.Path)+".new", "taken"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{Logs: []Log{{"", dir}}, Cache: filepath.Join(t.TempDir(), "not", "there", "yet")}
	want := count(t, c)
	kept, err := filepath.Glob(filepath.Join(c.Cache, "*"+indexSuffix))
	if err != nil || len(kept) != len(all)-1 {
		t.Fatalf("%d indexes kept of %d segments, %v", len(kept), len(all), err)
	}
	if got := count(t, c); got != want {
		t.Errorf("%d rows from the cache, want %d", got, want)
	}
	c.Cache = ""
	if got := count(t, c); got != want {
		t.Errorf("%d rows from memory, want %d", got, want)
	}
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, indexSuffix) {
			t.Errorf("kept after all: %s", path)
		}
		return err
	})
}

// FuzzIndex is a file that somebody else wrote: reading it ends, with an error or with
// rows, and takes no more memory than the file has bytes.
func FuzzIndex(f *testing.F) {
	w := newWriter(f, f.TempDir(), 3, 1<<30)
	w.odd = true
	w.some(f, 300)
	w.flush(f)
	all, err := journal.Segments(w.dir)
	if err != nil || len(all) != 1 {
		f.Fatal(all, err)
	}
	s, err := journal.OpenSegment(all[0].Path)
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	good, err := build(s, all[0].Bytes, func(int64) error { return nil })
	if err != nil {
		f.Fatal(err)
	}
	head := indexPrefix + int(binary.LittleEndian.Uint32(good[len(indexMagic):]))
	f.Add(good[indexPrefix:head], good[head:])
	f.Fuzz(func(t *testing.T, head, body []byte) {
		file := []byte(indexMagic)
		file = binary.LittleEndian.AppendUint32(file, uint32(len(head)))
		file = binary.LittleEndian.AppendUint32(file, crc32.Checksum(head, castagnoli))
		file = append(append(file, head...), body...)
		x, err := openIndex(bytes.NewReader(file), int64(len(file)))
		if err != nil || x.Events > 1000 {
			return
		}
		for name, s := range x.Sections { // as a careful forger would
			if s.At >= 0 && s.Len >= 0 && s.At <= int64(len(body)) && s.Len <= int64(len(body))-s.At {
				s.CRC = crc32.Checksum(body[s.At:s.At+s.Len], castagnoli)
				x.Sections[name] = s
			}
		}
		keys := Prefix([]byte("/registry/"))
		for _, q := range []Query{{}, {Keys: &keys, Actions: []string{"KV.*"}}, {Failed: true, Kinds: []string{"intent"}}, {Peer: "10.0.0.1:5"}, {Seqs: &Span{5, 9}}} {
			if found, err := x.selectRows(&q); err == nil {
				c := &counter{q: &Query{Since: timeOf(1)}, uses: map[useKey]*use{}, denied: map[denialKey]*Denial{}, seen: map[seenKey]int64{}}
				_ = c.columns(x, found.rows)
			}
		}
		_, _ = x.ends()
	})
}
