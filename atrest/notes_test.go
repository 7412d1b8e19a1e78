package atrest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	ringNote     = `{"version":1,"ring":"f587e3626ec77d6c","generation":3,"phase":"strict","keys":[{"number":1,"state":"active","created":"2026-11-24T03:10:27Z","wraps":[{"provider":"local","ciphertext":"aAOWyEgP93hPDDgkm5L8Uetdyngx9cmHZM/mw/50YcD0Bmcxccp2vhyEUIQkfjYMnWFyaX9wbql1laH4ZmjvyyDZZzpKNeF3QS2y2e4VfHI=","keyID":"8caed19853a481aacc73"}]}],"mac":"DEYmgkHyVOQhW08w53wR5z7D2NxXRpHYny2kypJIQIQ="}`
	presenceNote = `{"ring":"f587e3626ec77d6c","generation":3,"boot":"HLRIWCF2ORJVYIKVVE2ADXFJXC","phase":"strict","keys":[1],"version":"3.7.3"}`
	memberNote   = `1c666a12ba39b448{"id":2046461393230673992,"peerURLs":["https://127.0.0.1:20380"],"name":"m1","clientURLs":["https://127.0.0.1:20379"]}`
	headNote     = `{"time":"2026-11-24T03:10:36.704731326Z","revision":186}`
)

func TestNotes(t *testing.T) {
	heads := "[" + strings.Repeat(headNote+",", 20) + headNote + "]\n"
	plain := strings.Repeat("a value that somebody stored, in the clear. ", 8)
	tests := map[string]struct {
		text string
		kind Kind
	}{
		"a ring":                         {ringNote + "\n", Etcdguards},
		"heads":                          {heads, Etcdguards},
		"presences":                      {strings.Repeat(presenceNote, 4), Etcdguards},
		"members":                        {strings.Repeat(memberNote, 3), Etcds},
		"a value":                        {plain, Plaintext},
		"a value behind a ring":          {ringNote + plain, Plaintext},
		"a value between members":        {memberNote + plain + memberNote, Plaintext},
		"a value that says it is a ring": {strings.Replace(ringNote, `"mac":"DEY`, `"password":"`+plain+`","mac":"DEY`, 1), Plaintext},
		"a value in a member's name":     {strings.Replace(memberNote, `"m1"`, `"`+plain+`"`, 1), Plaintext},
	}
	for name, tt := range tests {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("\x00\x00"+tt.text+"\x00"), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Scan(t.Context(), []string{dir}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Totals) != 1 || r.Totals[0].Kind != tt.kind {
			t.Errorf("%s: %+v, want %s", name, r.Totals, tt.kind)
		}
	}
	if _, own := notes(bytes.Repeat([]byte(headNote), maxNotes)); own {
		t.Error("text without end was searched")
	}
}
