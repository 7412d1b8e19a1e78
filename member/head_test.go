package member

import (
	"testing"
	"time"
)

func TestTheHeadOnDiskIsTheNewestRevisionAndItsTime(t *testing.T) {
	w := newWorld(t)
	head, err := headOnDisk(w.file("data"))
	check(t, err)
	if !head.Time.IsZero() || head.Revision != 0 {
		t.Errorf("no data, and a head %v", head)
	}
	began := time.Now().Add(-time.Second) // file times are coarser than the clock
	m := w.start()
	c, ctx := w.client("admin"), withTimeout(t)
	for range 5 {
		_, err := c.Put(ctx, "k", "v")
		check(t, err)
	}
	r, err := c.Delete(ctx, "k") // a tombstone is a revision too
	check(t, err)
	last := r.Header.Revision
	m.Stop("the test wants the data")
	head, err = headOnDisk(w.file("data"))
	check(t, err)
	if head.Revision != last || head.Time.Before(began) || head.Time.After(time.Now()) {
		t.Errorf("head %+v, want revision %d of just now", head, last)
	}
}
