package atrest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/etcdguard/etcdguard/seal"
)

// Options say what Scan looks for. The zero value is fine.
type Options struct {
	// Keys lists the names of keys whose value is plaintext, up to a limit.
	Keys bool
	// Shapes looks into every plaintext value for credentials, which takes time.
	// Bytes that belong to no value are always searched.
	Shapes bool
	// Hash adds the SHA-256 of each file's bytes, as they were read.
	Hash bool
	// Workers look at a file at a time; default one per processor, at most four.
	Workers int
	// Progress is told how many bytes of how many were read; nil: nobody. It may be
	// called by several goroutines at once.
	Progress func(done, total int64)
}

// maxFindings bounds the list of keys with plaintext values, per file.
const maxFindings = 10_000

// Report is what the files say. Its JSON is stable; docs/atrest.md describes it.
type Report struct {
	Version  int       `json:"version"` // of this schema: 1
	Host     string    `json:"host"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Paths    []string  `json:"paths"`
	Bytes    int64     `json:"bytes"` // looked at
	Verdict  string    `json:"verdict"`

	Totals      []Row    `json:"totals"`      // by form
	Groups      []Group  `json:"groups"`      // by prefix and form
	Credentials []Shape  `json:"credentials"` // by shape
	Buckets     []Bucket `json:"buckets"`     // entries of buckets that hold no values
	Files       []File   `json:"files"`
	Keys        []Key    `json:"keys,omitempty"`        // with plaintext values, if asked for
	KeysOmitted bool     `json:"keysOmitted,omitempty"` // there are more
	NotLookedAt []Gap    `json:"notLookedAt"`
}

// Places are counts by where values lie.
type Places struct {
	Live    Count `json:"live"`    // the newest revision of a key that exists
	History Count `json:"history"` // older revisions, not compacted yet
	Log     Count `json:"log"`     // write-ahead logs and raft snapshots
	Residue Count `json:"residue"` // what is no longer part of the data
}

func placesOf(c [places]Count) Places {
	return Places{c[inLive], c[inHistory], c[inLog], c[inResidue]}
}

// Total is all of it.
func (p Places) Total() (c Count) {
	for _, d := range []Count{p.Live, p.History, p.Log, p.Residue} {
		c.plus(d)
	}
	return c
}

func (p *Places) plus(q Places) {
	p.Live.plus(q.Live)
	p.History.plus(q.History)
	p.Log.plus(q.Log)
	p.Residue.plus(q.Residue)
}

// Row counts the values of one form.
type Row struct {
	Form
	Places
}

// Group counts the values of one prefix of keys, or of one kind of object where the
// key is gone.
type Group struct {
	Prefix   string `json:"prefix"`             // quoted as in Go; "" quoted: keys that are no paths
	Resource string `json:"resource,omitempty"` // of Kubernetes
	Object   string `json:"object,omitempty"`   // fragments: what they are of, as far as is known
	Rows     []Row  `json:"forms"`
}

// Shape counts what looks like a credential.
type Shape struct {
	Shape string `json:"shape"`
	Places
}

// Bucket counts a bucket's entries.
type Bucket struct {
	Name    string `json:"name"` // quoted as in Go
	Entries int64  `json:"entries"`
}

// Key names a key whose value is plaintext.
type Key struct {
	Name  string `json:"name"` // quoted as in Go
	Place string `json:"place"`
	File  string `json:"file"`
}

// Gap is something that was not looked at.
type Gap struct {
	What string `json:"what"`
	Why  string `json:"why"`
	// Missed: it is one of the files that were asked for. Else no reader of files
	// could have looked there.
	Missed bool `json:"missed"`
}

// File is what one file is and holds.
type File struct {
	Path     string    `json:"path"`
	Kind     FileKind  `json:"kind"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	SHA256   string    `json:"sha256,omitempty"` // of the bytes as they were read
	Totals   []Row     `json:"totals"`

	PageSize    int      `json:"pageSize,omitempty"`
	Transaction uint64   `json:"transaction,omitempty"` // of the newest valid meta page
	UsedPages   int64    `json:"usedPages,omitempty"`
	FreePages   int64    `json:"freePages,omitempty"`
	TailPages   int64    `json:"tailPages,omitempty"` // behind the last page ever used
	Checksum    string   `json:"checksum,omitempty"`  // snapshots of etcdctl: "right" or "wrong"
	Records     int64    `json:"records,omitempty"`   // of a write-ahead log
	LooseBytes  int64    `json:"looseBytes"`          // residue in no known form
	Moved       string   `json:"moved,omitempty"`     // what changed while it was read
	Problems    []string `json:"problems,omitempty"`  // what could not be understood

	gaps []Gap
}

