package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/etcdguard/etcdguard/audit/journal"
)

// Config says which logs to read, and how.
type Config struct {
	Logs []Log

	// NoIndex reads every segment, and neither believes an index nor leaves one.
	NoIndex bool

	// Cache is where indexes are kept whose segments lie where nothing can be written;
	// "": nowhere.
	Cache string

	// Progress is told of how much was read of what must be, by several goroutines.
	// Default: nobody.
	Progress func(done, total int64)
}

// Log is the directory of one audit log.
type Log struct {
	Name string // for the rows, where there are several
	Dir  string
}

// Record is one log or several, to be read.
type Record struct {
	Config
	done, total atomic.Int64
}

// New reads nothing yet.
func New(c Config) *Record {
	if c.Progress == nil {
		c.Progress = func(int64, int64) {}
	}
	return &Record{Config: c}
}

// each calls use for every segment with its index, several at once. What use returns
// ends it.
func (r *Record) each(ctx context.Context, all []journal.Segment, use func(i int, x *index) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for _, s := range all {
		if _, err := os.Lstat(besideIt(s.Path)); err != nil || r.NoIndex || s.Next == 0 {
			r.total.Add(s.Bytes)
		}
	}
	next := atomic.Int64{}
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				// The last segment first: it has no index yet, and takes longest.
				i := len(all) - int(next.Add(1))
				if i < 0 {
					return
				}
				if err := r.withIndex(ctx, all[i], func(x *index) error { return use(i, x) }); err != nil {
					stop(fmt.Errorf("reading %s: %w", all[i].Path, err))
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// sweep removes the indexes of segments that are no more.
func sweep(dir string) {
	kept, _ := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9]", 20)+indexSuffix))
	for _, path := range kept {
		if _, err := os.Lstat(strings.TrimSuffix(path, indexSuffix) + ".jsonl"); errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(path)
		}
	}
}

// withIndex calls use with the index of a segment: the one that is kept, or a new one.
func (r *Record) withIndex(ctx context.Context, s journal.Segment, use func(*index) error) error {
	f, err := journal.OpenSegment(s.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	header := headerSum(f)
	keeps := !r.NoIndex && s.Next != 0 // the last may still grow
	if keeps {
		err := r.withKept(s, header, use)
		if !errors.Is(err, errBroken) {
			return err
		}
	}
	at := int64(0)
	read := func(to int64) error {
		r.Progress(r.done.Add(to-at), r.total.Load())
		at = to
		return ctx.Err()
	}
	data, err := build(f, s.Bytes, read)
	if err != nil {
		return err
	}
	_ = read(s.Bytes)
	if keeps {
		r.keep(s, header, data)
	}
	x, err := openIndex(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	return use(x)
}

// withKept calls use with the index that is kept for a segment. It is errBroken if none
// is for this journal.Segment as it is now.
func (r *Record) withKept(s journal.Segment, header string, use func(*index) error) error {
	for _, path := range r.places(s, header) {
		err := func() error {
			f, err := openRegular(path)
			if err != nil {
				return errBroken
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return errBroken
			}
			x, err := openIndex(f, info.Size())
			if err != nil || x.First != s.First || x.Bytes != s.Bytes || x.Header != header {
				return errBroken
			}
			return use(x)
		}()
		if !errors.Is(err, errBroken) {
			return err
		}
	}
	return errBroken
}

// places are where the index of a segment is kept: beside it, or in the cache.
func (r *Record) places(s journal.Segment, header string) []string {
	all := []string{besideIt(s.Path)}
	if r.Cache != "" {
		all = append(all, filepath.Join(r.Cache, header+indexSuffix))
	}
	return all
}

const indexSuffix = ".index"

func besideIt(path string) string { return strings.TrimSuffix(path, filepath.Ext(path)) + indexSuffix }

// keep writes an index to the first place that takes it. If none does it will be made
// again the next time, which is no error.
func (r *Record) keep(s journal.Segment, header string, data []byte) {
	for i, path := range r.places(s, header) {
		if i > 0 && os.MkdirAll(filepath.Dir(path), 0o700) != nil {
			continue
		}
		if roomFor(filepath.Dir(path), int64(len(data))) && writeIndex(path, s.Path, data) == nil {
			return
		}
	}
}

// writeIndex puts a whole index in its place. It is not synced: its checksums tell if
// it did not get to the disk. Root leaves it to the owner of the segment, who must be
// able to remove it.
func writeIndex(path, of string, data []byte) error {
	partial := path + ".new"
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = leaveTo(f, of)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		_ = os.Remove(partial)
	}
	return err
}
