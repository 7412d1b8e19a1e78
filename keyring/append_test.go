package keyring

import (
	"bytes"
	"testing"

	"github.com/etcdguard/etcdguard/seal"
)

// Append must not differ from Open by more than where the value goes.
func TestAppendIsOpen(t *testing.T) {
	id, name := seal.RingID{1}, []byte("/k")
	one, two := seal.NewKey(id, 1, &[32]byte{1}), seal.NewKey(id, 2, &[32]byte{2})
	value := bytes.Repeat([]byte("value"), 50)
	altered := one.Seal(nil, name, value)
	altered[60] ^= 1
	all := map[string][]byte{
		"sealed": one.Seal(nil, name, value), "under the active key": two.Seal(nil, name, value), "empty": one.Seal(nil, name, nil),
		"plaintext": value, "nothing": nil, "altered": altered, "cut": one.Seal(nil, name, value)[:70], "marker": {0xe5, 'e', 'g'},
		"moved":       one.Seal(nil, []byte("/l"), value),
		"unknown key": seal.NewKey(id, 3, &[32]byte{3}).Seal(nil, name, value),
		"foreign":     seal.NewKey(seal.RingID{9}, 1, &[32]byte{1}).Seal(nil, name, value),
	}
	rings := map[string]*Ring{"none": nil}
	for phase := Off; phase <= Strict; phase++ {
		rings[phase.String()] = Static(id, phase, one, two)
	}
	for phase, r := range rings {
		for what, stored := range all {
			before := bytes.Clone(stored)
			want, wantErr := r.Open(name, stored)
			dst := append(make([]byte, 0, 1000), "before"...)
			got, err := r.Append(dst, name, stored)
			if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				t.Errorf("%s in %s: %v, and Open says %v", what, phase, err, wantErr)
			}
			if err == nil && (string(got) != "before"+string(want) || &got[0] != &dst[0] || r.Size(stored) != len(want)) {
				t.Errorf("%s in %s: appended are %d bytes, said were %d, and Open returns %d", what, phase, len(got)-len(dst), r.Size(stored), len(want))
			}
			if !bytes.Equal(stored, before) {
				t.Errorf("%s in %s: what is stored was changed", what, phase)
			}
		}
	}
}
