package signed

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newKey(t *testing.T, name string) (Key, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	public, err := Generate(file, name)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the private key: %v, %v", info, err)
	}
	if _, err := Generate(file, name); err == nil {
		t.Error("a key was written over")
	}
	k, err := ReadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	return k, public
}

var document = map[string]any{"keys": []string{"/a", "with\x7fbytes\x00", "ü"}, "n": 3}

func TestAReportIsVerifiedByItsSignersKeyOnly(t *testing.T) {
	k, public := newKey(t, "node-1")
	_, foreign := newKey(t, "node-1")
	report, err := k.Sign("atrest", document)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Verify(report, foreign, public)
	if err != nil || r.Kind != "atrest" || r.Signer != "node-1" {
		t.Fatalf("%+v, %v", r, err)
	}
	var got struct{ Keys []string }
	if err := json.Unmarshal(r.Document, &got); err != nil || got.Keys[1] != "with\x7fbytes\x00" {
		t.Errorf("the document came back as %q, %v", got.Keys, err)
	}
	if _, err := Verify(report, foreign); err == nil {
		t.Error("verified by a key that did not sign it")
	}
	if _, err := Verify(report); err == nil {
		t.Error("verified by no key")
	}
}

func TestAReportWithAByteChangedIsRefused(t *testing.T) {
	k, public := newKey(t, "node-1")
	report, err := k.Sign("atrest", document)
	if err != nil {
		t.Fatal(err)
	}
	for i := range report {
		for _, to := range []byte{report[i] ^ 1, report[i] ^ 2, report[i] + 1, report[i] - 1, report[i] ^ 0x20, 0} {
			changed := bytes.Clone(report)
			changed[i] = to
			if to == report[i] {
				continue
			}
			if r, err := Verify(changed, public); err == nil {
				t.Fatalf("byte %d changed from %q to %q: still verified as %+v", i, report[i], to, r)
			}
		}
	}
	for i := range report {
		if _, err := Verify(report[:i], public); err == nil && i < len(report) {
			t.Fatalf("cut after %d of %d bytes: still verified", i, len(report))
		}
	}
}

// A signed note that is no report, or whose hash and document differ, is refused even
// from a good key.
func TestASignedNoteThatIsNoReportIsRefused(t *testing.T) {
	k, public := newKey(t, "node-1")
	for _, text := range []string{
		"hello\n",
		strings.Replace(text("atrest", []byte(`{}`)), "{}", "[]", 1),
		text("atrest", []byte(`{`)),
		text("atrest", []byte(`{}`)) + "more\n",
	} {
		if r, err := Verify(signText(t, k, text), public); err == nil {
			t.Errorf("%q was taken for the report %+v", text, r)
		}
	}
}

func TestAKeyFileOthersCanReadIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if _, err := Generate(file, "n"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKey(file); err == nil {
		t.Error("read")
	}
	secret := "PRIVATE+KEY+n+00000000+c2VjcmV0"
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(file, 0o600)
	if _, err := ReadKey(file); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("a broken key: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	file := filepath.Join(f.TempDir(), "key")
	public, err := Generate(file, "n")
	if err != nil {
		f.Fatal(err)
	}
	k, err := ReadKey(file)
	if err != nil {
		f.Fatal(err)
	}
	good, err := k.Sign("atrest", document)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, report []byte) {
		if _, err := Verify(report, public); err == nil && !bytes.HasPrefix(report, good[:len(good)-1]) {
			t.Fatalf("verified: %q", report)
		}
	})
}
