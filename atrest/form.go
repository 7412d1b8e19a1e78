package atrest

import (
	"bytes"
	"unicode/utf8"

	"github.com/etcdguard/etcdguard/seal"
)

// Kind is the first thing to know of stored bytes.
type Kind string

const (
	Sealed     Kind = "sealed"               // by etcdguard; its check agrees
	Damaged    Kind = "damaged"              // begins like a sealed value, but is not whole
	Encrypted  Kind = "kubernetes-encrypted" // by a kube-apiserver's encryption provider
	Plaintext  Kind = "plaintext"            // anybody who has the bytes can read it
	Unknown    Kind = "unknown"              // not sealed, and nothing that is known: binary
	Etcdguards Kind = "etcdguard"            // the ring's document and the members' presence, which hold no client's value
	Etcds      Kind = "etcd"                 // etcd's own notes on members in its old store
)

// Form is in what form a value is stored. What does not apply is empty.
type Form struct {
	Kind     Kind           `json:"form"`
	Ring     string         `json:"ring,omitempty"`     // sealed, damaged: the ring's id
	Key      seal.KeyNumber `json:"key,omitempty"`      // sealed, damaged: the data key's number
	Provider string         `json:"provider,omitempty"` // kubernetes-encrypted: aescbc v1, kms v2 …
	KeyName  string         `json:"keyName,omitempty"`  // kubernetes-encrypted: the provider's name for its key
	Detail   string         `json:"detail,omitempty"`   // the kind of plaintext, or what is wrong
}

// form is a Form before its names are made: what classify finds out without
// allocating. Two equal forms are one Form.
type form struct {
	kind   Kind
	ring   seal.RingID
	key    seal.KeyNumber
	head   string // kubernetes-encrypted: the prefix, interned
	detail string
}

func (f form) public() Form {
	out := Form{Kind: f.kind, Key: f.key, Detail: f.detail}
	if f.kind == Sealed || (f.kind == Damaged && f.ring != seal.RingID{}) {
		out.Ring = f.ring.String()
	}
	if f.kind == Encrypted {
		out.Provider, out.KeyName = splitTransformer(f.head)
	}
	return out
}

const (
	detailCut      = "cut short"
	detailCheck    = "its check disagrees"
	detailVersion  = "a version of the format that is not known"
	detailLonger   = "longer than it says"
	detailKubeProt = "Kubernetes protobuf"
	detailKubeJSON = "Kubernetes JSON"
	detailJSON     = "JSON"
	detailText     = "text"
	detailEmpty    = "empty"
	detailMasked   = "text behind the header of a sealed value"
	detailBinary   = "binary"
	detailNoValue  = "not an etcd record"
	detailObject   = "a fragment of a Kubernetes object"
)

// classify tells the form of a value. It looks at the beginning, and at all of a
// value that says it is sealed. whole is false where the value's end is missing.
func classify(value []byte, whole bool, intern func([]byte) string) form {
	switch {
	case seal.IsSealed(value):
		return classifySealed(value, whole)
	case len(value) < 8 && !whole: // too little to tell
		return form{kind: Unknown, detail: detailCut}
	case len(value) == 0:
		return form{kind: Plaintext, detail: detailEmpty}
	case bytes.HasPrefix(value, kubeEncrypted):
		if n := transformerLength(value); n > 0 {
			return form{kind: Encrypted, head: intern(value[:n])}
		}
		return form{kind: Unknown, detail: "Kubernetes' mark of encryption without a provider"}
	case bytes.HasPrefix(value, kubeProtobuf):
		return form{kind: Plaintext, detail: detailKubeProt}
	}
	return classifyText(value)
}

func classifySealed(value []byte, whole bool) form {
	e, err := seal.Parse(value)
	f := form{kind: Damaged, ring: e.Ring, key: e.Key}
	switch {
	case err == nil && e.Whole && masked(value):
		return form{kind: Plaintext, detail: detailMasked}
	case err == nil && e.Whole:
		f.kind = Sealed
	case err == nil:
		f.detail = detailCheck
	case err == seal.ErrTruncated || !whole:
		f.detail = detailCut
	case err == seal.ErrVersion:
		f.detail = detailVersion
	default:
		f.detail = detailLonger
	}
	return f
}

// masked reports whether what should be ciphertext is text: somebody put the header
// and the check of a sealed value around it. 32 random bytes are all text once in 10¹⁴.
func masked(value []byte) bool {
	const begin, look = seal.Overhead - 16 - 4, 32
	body := value[begin : len(value)-16-4]
	if bytes.HasPrefix(body, kubeProtobuf) && len(body) > 16 {
		return true
	}
	return len(body) >= look && printable(body[:look]) == look
}

// classifyText tells text from binary by the first bytes.
func classifyText(value []byte) form {
	head := value[:min(len(value), 512)]
	if shape := leadingShape(head); shape != "" {
		return form{kind: Plaintext, detail: shape}
	}
	trimmed := bytes.TrimLeft(head, " \t\r\n")
	if len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		switch {
		case bytes.Contains(trimmed, []byte(`"auths"`)):
			return form{kind: Plaintext, detail: shapeDocker}
		case bytes.Contains(trimmed, []byte(`"apiVersion"`)) && bytes.Contains(value[:min(len(value), 64<<10)], []byte(`"kind"`)):
			return form{kind: Plaintext, detail: detailKubeJSON}
		case isText(head):
			return form{kind: Plaintext, detail: detailJSON}
		}
	}
	if isText(head) {
		return form{kind: Plaintext, detail: detailText}
	}
	return form{kind: Unknown, detail: detailBinary}
}

// isText reports whether head is UTF-8 without control characters; its last
// character may be cut.
func isText(head []byte) bool {
	for i := 0; i < len(head); {
		c := head[i]
		if c < utf8.RuneSelf {
			if (c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(head[i:])
		if r == utf8.RuneError && n == 1 {
			return len(head)-i < utf8.UTFMax && !utf8.FullRune(head[i:])
		}
		i += n
	}
	return true
}

// printable counts the printable ASCII that b begins with.
func printable(b []byte) int {
	for i, c := range b {
		if (c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c >= 0x7f {
			return i
		}
	}
	return len(b)
}
