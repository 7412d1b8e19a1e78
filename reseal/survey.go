package reseal

import (
	"context"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/seal"
)

// Counts are values by how they are stored, as their bytes say it: nothing is opened.
type Counts struct {
	Values    int64                    `json:"values"`
	Bytes     int64                    `json:"bytes"` // of the values, as stored
	Plaintext int64                    `json:"plaintext"`
	ByKey     map[seal.KeyNumber]int64 `json:"byKey,omitempty"` // sealed, by data key
	// Odd are those that begin as sealed values do and are none of this ring's:
	// another ring's, another version's, or cut short.
	Odd int64 `json:"odd,omitempty"`
}

// Survey is what is stored, counted between two revisions.
type Survey struct {
	From     int64             `json:"fromRevision"`
	To       int64             `json:"toRevision"`
	Total    Counts            `json:"total"`
	Prefixes map[string]Counts `json:"prefixes"` // by resource, see group
	// FirstPlaintext and FirstOdd are the names of the first few of those.
	FirstPlaintext []string `json:"firstPlaintext,omitempty"`
	FirstOdd       []string `json:"firstOdd,omitempty"`
	// FirstByKey are the names of the first few values under each data key.
	FirstByKey map[seal.KeyNumber][]string `json:"firstByKey,omitempty"`
}

// Examples is how many names a report shows of each kind.
const Examples = 5

// maxGroups bounds the prefixes of a Survey. Keys of further ones are counted under
// OtherPrefixes.
const maxGroups = 500

// OtherPrefixes and NoPrefix stand for prefixes in a Survey.
const (
	OtherPrefixes = "(other prefixes)"
	NoPrefix      = "(no prefix)"
)

// NewSurvey counts the values in a range. progress, which may be nil, is told the
// number of values seen so far, now and then.
func NewSurvey(ctx context.Context, s Store, ring seal.RingID, r etcdapi.Range, progress func(values int64)) (*Survey, error) {
	out := &Survey{Prefixes: map[string]Counts{}, FirstByKey: map[seal.KeyNumber][]string{}}
	var err error
	out.From, out.To, err = walk(ctx, s, r, func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			out.add(ring, kv)
		}
		if progress != nil {
			progress(out.Total.Values)
		}
		return nil
	})
	return out, err
}

func (s *Survey) add(ring seal.RingID, kv *mvccpb.KeyValue) {
	name := group(kv.Key)
	counts, known := s.Prefixes[name]
	if !known && len(s.Prefixes) >= maxGroups {
		name = OtherPrefixes
		counts = s.Prefixes[name]
	}
	switch e, err := seal.Parse(kv.Value); {
	case err == seal.ErrNotSealed:
		s.Total.Plaintext++
		counts.Plaintext++
		s.FirstPlaintext = example(s.FirstPlaintext, kv.Key)
	case err != nil || e.Ring != ring:
		s.Total.Odd++
		counts.Odd++
		s.FirstOdd = example(s.FirstOdd, kv.Key)
	default:
		s.Total.under(e.Key)
		counts.under(e.Key)
		s.FirstByKey[e.Key] = example(s.FirstByKey[e.Key], kv.Key)
	}
	s.Total.count(kv)
	counts.count(kv)
	s.Prefixes[name] = counts
}

func (c *Counts) under(key seal.KeyNumber) {
	if c.ByKey == nil {
		c.ByKey = map[seal.KeyNumber]int64{}
	}
	c.ByKey[key]++
}

func (c *Counts) count(kv *mvccpb.KeyValue) {
	c.Values++
	c.Bytes += int64(len(kv.Value))
}

// Sealed is how many values are sealed under a key of this ring.
func (c Counts) Sealed() (n int64) {
	for _, under := range c.ByKey {
		n += under
	}
	return n
}

// Names are the prefixes in order.
func (s *Survey) Names() []string { return slices.Sorted(maps.Keys(s.Prefixes)) }

func example(list []string, key []byte) []string {
	if len(list) >= Examples {
		return list
	}
	return append(list, string(key))
}

// group is the prefix under which a key is counted. Kubernetes' keys are
// /registry/RESOURCE/…, and /registry/GROUP/RESOURCE/… for resources of extensions,
// whose groups have a dot in them. Elsewhere it is what stands before the second
// slash, or the first where the key does not begin with one.
func group(key []byte) string {
	const longest = 256
	name := string(key[:min(len(key), longest)])
	levels := 1
	if rest, ok := strings.CutPrefix(name, "/registry/"); ok {
		levels = 2
		if first, _, _ := strings.Cut(rest, "/"); strings.Contains(first, ".") {
			levels = 3
		}
	}
	if strings.HasPrefix(name, "/") {
		levels++
	}
	end := 0
	for range levels {
		i := strings.IndexByte(name[end:], '/')
		if i < 0 {
			break
		}
		end += i + 1
	}
	if end == 0 || name[:end] == "/" {
		return NoPrefix
	}
	return name[:end]
}
