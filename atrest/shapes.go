package atrest

import "bytes"

// The shapes of credentials that are looked for.
const (
	shapePrivateKey = "private key (PEM)"
	shapeJWT        = "JSON web token"
	shapeBootstrap  = "Kubernetes bootstrap token"
	shapeDocker     = "registry password (docker auths)"
	shapeAWS        = "AWS access key id"
	shapeGitHub     = "GitHub token"
	shapeGitLab     = "GitLab token"
	shapeSlack      = "Slack token"
	shapeHash       = "password hash (crypt)"
	shapePassword   = "password of an etcd user"
)

// leadingShape names the credential that a value begins with.
func leadingShape(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	name, _ := credential(b, 0)
	if name == shapeHash && len(b) < 20 {
		return ""
	}
	return name
}

// credential names the credential that begins at b[at], and says how long it is at
// least. b before at is looked at where a shape needs a boundary.
func credential(b []byte, at int) (name string, length int) {
	s := b[at:]
	switch s[0] {
	case '-':
		return pemKey(s)
	case 'e':
		return jwt(s)
	case '"':
		if bytes.HasPrefix(s, []byte(`"auths"`)) {
			return shapeDocker, 7
		}
	case 'A':
		if n := len("AKIA") + 16; (bytes.HasPrefix(s, []byte("AKIA")) || bytes.HasPrefix(s, []byte("ASIA"))) && run(s, n, upperDigit) >= n {
			return shapeAWS, n
		}
	case 'g':
		return gitToken(s)
	case 'x':
		if len(s) > 5 && bytes.HasPrefix(s, []byte("xox")) && bytes.IndexByte([]byte("abprs"), s[3]) >= 0 && s[4] == '-' {
			if n := run(s[5:], 128, tokenByte); n >= 16 {
				return shapeSlack, n + 5
			}
		}
	case '$':
		return cryptHash(s)
	}
	return bootstrapToken(b, at)
}

func pemKey(s []byte) (string, int) {
	begin, end := []byte("-----BEGIN "), []byte("PRIVATE KEY-----")
	if !bytes.HasPrefix(s, begin) {
		return "", 0
	}
	if i := bytes.Index(s[:min(len(s), 64)], end); i >= 0 {
		return shapePrivateKey, i + len(end)
	}
	return "", 0
}

// jwt knows a token by its header and claims, which begin with {" in base64.
func jwt(s []byte) (string, int) {
	if !bytes.HasPrefix(s, []byte("eyJ")) {
		return "", 0
	}
	head := run(s, 2048, base64Byte)
	if head < 16 || !bytes.HasPrefix(s[head:], []byte(".eyJ")) {
		return "", 0
	}
	return shapeJWT, head + 1 + run(s[head+1:], 16<<10, func(c byte) bool { return base64Byte(c) || c == '.' })
}

func gitToken(s []byte) (string, int) {
	if len(s) > 4 && s[1] == 'h' && s[3] == '_' && bytes.IndexByte([]byte("pousr"), s[2]) >= 0 {
		if n := run(s[4:], 255, tokenByte); n >= 36 {
			return shapeGitHub, n + 4
		}
	}
	if p := []byte("github_pat_"); bytes.HasPrefix(s, p) {
		if n := run(s[len(p):], 255, tokenByte); n >= 36 {
			return shapeGitHub, n + len(p)
		}
	}
	if p := []byte("glpat-"); bytes.HasPrefix(s, p) {
		if n := run(s[len(p):], 255, tokenByte); n >= 20 {
			return shapeGitLab, n + len(p)
		}
	}
	return "", 0
}

// cryptHash knows bcrypt, SHA-512 crypt and argon2, as etcd, shadow files and
// applications keep them.
func cryptHash(s []byte) (string, int) {
	for _, p := range []string{"$2a$", "$2b$", "$2y$", "$6$", "$argon2"} {
		if bytes.HasPrefix(s, []byte(p)) {
			if n := run(s, 256, func(c byte) bool { return tokenByte(c) || bytes.IndexByte([]byte("$./=,+"), c) >= 0 }); n >= 40 {
				return shapeHash, n
			}
		}
	}
	return "", 0
}

// bootstrapToken knows the token of kubeadm: six characters, a dot, sixteen. The names
// of Kubernetes events end alike, but with hexadecimal digits.
func bootstrapToken(b []byte, at int) (string, int) {
	const id, secret = 6, 16
	dot := at
	if b[dot] != '.' {
		dot = at + id // a value that begins with its id
		if at != 0 || dot >= len(b) || b[dot] != '.' {
			return "", 0
		}
	}
	begin, end := dot-id, dot+1+secret
	if begin < 0 || end > len(b) || run(b[begin:dot], id, lowerDigit) != id || run(b[dot+1:end], secret, lowerDigit) != secret {
		return "", 0
	}
	if (begin > 0 && wordByte(b[begin-1])) || (end < len(b) && (wordByte(b[end]) || b[end] == '.')) {
		return "", 0
	}
	for _, c := range b[dot+1 : end] {
		if c > 'f' {
			return shapeBootstrap, end - at
		}
	}
	return "", 0
}

// run counts the bytes of that class that b begins with, up to most.
func run(b []byte, most int, class func(byte) bool) int {
	b = b[:min(len(b), most)]
	for i, c := range b {
		if !class(c) {
			return i
		}
	}
	return len(b)
}

func lowerDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func upperDigit(c byte) bool { return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
func wordByte(c byte) bool   { return lowerDigit(c) || c >= 'A' && c <= 'Z' || c == '-' }
func tokenByte(c byte) bool  { return wordByte(c) || c == '_' }
func base64Byte(c byte) bool { return tokenByte(c) }

// shapesIn counts the credentials in a value.
func (t *tally) shapesIn(value []byte, p place) {
	for at := 0; at < len(value); at++ {
		at += nextAnchor(value[at:])
		if at >= len(value) {
			return
		}
		if name, n := credential(value, at); name != "" {
			t.shape(name, p, n)
			at += n - 1
		}
	}
}
