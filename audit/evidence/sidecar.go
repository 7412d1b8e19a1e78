package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/etcdguard/etcdguard/internal/privatefile"
)

// sidecarOf is the file of the level-8 hashes of a closed segment.
func sidecarOf(segment string) string {
	return strings.TrimSuffix(segment, segmentSuffix) + sidecarSuffix
}

// WriteHashes writes the level-8 hashes of the events from first to next beside the
// closed segment that has those. It may be called while the tree grows.
func (p *Prover) WriteHashes(segment string, first, next int64) error {
	if first < p.first || next > p.size || first%BlockEvents != 0 || next%BlockEvents != 0 {
		return fmt.Errorf("writing the hashes of %s: events %d to %d are not whole blocks of the tree", segment, first, next)
	}
	var data []byte
	for at := first; at < next; at += BlockEvents {
		h := p.block(at / BlockEvents)
		data = append(data, h[:]...)
	}
	if err := privatefile.Replace(sidecarOf(segment), data); err != nil {
		return fmt.Errorf("writing the hashes of a segment: %w", err)
	}
	return nil
}

// LoadTree makes the tree of the events before first, where the segment begins from
// which the rest is to be replayed. Each hash file that is missing or that does not
// lead to what the next header says is made again from its segment; remade are those.
// It is an error that a segment itself does not lead there.
func LoadTree(ctx context.Context, dir string, first int64) (t *Tree, remade []string, err error) {
	fail := func(err error) (*Tree, []string, error) {
		return nil, remade, fmt.Errorf("loading the log's tree: %w", err)
	}
	paths, err := segmentPaths(dir)
	if err != nil {
		return fail(err)
	}
	t = &Tree{}
	for i, path := range paths {
		s, err := lookAtSegment(path)
		if err != nil {
			return fail(err)
		}
		if s.err != nil {
			return fail(s.err)
		}
		if i == 0 {
			if t, err = NewTree(s.first, s.header.Tree); err != nil {
				return fail(err)
			}
		}
		if s.first == first {
			return t, remade, sameTree(t, s)
		}
		if i+1 == len(paths) {
			break
		}
		next, err := lookAtSegment(paths[i+1])
		if err != nil {
			return fail(err)
		}
		if next.err != nil {
			return fail(next.err)
		}
		made, err := t.appendSegment(ctx, s, next)
		if err != nil {
			return fail(err)
		}
		if made {
			remade = append(remade, sidecarOf(path))
		}
	}
	return fail(fmt.Errorf("no segment of %s begins with event %d", dir, first))
}

func sameTree(t *Tree, s *segment) error {
	want, err := newEdge(s.first, s.header.Tree)
	if err != nil {
		return err
	}
	if t.size != want.size || t.Root() != want.Root() {
		return fmt.Errorf("the events before %s are not those that its header stands for: etcdguard audit verify finds which", s.path)
	}
	return nil
}

func (t *Tree) appendSegment(ctx context.Context, s, next *segment) (made bool, err error) {
	begin := *t // its chunks beyond count are not looked at
	begin.blocks = append([]*chunk(nil), t.blocks...)
	data, err := os.ReadFile(sidecarOf(s.path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if int64(len(data)) == (next.first-s.first)/BlockEvents*tlog.HashSize {
		for ; len(data) > 0; data = data[tlog.HashSize:] {
			if err := t.AppendBlock(tlog.Hash(data[:tlog.HashSize])); err != nil {
				return false, err
			}
		}
		if sameTree(t, next) == nil {
			return false, nil
		}
	}
	*t = begin
	if err := t.hashSegment(s, ctx.Err); err != nil {
		return false, err
	}
	if err := sameTree(t, next); err != nil {
		return false, err
	}
	return true, t.Prover(nil).WriteHashes(s.path, s.first, next.first)
}

// hashSegment appends the events of a segment. Before each block, stop is asked.
func (t *Tree) hashSegment(s *segment, stop func() error) error {
	return s.each(func(line []byte) error {
		if stop != nil && t.size%BlockEvents == 0 {
			if err := stop(); err != nil {
				return err
			}
		}
		t.Append(line)
		return nil
	})
}

// readSidecar reads what is beside a segment, nil if there is nothing. A file that is
// longer than the segment can need is cut: it is wrong in any case.
func readSidecar(s *segment) ([]byte, error) {
	f, err := os.Open(sidecarOf(s.path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// No event is shorter than a hash.
	data, err := io.ReadAll(io.LimitReader(f, s.size/BlockEvents+2*tlog.HashSize))
	if err != nil {
		return nil, fmt.Errorf("reading the hashes of a segment: %w", err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}
