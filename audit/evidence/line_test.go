package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// FuzzValidObject compares with encoding/json, which also takes white space, anything
// that is no object, and what is no UTF-8.
func FuzzValidObject(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, `{"a":[]}`, `{"a":[1,-0.5e+10,true,false,null,"x\u00e9\n\\",{"b":{}}]}`, `{"a":01}`, `{"a":1.}`, `{"a":"\x"}`,
		`{"a":"` + "\n" + `"}`, `{"a" :1}`, `{"a":1}x`, `{"a":"ü"}`, `{"a":"` + "\xff" + `"}`, `[]`, `{`, `{"a":`, `{"a":-}`, `{"a":tru}`, `{"a":"\u12"}`, `{"a":1e}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want := len(b) > 0 && b[0] == '{' && utf8.Valid(b) && json.Valid(b)
		if want {
			var compact bytes.Buffer
			if err := json.Compact(&compact, b); err != nil {
				t.Fatal(err)
			}
			want = bytes.Equal(compact.Bytes(), b)
		}
		got := validObject(b)
		if got && !want || want && !got && bytes.Count(b, []byte{'{'})+bytes.Count(b, []byte{'['}) <= maxDepth {
			t.Errorf("%q: %v, want %v", b, got, want)
		}
	})
}

func TestWhatIsWrongWithALine(t *testing.T) {
	const begin = `{"seq":7,"time":"2026-11-28T18:00:00.000000001Z","kind":`
	for line, want := range map[string]flaw{
		begin + `"outcome","of":3}`:              flawless,
		begin + `"denied"}`:                      flawless,
		begin + `"of a later release"}`:          flawless,
		begin + `"outcome","of":"3"}`:            notJSON,
		begin + `"denied"`:                       notJSON,
		begin + `7}`:                             notJSON,
		begin + `"denied","a": 1}`:               notJSON,
		begin + `"denied","a":"` + "\x00" + `"}`: hasZeros,
		begin + `"denied","a":"` + string(bytes.Repeat([]byte{'a'}, maxLine)) + `"}`: tooLong,
		`{"seq":7,"time":"2026-11-28T18:00:00+01:00","kind":"denied"}`:               noTime,
		`{"seq":7,"time":"yesterday","kind":"denied"}`:                               noTime,
		`{"seq":07,"time":"2026-11-28T18:00:00Z","kind":"denied"}`:                   noNumber,
		`{"seq":-7,"time":"2026-11-28T18:00:00Z","kind":"denied"}`:                   noNumber,
		`{"time":"2026-11-28T18:00:00Z","seq":7,"kind":"denied"}`:                    noNumber,
		``: noNumber,
	} {
		f := readLine([]byte(line))
		if f.flaw != want {
			t.Errorf("%.80q: %v, want %v", line, f.flaw, want)
		}
		if f.flaw == flawless && (f.seq != 7 || f.at == 0 || (f.kind == outcome) != (f.of == 3)) {
			t.Errorf("%.80q: %+v", line, f)
		}
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte(`{"seq":7,"time":"2026-11-28T18:00:00.000000001Z","kind":"outcome","of":3}`))
	f.Add([]byte(`{"seq":7,"time":"2026-11-28T18:00:00.000000001Z","kind":"checkpoint","note":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := readLine(b)
		if got.flaw != flawless {
			return
		}
		if !json.Valid(b) || !bytes.HasPrefix(b, fmt.Appendf(nil, `{"seq":%d,"time":"`, got.seq)) {
			t.Errorf("%q is read as %+v", b, got)
		}
		if len(b) > maxLine || bytes.IndexByte(b, 0) >= 0 || got.leaf != tlog.RecordHash(b) {
			t.Errorf("%q passes", b)
		}
	})
}

func BenchmarkReadLine(b *testing.B) {
	line := []byte(`{"seq":123456,"time":"2026-11-28T18:13:25.123456789Z","kind":"intent","caller":{"name":"kube-apiserver","cn":"kube-apiserver-etcd-client","o":["system:masters"],"serial":"1234567890123456789","publicKeySHA256":"5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c5e0c","peer":"10.0.0.1:33444"},"action":"KV.Txn","access":[{"action":"KV.Put","key":"/registry/pods/default/nginx"}],"decision":"allowed","rule":"apiserver"}`)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if readLine(line).flaw != flawless {
			b.Fatal("the line is good")
		}
	}
}
