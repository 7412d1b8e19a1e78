package atrest

import (
	"bytes"
	"regexp"
	"sync"
)

// What etcd and etcdguard write about themselves is text too, and no client's value:
// the members of the cluster (bucket members: an id, and JSON), the ring's wrapped
// document, the members' presence, and the record of head revisions. Each is matched to
// the letter, so that nothing else passes for it. Compiling takes longer than reading
// 10 MiB: not before there is something to match.
var (
	etcdNote = noteOf(`(?:[0-9a-f]{8,16})?\{"id":[0-9]{1,20},"peerURLs":\[(?:"[^"{}\x00-\x1f]{1,250}",?)*\](?:,"isLearner":(?:true|false))?` +
		`(?:,"name":"[^"{}\x00-\x1f]{0,250}")?(?:,"clientURLs":\[(?:"[^"{}\x00-\x1f]{1,250}",?)*\])?\}(?:[0-9a-f]{8,16})?`)
	guardNote = noteOf(
		`\{"version":1,"ring":"[0-9a-f]{16}","generation":[0-9]{1,20},"phase":"[a-z-]{1,16}","keys":\[(?:\{"number":[0-9]+,"state":"[a-z]+","created":"[0-9TZ:.+-]+",` +
			`"wraps":\[(?:\{"provider":"[^"]{1,64}","ciphertext":"[A-Za-z0-9+/=]+","keyID":"[^"]+"(?:,"annotations":\{[^{}]*\})?\},?)+\]\},?)+\],"mac":"[A-Za-z0-9+/]{43}="\}\n?` +
			`|\{(?:"ring":"[0-9a-f]{16}",)?"generation":[0-9]{1,20},"boot":"[A-Z2-7]{20,32}","phase":"[a-z-]{1,16}"[^{}\x00-\x1f]{0,500}\}` +
			`|[\[,]?\{"time":"[0-9TZ:.+-]{10,40}","revision":[0-9]{1,20}\}\]?\n?`)
)

func noteOf(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// maxNotes bounds the text that is searched for notes: longer than etcdguard's own
// files.
const maxNotes = 256 << 10

// notes says whose notes a run of text is, if less of it than could be a part of a
// value is left without them.
func notes(text []byte) (form, bool) {
	if len(text) > maxNotes || !bytes.ContainsRune(text, '{') {
		return form{}, false
	}
	for _, kind := range []struct {
		Kind
		match func() *regexp.Regexp
	}{{Etcdguards, guardNote}, {Etcds, etcdNote}} {
		left := kind.match().ReplaceAll(text, nil)
		if len(left) < len(text) && len(left) < minText {
			return form{kind: kind.Kind}, true
		}
	}
	return form{}, false
}
