package atrest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Scan looks at the files at and below the paths. It fails when a path is not there
// or ctx ends; whatever else goes wrong is part of the report.
func Scan(ctx context.Context, paths []string, opts Options) (*Report, error) {
	if opts.Workers == 0 {
		opts.Workers = min(4, runtime.GOMAXPROCS(0))
	}
	found, err := discover(paths)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("asking for this host's name: %w", err)
	}
	s := &scan{opts: &opts, ledger: newLedger(), shapes: map[string]*[places]Count{}, entries: map[string]int64{}}
	s.report = &Report{Version: 1, Host: host, Started: time.Now().UTC(), Paths: paths, Files: []File{}, NotLookedAt: []Gap{}}
	for _, path := range found.files {
		if info, err := os.Stat(path); err == nil {
			s.total += info.Size()
		}
	}
	for _, path := range found.files {
		if err := s.file(ctx, path); err != nil {
			return nil, err
		}
	}
	s.finish(found.gaps)
	return s.report, nil
}

// scan is what is known so far, of all files.
type scan struct {
	*ledger
	opts    *Options
	report  *Report
	counts  [][places]Count
	shapes  map[string]*[places]Count
	entries map[string]int64
	done    atomic.Int64
	total   int64
}

func (s *scan) read(n int64) {
	done := s.done.Add(n)
	if s.opts.Progress != nil {
		s.opts.Progress(min(done, s.total), s.total)
	}
}

// file looks at one file. Only the end of ctx is an error.
func (s *scan) file(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		s.gap(path, err)
		return nil
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		s.gap(path, err)
		return nil
	}
	file := File{Path: path, Size: before.Size(), Modified: before.ModTime().UTC(), Totals: []Row{}}
	var sum hash.Hash
	if s.opts.Hash {
		sum = sha256.New()
	}
	kind, head := kindOf(f, file.Size)
	file.Kind = kind
	if kind == KindDB {
		err = s.database(ctx, f, &file, sum)
	} else {
		err = s.stream(ctx, f, &file, sum, head)
	}
	if err != nil {
		return err
	}
	if sum != nil {
		file.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	if after, err := os.Stat(path); err != nil {
		moved(&file, "it was renamed or removed")
	} else if !os.SameFile(before, after) {
		moved(&file, "another file has its name now")
	} else if after.Size() != before.Size() {
		moved(&file, fmt.Sprintf("its size went from %d to %d", before.Size(), after.Size()))
	} else if !after.ModTime().Equal(before.ModTime()) {
		moved(&file, "it was written to")
	}
	s.report.Bytes += file.Size
	s.report.NotLookedAt = append(s.report.NotLookedAt, file.gaps...)
	s.report.Files = append(s.report.Files, file)
	return nil
}

func moved(f *File, what string) {
	if f.Moved != "" {
		what = f.Moved + "; " + what
	}
	f.Moved = what
}

func (s *scan) gap(path string, err error) {
	d := discovery{}
	d.gap(path, err)
	s.report.NotLookedAt = append(s.report.NotLookedAt, d.gaps...)
}

func (f *File) unreadable(n int64) {
	if n > 0 {
		f.gaps = append(f.gaps, Gap{f.Path, plural(n, "byte") + " could not be read from the device", true})
	}
}

// stream looks at a file that is not a database.
func (s *scan) stream(ctx context.Context, f *os.File, file *File, sum hash.Hash, head snapshotFile) error {
	t := s.tally(s.opts)
	in := &stream{ctx: ctx, f: f, size: file.Size, hash: sum, read: s.read}
	switch file.Kind {
	case KindWAL:
		readWAL(in, t, file)
	case KindSnapshot:
		readSnapshot(in, t, file, head)
	default:
		in.carveRest(t, inResidue)
	}
	file.unreadable(in.unreadable)
	for i := range t.found {
		t.found[i].place = max(t.found[i].place, inLive)
	}
	s.take(file, t.counts, []*tally{t}, t.found)
	return ctx.Err()
}

// take adds what was counted in a file to the whole.
func (s *scan) take(file *File, counts [][places]Count, tallies []*tally, found []finding) {
	file.Totals = rows(s.list, counts, func(cell) bool { return true })
	s.counts = addCounts(s.counts, counts)
	for _, t := range tallies {
		file.LooseBytes += t.loose
		for name, n := range t.entries {
			s.entries[name] += n
		}
		for name, c := range t.shapes {
			if s.shapes[name] == nil {
				s.shapes[name] = new([places]Count)
			}
			for p := range c {
				s.shapes[name][p].plus(c[p])
			}
		}
	}
	s.listKeys(file, found)
}

func addCounts(sum, more [][places]Count) [][places]Count {
	for len(sum) < len(more) {
		sum = append(sum, [places]Count{})
	}
	for i := range more {
		for p := range more[i] {
			sum[i][p].plus(more[i][p])
		}
	}
	return sum
}

// listKeys lists the keys with plaintext, each once for each place.
func (s *scan) listKeys(file *File, found []finding) {
	sortFindings(found)
	found = slices.CompactFunc(found, func(a, b finding) bool { return a.key == b.key && a.place == b.place })
	if len(found) > maxFindings {
		found, s.report.KeysOmitted = found[:maxFindings], true
	}
	for _, f := range found {
		s.report.Keys = append(s.report.Keys, Key{strconv.Quote(f.key), placeNames[f.place], file.Path})
	}
}

func (s *scan) finish(gaps []Gap) {
	r := s.report
	r.Totals = rows(s.list, s.counts, func(cell) bool { return true })
	r.Groups = s.groupsOf()
	r.Credentials = []Shape{}
	for name, c := range s.shapes {
		p := placesOf(*c)
		p.Live.plus(c[inStore])
		r.Credentials = append(r.Credentials, Shape{name, p})
	}
	slices.SortFunc(r.Credentials, func(a, b Shape) int { return cmp.Compare(a.Shape, b.Shape) })
	r.Buckets = []Bucket{}
	for name, n := range s.entries {
		if name == keyBucket {
			continue
		}
		r.Buckets = append(r.Buckets, Bucket{strconv.Quote(name), n})
	}
	slices.SortFunc(r.Buckets, func(a, b Bucket) int { return cmp.Compare(a.Name, b.Name) })
	r.NotLookedAt = append(append(r.NotLookedAt, gaps...), neverLookedAt...)
	r.Finished = time.Now().UTC()
	r.Verdict = r.verdict()
}

// neverLookedAt is what no reader of files can see.
var neverLookedAt = []Gap{
	{"what the device keeps below the file system", "remapped and discarded blocks, deleted files, copies made by snapshots of the volume: encrypt the device", false},
	{"swap and core dumps", "they are not part of the data directory", false},
	{"other copies", "backups, other members, files elsewhere: give their paths", false},
}

func (s *scan) groupsOf() []Group {
	out := []Group{}
	for i, g := range s.ledger.names {
		all := rows(s.list, s.counts, func(c cell) bool { return c.group == int32(i) })
		if len(all) > 0 {
			out = append(out, Group{strconv.Quote(g.prefix), resourceOf(g.prefix), g.object, all})
		}
	}
	slices.SortFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Object, b.Object))
	})
	return out
}

func resourceOf(prefix string) string {
	if kubePrefix([]byte(prefix)) == 0 {
		return ""
	}
	return kubeResource(prefix)
}
