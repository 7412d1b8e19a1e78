package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// FuzzOpen has a directory of any two segments opened. Open may refuse it. If it does
// not, what it goes on from is the beginning of what was there, whole lines, and once
// more the same when it is opened again.
func FuzzOpen(f *testing.F) {
	header := func(first int) string { return fmt.Sprintf(`{"etcdguardAudit":1,"first":%d,"created":""}`+"\n", first) }
	block := strings.Repeat("line\n", Block)
	zeros := strings.Repeat("\x00", 2000)
	for _, seed := range [][2]string{
		{"", ""},
		{header(0) + "a\nb\n" + zeros, ""},
		{header(0) + "a\nhalf" + zeros, ""},
		{header(0) + "a\nb\x00c\nd\n" + zeros, ""},
		{header(0) + block, header(Block) + "a\n" + zeros},
		{header(0) + block + zeros, header(Block) + zeros},
		{header(0) + block + zeros, zeros},
		{header(0) + block, zeros},
		{header(0) + "short\n" + zeros, header(Block) + "a\nb\n"},
		{header(0) + block + "more\n" + zeros, header(Block)},
		{header(0)[:20] + zeros, header(Block) + "a\n"},
		{header(1), header(Block)},
		{strings.Repeat("x", MaxLine+2), ""},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		p := newPlatter(rand.New(rand.NewPCG(1, 1)))
		for name, data := range map[string][]byte{nameOf(0): one, nameOf(Block): two} {
			if len(data) > 0 || name == nameOf(0) {
				n := newInode()
				n.data, n.disk = slices.Clone(data), slices.Clone(data)
				p.names[name], p.durable[name] = n, n
			}
		}
		var lines []string
		reopen := func() (Recovered, bool) {
			lines = nil
			c := (&recorder{}).config("audit")
			c.Restore = nil
			c.Observe = func(seq uint64, line []byte) { lines = append(lines, string(line)) }
			c, err := c.checked()
			if err != nil {
				t.Fatal(err)
			}
			j, r, err := open(c, p.attach())
			if err != nil {
				return r, false
			}
			if r.From+uint64(len(lines)) != r.Next || j.next != r.Next {
				t.Fatalf("%+v, %d lines", r, len(lines))
			}
			return r, true
		}
		r, ok := reopen()
		if !ok {
			return
		}
		from := one
		if r.From == Block {
			from = two
		} else if r.From != 0 {
			t.Fatalf("%+v", r)
		}
		_, rest, _ := bytes.Cut(from, []byte("\n"))
		if r.From == 0 && len(lines) > Block {
			_, second, _ := bytes.Cut(two, []byte("\n"))
			rest = append(bytes.Join(bytes.SplitAfter(rest, []byte("\n"))[:Block], nil), second...)
			if uint64(Block) != uint64(bytes.Count(rest[:len(rest)-len(second)], []byte("\n"))) {
				rest = from[bytes.IndexByte(from, '\n')+1:] // it is all in the first
			}
		}
		if text := strings.Join(append(slices.Clone(lines), ""), "\n"); !bytes.HasPrefix(rest, []byte(text)) || strings.Contains(text, "\x00") {
			t.Fatalf("what was replayed is not what was there: %q", text)
		}
		before := lines
		again, ok := reopen()
		if !ok || again.Next != r.Next || again.DroppedBytes != 0 || !slices.Equal(lines, before[again.From-r.From:]) {
			t.Fatalf("opened again: %v, %+v after %+v", ok, again, r)
		}
	})
}
