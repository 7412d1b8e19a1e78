package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
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
func (r *Record) each(ctx context.Context, all []segment, use func(i int, x *index) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for _, s := range all {
		if _, err := os.Lstat(besideIt(s.path)); err != nil || r.NoIndex || s.last {
			r.total.Add(s.bytes)
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
					stop(fmt.Errorf("reading %s: %w", all[i].path, err))
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// withIndex calls use with the index of a segment: the one that is kept, or a new one.
func (r *Record) withIndex(ctx context.Context, s segment, use func(*index) error) error {
	f, err := openRegular(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if !r.NoIndex && !s.last {
		err := r.withKept(f, s, use)
		if err == nil || !errors.Is(err, errBroken) && !errors.Is(err, errNoIndex) {
			return err
		}
	}
	data, err := build(f, s.first, s.bytes, func(n int) error {
		r.Progress(r.done.Add(int64(n)), r.total.Load())
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	x, err := openIndex(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	if !r.NoIndex && !s.last {
		r.keep(s, x.Header, data)
	}
	return use(x)
}

var errNoIndex = errors.New("there is no index")

// withKept calls use with the index that is kept for a segment, if it is one for this
// segment as it is now.
func (r *Record) withKept(f *os.File, s segment, use func(*index) error) error {
	header, err := headerSum(f)
	if err != nil {
		return err
	}
	for _, path := range r.places(s, header) {
		g, err := openRegular(path)
		if err != nil {
			continue
		}
		err = func() error {
			defer g.Close()
			info, err := g.Stat()
			if err != nil {
				return errNoIndex
			}
			x, err := openIndex(g, info.Size())
			if err != nil || x.First != s.first || x.Bytes != s.bytes || x.Header != header {
				return errNoIndex
			}
			return use(x)
		}()
		if !errors.Is(err, errNoIndex) && !errors.Is(err, errBroken) {
			return err
		}
	}
	return errNoIndex
}

// headerSum reads the header line of a segment.
func headerSum(f io.ReaderAt) (string, error) {
	buf := make([]byte, mostLine)
	n, err := f.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	line, _, ok := bytes.Cut(buf[:n], []byte("\n"))
	if !ok {
		return "", errNotSegment
	}
	return checkHeader(line)
}

// places are where the index of a segment is kept: beside it, or in the cache.
func (r *Record) places(s segment, header string) []string {
	all := []string{besideIt(s.path)}
	if r.Cache != "" {
		all = append(all, filepath.Join(r.Cache, header+indexSuffix))
	}
	return all
}

const indexSuffix = ".index"

func besideIt(path string) string { return strings.TrimSuffix(path, suffix) + indexSuffix }

// keep writes an index to the first place that takes it. If none does it will be made
// again the next time, which is no error.
func (r *Record) keep(s segment, header string, data []byte) {
	for i, path := range r.places(s, header) {
		if i > 0 && os.MkdirAll(filepath.Dir(path), 0o700) != nil {
			continue
		}
		if roomFor(filepath.Dir(path), int64(len(data))) && writeIndex(path, s.path, data) == nil {
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