// FileKind is what a file is.
type FileKind string

const (
	KindDB       FileKind = "bbolt"
	KindWAL      FileKind = "wal"
	KindSnapshot FileKind = "raft snapshot"
	KindOther    FileKind = "other"
)

func (f *File) problem(format string, args ...any) {
	const most = 20
	if len(f.Problems) < most {
		f.Problems = append(f.Problems, fmt.Sprintf(format, args...))
	}
}

// Expect says what a store must be.
type Expect struct {
	// Sealed: every value is sealed by etcdguard. Encrypted: or by Kubernetes.
	Sealed, Encrypted bool
	// Ring, unless zero: what is sealed is sealed by this ring.
	Ring seal.RingID
}

// Breaches lists what is not as e wants it, for people; none is good. What could not
// be looked at is a breach too: nobody knows what is there.
func (r *Report) Breaches(e Expect) (all []string) {
	say := func(row Row, what string) {
		c := row.Total()
		all = append(all, fmt.Sprintf("%s %s (%s)", plural(c.Values, "value"), what, whereText(row.Places)))
	}
	for _, row := range r.Totals {
		switch {
		case row.Kind == Sealed && e.Ring != seal.RingID{} && row.Ring != e.Ring.String():
			say(row, "sealed by ring "+row.Ring)
		case !e.Sealed && !e.Encrypted:
		case row.Kind == Plaintext || row.Kind == Unknown && row.Detail != detailCut:
			say(row, strings.TrimSuffix(string(row.Kind)+", "+row.Detail, ", "))
		case row.Kind == Encrypted && !e.Encrypted:
			say(row, "encrypted by Kubernetes, not sealed")
		}
	}
	if !e.Sealed && !e.Encrypted && e.Ring == (seal.RingID{}) {
		return all
	}
	for _, g := range r.NotLookedAt {
		if !g.Missed {
			continue
		}
		all = append(all, fmt.Sprintf("%s was not looked at: %s", g.What, g.Why))
	}
	return all
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(n, 10) + " " + what + "s"
}

func whereText(p Places) string {
	var all []string
	for _, c := range []struct {
		name string
		n    int64
	}{{"live", p.Live.Values}, {"history", p.History.Values}, {"log", p.Log.Values}, {"residue", p.Residue.Values}} {
		if c.n > 0 {
			all = append(all, fmt.Sprintf("%s %d", c.name, c.n))
		}
	}
	return strings.Join(all, ", ")
}

// verdict is the report in one line.
func (r *Report) verdict() string {
	var plain, unknown, damaged Places
	for _, row := range r.Totals {
		switch row.Kind {
		case Plaintext:
			plain.plus(row.Places)
		case Unknown:
			unknown.plus(row.Places)
		case Damaged:
			damaged.plus(row.Places)
		}
	}
	text := fmt.Sprintf("no plaintext value found in %s looked at", plural(r.Bytes, "byte"))
	if n := plain.Total().Values; n > 0 {
		text = fmt.Sprintf("%s found: %s", plural(n, "plaintext value"), whereText(plain))
	}
	if n := unknown.Total().Values; n > 0 {
		text += fmt.Sprintf("; %d in no known form: %s", n, whereText(unknown))
	}
	if n := damaged.Live.Values + damaged.History.Values + damaged.Log.Values; n > 0 {
		text += fmt.Sprintf("; %d sealed but damaged", n)
	}
	return text
}

// rows makes the rows of some cells, most urgent first.
func rows(list []cell, counts [][places]Count, take func(cell) bool) []Row {
	sums := map[Form]*Places{}
	for i, c := range counts {
		if p := placesOf(c); take(list[i]) && p.Total().Values > 0 {
			f := list[i].form.public()
			if sums[f] == nil {
				sums[f] = new(Places)
			}
			sums[f].plus(p)
		}
	}
	out := []Row{}
	for f, p := range sums {
		out = append(out, Row{f, *p})
	}
	slices.SortFunc(out, func(a, b Row) int {
		if d := urgency(a.Kind) - urgency(b.Kind); d != 0 {
			return d
		}
		return strings.Compare(fmt.Sprint(a.Form), fmt.Sprint(b.Form))
	})
	return out
}

func urgency(k Kind) int {
	return slices.Index([]Kind{Plaintext, Unknown, Damaged, Encrypted, Sealed, Etcdguards, Etcds}, k)
}
