package policy

import (
	"fmt"
	"strconv"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// interval is the keys from begin up to, and without, end; end "" is no bound. It
// is never empty and never reaches below etcdapi.FirstClientKey.
type interval struct{ begin, end string }

var everything = interval{begin: string(etcdapi.FirstClientKey)}

// exactly holds one key: its successor in the order of bytes is itself and a zero.
func exactly(key string) interval { return interval{key, key + "\x00"} }

func prefixed(prefix string) interval {
	return interval{prefix, string(etcdapi.PrefixEnd([]byte(prefix)))}
}

// before reports whether the end a lies before the end b.
func endBefore(a, b string) bool { return a != "" && (b == "" || a < b) }

func (i interval) contains(key string) bool { return i.begin <= key && endBefore(key, i.end) }

// String is the interval as a policy would write it.
func (i interval) String() string {
	switch {
	case i == everything:
		return "all"
	case i.end == "":
		return "from " + strconv.Quote(i.begin)
	case i.end == i.begin+"\x00":
		return "key " + strconv.Quote(i.begin)
	case i == prefixed(i.begin):
		return "prefix " + strconv.Quote(i.begin)
	default:
		return fmt.Sprintf("from %q to %q", i.begin, i.end)
	}
}

// intervalOf is r as an interval. A span without a key in it is its first key.
func intervalOf(r etcdapi.Range) interval {
	begin := string(r.Begin)
	switch {
	case r.Kind == etcdapi.Tail:
		return interval{begin, ""}
	case r.Kind == etcdapi.Span && !r.Empty():
		return interval{begin, string(r.End)}
	default:
		return exactly(begin)
	}
}
