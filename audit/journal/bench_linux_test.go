package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// three hundred bytes are an event of a put.
type threeHundred struct{}

var sample = []byte(fmt.Sprintf("%0300d", 7))

func (threeHundred) AppendTo(buf []byte, seq uint64, at time.Time) []byte {
	return append(buf, sample...)
}

func benchmarkDir(b *testing.B) string {
	dir, err := os.MkdirTemp(os.Getenv("JOURNAL_BENCH_DIR"), "journal")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// BenchmarkJournal has the three promises, each kept by 1, 8 and 64 goroutines at a time,
// on the disk of the temporary directory, or of $JOURNAL_BENCH_DIR.
func BenchmarkJournal(b *testing.B) {
	promises := []struct {
		name string
		put  func(b *testing.B, j *Journal) error
	}{
		{"appended", func(b *testing.B, j *Journal) error { _, err := j.Append(threeHundred{}); return err }},
		{"written", func(b *testing.B, j *Journal) error { _, err := j.Write(threeHundred{}); return err }},
		{"awaited", func(b *testing.B, j *Journal) error {
			seq, err := j.WriteAwaited(threeHundred{})
			if err != nil {
				return err
			}
			return j.Await(b.Context(), seq)
		}},
	}
	for _, p := range promises {
		for _, n := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/%d", p.name, n), func(b *testing.B) {
				j, _ := mustOpen(b, Config{Dir: benchmarkDir(b)})
				defer j.Close()
				together(b, n, func() error { return p.put(b, j) })
				b.ReportMetric(float64(b.N)/float64(max(1, j.Status().Syncs)), "lines/sync")
			})
		}
	}
}

// BenchmarkRequest is what a write of etcd does to one disk: it is synced in a log, by
// itself, and with an intent in a journal beside that log, and an outcome.
func BenchmarkRequest(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		for _, beside := range []bool{false, true} {
			name := map[bool]string{false: "alone", true: "beside"}[beside]
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				etcd, _ := mustOpen(b, Config{Dir: benchmarkDir(b)})
				defer etcd.Close()
				j, _ := mustOpen(b, Config{Dir: benchmarkDir(b)})
				defer j.Close()
				together(b, n, func() (err error) {
					var intent uint64
					if beside {
						if intent, err = j.WriteAwaited(threeHundred{}); err != nil {
							return err
						}
					}
					seq, err := etcd.WriteAwaited(threeHundred{})
					if err == nil {
						err = etcd.Await(b.Context(), seq)
					}
					if err == nil && beside {
						if _, err = j.Write(threeHundred{}); err == nil {
							err = j.Await(b.Context(), intent)
						}
					}
					return err
				})
				b.ReportMetric(float64(etcd.Status().Syncs)/b.Elapsed().Seconds(), "etcd-syncs/s")
				b.ReportMetric(float64(j.Status().Syncs)/b.Elapsed().Seconds(), "journal-syncs/s")
			})
		}
	}
}

// together has n goroutines do b.N acts, and reports what of both processors each took.
func together(b *testing.B, n int, act func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error)
	b.ReportAllocs()
	b.ResetTimer()
	began := processorTime()
	for range n {
		go func() {
			for left.Add(-1) >= 0 {
				if err := act(); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range n {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(processorTime()-began)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSync is why segments are filled with zeros: a write of 300 bytes and its
// fdatasync, in a file that was filled, in one whose blocks are only reserved, and in
// one that grows.
func BenchmarkSync(b *testing.B) {
	const size = 64 << 20
	for _, kind := range []struct {
		name string
		make func(f *os.File) error
	}{
		{"filled", func(f *os.File) error { _, err := f.Write(make([]byte, size)); return err }},
		{"reserved", func(f *os.File) error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) }},
		{"growing", func(f *os.File) error { return nil }},
	} {
		b.Run(kind.name, func(b *testing.B) {
			f, err := os.Create(filepath.Join(benchmarkDir(b), "file"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := kind.make(f); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			off := int64(0)
			for b.Loop() {
				if _, err := f.WriteAt(sample, off%(size-512)); err != nil {
					b.Fatal(err)
				}
				off += int64(len(sample))
				if err := (osFile{f}).Datasync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
