package atrest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"sync"
)

// errRewalk: leaves of a bucket are not equally deep, as those of bbolt are.
var errRewalk = errors.New("the tree is not even")

// database looks at a bbolt file.
func (s *scan) database(ctx context.Context, f *os.File, file *File, sum hash.Hash) error {
	m := readMetas(f, file.Size)
	pages := file.Size / int64(m.pageSize) * int64(m.pageSize)
	trailer := file.Size-pages == snapshotTrailer
	if trailer && sum == nil {
		sum = sha256.New()
	}
	now, valid := m.newest()
	if !valid {
		now = meta{pageSize: m.pageSize, freelist: noPage}
		file.problem("both meta pages are broken: nothing says which pages are in use, so all of them count as residue")
	} else if !m.valid[0] || !m.valid[1] {
		file.problem("one of the two meta pages is broken; the other one is used")
	}
	file.PageSize, file.Transaction = m.pageSize, now.txid

	d := &databaseScan{scan: s, f: f, file: file, pages: pages, meta: now, valid: valid}
	if err := d.look(ctx, sum, false); err == errRewalk {
		s.done.Add(-pages)
		if sum != nil {
			sum.Reset()
		}
		err = d.look(ctx, sum, true)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	d.rest(ctx, sum, trailer)
	d.settle(m)
	s.take(file, d.counts, d.tallies, d.found)
	return nil
}

// databaseScan is the work on one database.
type databaseScan struct {
	*scan
	f     *os.File
	file  *File
	pages int64 // bytes of whole pages
	meta  meta
	valid bool

	reach   *reach
	wrong   int64
	counts  [][places]Count
	tallies []*tally
	found   []finding
}

// look goes through all pages, and through them again for keys that had no room.
func (d *databaseScan) look(ctx context.Context, sum hash.Hash, exact bool) error {
	d.reach = &reach{pageSize: d.meta.pageSize, owner: make([]uint8, d.pages/int64(d.meta.pageSize)), buckets: []string{"", keyBucket}}
	if d.valid {
		d.reach = walk(d.f, d.pages, d.meta, exact)
	} else {
		for i := range min(2, len(d.reach.owner)) {
			d.reach.owner[i] = metaPage
		}
	}
	newest := newNewest(d.pages)
	workers, reader, err := d.pass(ctx, sum, newest)
	if err != nil {
		return err
	}
	if !exact && slices.ContainsFunc(workers, func(w *pageWorker) bool { return w.inexact }) {
		return errRewalk
	}
	for _, w := range workers {
		d.take(w)
	}
	d.file.unreadable(reader.unreadable)
	if reader.ended < d.pages {
		d.file.problem("the file ended at byte %d while it was read", reader.ended)
	}
	d.live(newest)
	for newest.next() {
		if _, _, err := d.pass(ctx, nil, newest); err != nil {
			return err
		}
		d.live(newest)
	}
	for i := range d.counts { // what is in the store and not live is history
		c := &d.counts[i]
		c[inHistory].plus(Count{c[inStore].Values - c[inLive].Values, c[inStore].Bytes - c[inLive].Bytes})
		c[inStore] = Count{}
	}
	return nil
}

// pass reads all pages once. Only the first pass is heard of.
func (d *databaseScan) pass(ctx context.Context, sum hash.Hash, n *newest) ([]*pageWorker, *pageReader, error) {
	reader := &pageReader{f: d.f, size: d.pages, ended: d.pages, reach: d.reach, hash: sum, read: d.read}
	if d.tallies != nil {
		reader.read = func(int64) {}
	}
	var mu sync.Mutex
	workers, err := readPages(ctx, reader, d.opts.Workers, d.meta.end, d.ledger, d.opts, func(all []revision) {
		mu.Lock()
		defer mu.Unlock()
		n.add(all)
	})
	return workers, reader, err
}

func (d *databaseScan) take(w *pageWorker) {
	d.wrong += w.wrong
	pageSize := int64(d.reach.pageSize)
	d.file.FreePages += w.free.Bytes / pageSize
	d.file.TailPages += w.tail.Bytes / pageSize
	d.tallies = append(d.tallies, w.tally)
	d.found = append(d.found, w.found...)
	if len(w.found) == maxFindings {
		d.report.KeysOmitted = true
	}
	d.counts = addCounts(d.counts, w.counts)
}

func (d *databaseScan) live(n *newest) {
	for len(d.counts) < len(d.list) {
		d.counts = append(d.counts, [places]Count{})
	}
	n.live(d.counts)
	n.settle(d.found)
}

// rest looks at what is behind the last whole page: the checksum of a snapshot, or
// the torn end of a page.
func (d *databaseScan) rest(ctx context.Context, sum hash.Hash, trailer bool) {
	t := d.tally(d.opts)
	d.tallies = append(d.tallies, t)
	if trailer {
		d.file.Checksum = "wrong"
		switch right, err := trailerAgrees(sum, d.f, d.pages); {
		case err != nil:
			d.file.problem("%v", err)
		case right:
			d.file.Checksum = "right"
		default:
			d.file.problem("the snapshot's checksum disagrees with its contents")
		}
	}
	s := &stream{ctx: ctx, f: offset{d.f, d.pages}, size: d.file.Size - d.pages, hash: sum, read: d.read}
	if trailer && d.file.Checksum == "right" {
		s.window(snapshotTrailer)
	} else {
		if s.size > 0 && !trailer {
			d.file.problem("the last page is torn: %s of %d", plural(s.size, "byte"), d.reach.pageSize)
		}
		s.carveRest(t, inResidue)
	}
	d.file.unreadable(s.unreadable)
	d.counts = addCounts(d.counts, t.counts)
}

// settle says what was not as it should be, and whether that is because the file was
// written to meanwhile.
func (d *databaseScan) settle(before metas) {
	total := int64(len(d.reach.owner))
	d.file.UsedPages = total - d.file.FreePages - d.file.TailPages
	if after, ok := readMetas(d.f, d.file.Size).newest(); ok && d.valid && after.txid != d.meta.txid {
		moved(d.file, fmt.Sprintf("%s were committed, so %d pages were not what they had been",
			plural(int64(after.txid-d.meta.txid), "transaction"), d.wrong+d.reach.wrong))
		return
	}
	if n := d.reach.missing; n > 0 {
		d.file.problem("%s in use would be behind the end of the file", plural(n, "page"))
	}
	if n := d.wrong + d.reach.wrong; n > 0 {
		d.file.problem("%s in use cannot be what the pages leading there say; their bytes were searched", plural(n, "page"))
	}
}

// offset is a file from a byte on.
type offset struct {
	f    io.ReaderAt
	from int64
}

func (o offset) ReadAt(b []byte, at int64) (int, error) { return o.f.ReadAt(b, o.from+at) }
