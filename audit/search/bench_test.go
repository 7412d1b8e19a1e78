package search

import (
	"testing"

	"github.com/etcdguard/etcdguard/audit/journal"
)

// BenchmarkIndex is what one core makes of a segment.
func BenchmarkIndex(b *testing.B) {
	w := newWriter(b, b.TempDir(), 1, 1<<40)
	w.some(b, 100_000)
	w.flush(b)
	all, err := journal.Segments(w.dir)
	if err != nil || len(all) != 1 {
		b.Fatal(err, len(all))
	}
	b.SetBytes(all[0].Bytes)
	for b.Loop() {
		r, err := journal.OpenSegment(all[0].Path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := build(r, all[0].Bytes, func(int64) error { return nil }); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
