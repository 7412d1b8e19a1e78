package kms

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// files are key files of every kind, with keys that are no secret.
func files(t testing.TB) map[string][]byte {
	key := bytes.Repeat([]byte{1}, keySize)
	plain := keyFile{id: keyID(key), key: key}
	locked := plain
	locked.protect(stretch{time: 1, memory: 8, threads: 1}, []byte("passphrase"))
	return map[string][]byte{"plain": plain.encode(), "locked": locked.encode()}
}

// TestKeyFileVector holds the format: a file that was written once must open for ever.
func TestKeyFileVector(t *testing.T) {
	const plain = "etcdguard key file 1\nid 5713484eff0e9ea06892\nkey AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
	const locked = "etcdguard key file 1\n" +
		"id 5713484eff0e9ea06892\n" +
		"passphrase argon2id t=1 m=8 p=1 salt=AAAAAAAAAAAAAAAAAAAAAA\n" +
		"sealed 8mXtGeHOJNoy6YNehuRoS6bJ1QJbU8CHsQLBMPG0ArN9jBj3OTY8CCaq0tb5c1f5r+Nn8gBREp6l+iYd\n"
	for _, tt := range []struct {
		file       string
		passphrase []byte
	}{{plain, nil}, {locked, []byte("passphrase")}} {
		f, err := parseKeyFile([]byte(tt.file))
		if err != nil {
			t.Fatal(err)
		}
		key, err := f.open(tt.passphrase)
		if err != nil || !bytes.Equal(key, bytes.Repeat([]byte{1}, keySize)) {
			t.Errorf("%v", err)
		}
	}
	if got := hex.EncodeToString(derive(bytes.Repeat([]byte{1}, keySize), "etcdguard key file wrap v1", keySize)); got != "fa8ba66d7d86361a2e502b3d26ddcdac05d473a19d56efd42529b198c1f591b5" {
		t.Errorf("the key that wraps is %s", got)
	}
}

// TestEveryFlippedByteOfAKeyFileIsNoticed: none of them makes another key of it.
func TestEveryFlippedByteOfAKeyFileIsNoticed(t *testing.T) {
	for what, data := range files(t) {
		var passphrase []byte
		if what == "locked" {
			passphrase = []byte("passphrase")
		}
		f, err := parseKeyFile(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.open(passphrase); err != nil {
			t.Fatalf("control: %v", err)
		}
		for i := range data {
			for bit := range 8 {
				altered := bytes.Clone(data)
				altered[i] ^= 1 << bit
				f, err := parseKeyFile(altered)
				if err != nil {
					continue
				}
				if f.stretch.memory > 1<<12 || f.stretch.time > 4 {
					continue // it would be refused after a second
				}
				if _, err := f.open(passphrase); err == nil {
					t.Errorf("%s: bit %d of byte %d", what, bit, i)
				}
			}
		}
	}
}

func TestStretchIsReadOneWay(t *testing.T) {
	salt := " salt=" + strings.Repeat("A", 22)
	for text, want := range map[string]bool{
		"argon2id t=3 m=65536 p=4" + salt:            true,
		"argon2id t=16 m=1048576 p=16" + salt:        true,
		"argon2id t=1 m=8 p=1" + salt:                true,
		"argon2id t=17 m=65536 p=4" + salt:           false,
		"argon2id t=3 m=1048577 p=4" + salt:          false,
		"argon2id t=3 m=65536 p=17" + salt:           false,
		"argon2id t=0 m=65536 p=4" + salt:            false,
		"argon2id t=3 m=31 p=4" + salt:               false,
		"argon2id t=3 m=65536 p=0" + salt:            false,
		"argon2id t=3 m=65536 p=260" + salt:          false,
		"argon2id t=03 m=65536 p=4" + salt:           false,
		"argon2id t=+3 m=65536 p=4" + salt:           false,
		"argon2id  t=3 m=65536 p=4" + salt:           false,
		"argon2id t=3 m=65536 p=4" + salt + " ":      false,
		"argon2id t=3 m=65536 p=4" + salt + "A":      false,
		"argon2id t=3 m=65536 p=4" + salt[:27]:       false,
		"argon2id t=3 m=65536 p=4" + salt[:27] + "B": false,
		"argon2i t=3 m=65536 p=4" + salt:             false,
		"":                                           false,
	} {
		if s, err := parseStretch(text); (err == nil) != want {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
}

func FuzzKeyFile(f *testing.F) {
	for _, data := range files(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseKeyFile(data)
		if err != nil {
			return
		}
		if !bytes.Equal(k.encode(), data) {
			t.Errorf("%q is read, and would be written as %q", data, k.encode())
		}
		if k.stretch.memory > maxMemory || k.stretch.time > maxTime || k.stretch.threads > maxThreads {
			t.Errorf("%v costs too much", k.stretch)
		}
	})
}
