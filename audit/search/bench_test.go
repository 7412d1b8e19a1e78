package search

import (
	"os"
	"testing"
)

// BenchmarkIndex is what one core makes of a segment.
func BenchmarkIndex(b *testing.B) {
	w := newWriter(b, b.TempDir(), 1, 1<<40)
	w.some(b, 100_000)
	w.flush(b)
	all, err := segments(w.dir)
	if err != nil || len(all) != 1 {
		b.Fatal(err, len(all))
	}
	f, err := os.Open(all[0].path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(all[0].bytes)
	for b.Loop() {
		if _, err := build(f, 0, all[0].bytes, func(int) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
