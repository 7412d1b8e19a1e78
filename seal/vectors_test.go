package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// hexBytes is written in hexadecimal, for other implementations to read.
type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

type vector struct {
	Comment string   `json:"comment"`
	Secret  hexBytes `json:"secret"`
	Ring    hexBytes `json:"ring"`
	Number  uint32   `json:"number"`
	Nonce   hexBytes `json:"nonce"`
	Name    hexBytes `json:"name"`
	Value   hexBytes `json:"value"`
	Sealed  hexBytes `json:"sealed"`
}

// reference seals as docs/design/06-sealed-values.md says, and shares nothing with
// the package: neither constants nor code, and no table for the check.
func reference(t testing.TB, v vector) []byte {
	header := []byte{0xe5, 0x65, 0x67, 0x01}
	header = append(header, v.Ring...)
	header = append(header, byte(v.Number>>24), byte(v.Number>>16), byte(v.Number>>8), byte(v.Number))
	n := len(v.Value)
	header = append(header, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))

	// The key of the nonce: AES-CMAC (RFC 4493) over 00 i 58 00 and the first half.
	block := newBlock(t, hex.EncodeToString(v.Secret))
	l := make([]byte, 16)
	block.Encrypt(l, l)
	k1 := make([]byte, 16)
	for i := range k1 {
		k1[i] = l[i] << 1
		if i < 15 {
			k1[i] |= l[i+1] >> 7
		}
	}
	if l[0]&0x80 != 0 {
		k1[15] ^= 0x87
	}
	var derived []byte
	for i := byte(1); i <= 2; i++ {
		m := append([]byte{0, i, 0x58, 0}, v.Nonce[:12]...)
		for j := range m {
			m[j] ^= k1[j]
		}
		block.Encrypt(m, m)
		derived = append(derived, m...)
	}
	gcm, err := cipher.NewGCM(newBlock(t, hex.EncodeToString(derived)))
	if err != nil {
		t.Fatal(err)
	}
	out := append(bytes.Clone(header), v.Nonce...)
	out = append(out, gcm.Seal(nil, v.Nonce[12:], v.Value, append(bytes.Clone(header), v.Name...))...)

	crc := ^uint32(0) // CRC-32C, bit by bit
	for _, b := range out {
		crc ^= uint32(b)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0x82f63b78
			} else {
				crc >>= 1
			}
		}
	}
	crc = ^crc
	return append(out, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
}

func newBlock(t testing.TB, key string) cipher.Block {
	raw, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		t.Fatal(err)
	}
	return block
}

// newVectors are the inputs of the vectors; what they seal to, reference says.
func newVectors() []vector {
	count := func(from byte, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = from + byte(i)
		}
		return b
	}
	base := vector{Secret: count(0, 32), Ring: count(0xa0, 8), Number: 1, Nonce: count(0x40, 24), Name: []byte("/registry/secrets/default/a"), Value: []byte("hello")}
	with := func(comment string, change func(*vector)) vector {
		v := base
		v.Comment = comment
		change(&v)
		return v
	}
	return []vector{
		with("the worked one of the document", func(*vector) {}),
		with("no value", func(v *vector) { v.Value = nil }),
		with("one byte", func(v *vector) { v.Value = []byte{0} }),
		with("one block", func(v *vector) { v.Value = count(0, 16) }),
		with("more than a block, and not whole ones", func(v *vector) { v.Value = count(9, 1000) }),
		with("the length in three bytes", func(v *vector) { v.Value = bytes.Repeat([]byte("etcd"), 0x4001) }),
		with("a name of one byte", func(v *vector) { v.Name = []byte{0xff} }),
		with("a name longer than the header's room", func(v *vector) { v.Name = bytes.Repeat([]byte("n"), 5000) }),
		with("a number of four bytes", func(v *vector) { v.Number = 0x01020304 }),
		with("the last number", func(v *vector) { v.Number = 0xffffffff }),
		with("MSB₁(L) = 1", func(v *vector) { v.Secret = bytes.Repeat([]byte{3}, 32) }),
		with("a value that begins as sealed ones do", func(v *vector) { v.Value = []byte{0xe5, 'e', 'g', 1} }),
	}
}

func TestVectors(t *testing.T) {
	if *update {
		vectors := newVectors()
		for i := range vectors {
			vectors[i].Sealed = reference(t, vectors[i])
		}
		data, err := json.MarshalIndent(vectors, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	vectors := readVectors(t)
	for _, v := range vectors {
		t.Run(v.Comment, func(t *testing.T) {
			if want := reference(t, v); !bytes.Equal(v.Sealed, want) {
				t.Errorf("the file has %x, the document says %x", v.Sealed, want)
			}
			k := NewKey(RingID(v.Ring), KeyNumber(v.Number), (*[32]byte)(v.Secret))
			got, err := k.Open(nil, v.Name, v.Sealed)
			if err != nil || !bytes.Equal(got, v.Value) {
				t.Errorf("opened to %x, %v; want %x", got, err, v.Value)
			}
			e, err := Parse(v.Sealed)
			if want := (Envelope{Ring: RingID(v.Ring), Key: KeyNumber(v.Number), Size: len(v.Value), Whole: true}); err != nil || e != want {
				t.Errorf("parsed as %+v, %v; want %+v", e, err, want)
			}
			// What Seal makes is what the document says of the nonce that it chose.
			v.Sealed = k.Seal(nil, v.Name, v.Value)
			v.Nonce = hexBytes(v.Sealed[20:44])
			if want := reference(t, v); !bytes.Equal(v.Sealed, want) {
				t.Errorf("sealed to %x, want %x", v.Sealed, want)
			}
		})
	}
}

func readVectors(t testing.TB) (vectors []vector) {
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != len(newVectors()) {
		t.Fatalf("%s has %d vectors, want %d", vectorsFile, len(vectors), len(newVectors()))
	}
	return vectors
}

// TestTheDocumentAgrees: the worked vector of the document is the first of the file,
// and its table names every error in the words of the code.
func TestTheDocumentAgrees(t *testing.T) {
	document, err := os.ReadFile("../docs/design/06-sealed-values.md")
	if err != nil {
		t.Fatal(err)
	}
	v := readVectors(t)[0]
	var sealed strings.Builder
	for line := range strings.Lines(string(document)) {
		digits, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch strings.TrimSpace(what) {
		case "marker", "version", "ring", "key", "length", "nonce", "ciphertext", "tag", "check":
			sealed.WriteString(digits)
		}
	}
	if got := sealed.String(); got != hex.EncodeToString(v.Sealed) {
		t.Errorf("the document's vector is %s, the file's %x", got, v.Sealed)
	}
	for _, input := range []string{hex.EncodeToString(v.Secret), `"` + string(v.Name) + `"`, `"` + string(v.Value) + `"`} {
		if !bytes.Contains(document, []byte(input)) {
			t.Errorf("the document does not have %s", input)
		}
	}
	code, err := os.ReadFile("envelope.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\n\t(Err\w+) += errors\.New`).FindAllSubmatch(code, -1)
	if len(names) != 7 {
		t.Errorf("%d errors in the code", len(names))
	}
	for _, name := range names {
		if !bytes.Contains(document, []byte("| `"+string(name[1])+"` |")) {
			t.Errorf("the document's table lacks %s", name[1])
		}
	}
}
