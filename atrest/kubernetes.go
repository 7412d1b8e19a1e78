package atrest

import (
	"bytes"
	"strings"
)

var (
	// kubeProtobuf begins an object that a kube-apiserver stores as protobuf
	// (k8s.io/apimachinery, runtime/serializer/protobuf).
	kubeProtobuf = []byte("k8s\x00")
	// kubeEncrypted begins a value that a kube-apiserver encrypted
	// (k8s.io/apiserver, server/options/encryptionconfig).
	kubeEncrypted = []byte("k8s:enc:")
)

// transformerLength is the length of k8s:enc:<provider>:<version>:<key name>: at the
// beginning of value, or 0. No name of a provider or key is longer than maxName.
func transformerLength(value []byte) int {
	const maxName = 256
	head := value[:min(len(value), 3*maxName)]
	colons := 0
	for i, c := range head {
		if c == ':' {
			if colons++; colons == 5 {
				return i + 1
			}
		}
		if c < 0x20 || c >= 0x7f {
			return 0
		}
	}
	return 0
}

// splitTransformer takes k8s:enc:<provider>:<version>:<key name>: apart.
func splitTransformer(head string) (provider, keyName string) {
	parts := strings.SplitN(strings.TrimSuffix(head, ":"), ":", 5)
	if len(parts) < 5 {
		return head, ""
	}
	return parts[2] + " " + parts[3], parts[4]
}

// kubeRoots are where Kubernetes and its distributions keep their objects.
var kubeRoots = [][]byte{[]byte("/registry/"), []byte("/kubernetes.io/"), []byte("/openshift.io/")}

// kubePrefix returns the part of a key that names the resource, or 0. Its forms are
// /registry/<resource>/… and, for most groups, /registry/<group>/<resource>/….
func kubePrefix(key []byte) int {
	for _, root := range kubeRoots {
		if !bytes.HasPrefix(key, root) {
			continue
		}
		end := bytes.IndexByte(key[len(root):], '/')
		if end < 0 {
			return len(root)
		}
		first := key[len(root) : len(root)+end]
		end += len(root) + 1
		if bytes.IndexByte(first, '.') >= 0 || string(first) == "services" {
			if second := bytes.IndexByte(key[end:], '/'); second >= 0 {
				return end + second + 1
			}
		}
		return end
	}
	return 0
}

// kubeResource is the resource that a prefix of kubePrefix holds, as kubectl names it.
func kubeResource(prefix string) string {
	_, rest, ok := strings.Cut(strings.TrimPrefix(prefix, "/"), "/")
	if !ok || rest == "" {
		return ""
	}
	rest = strings.TrimSuffix(rest, "/")
	switch rest {
	case "minions":
		return "nodes"
	case "services/specs":
		return "services"
	case "services/endpoints":
		return "endpoints"
	}
	if group, resource, ok := strings.Cut(rest, "/"); ok {
		return resource + "." + group
	}
	return rest
}

// kubeObject reads apiVersion and kind from the beginning of an object stored as
// protobuf: k8s\x00, then message Unknown whose first field is TypeMeta.
func kubeObject(b []byte) (kind string, ok bool) {
	if len(b) < 10 || b[4] != 0x0a || b[6] != 0x0a {
		return "", false
	}
	meta := b[6:]
	if n := int(b[5]); n < len(meta) {
		meta = meta[:n]
	}
	version, rest, ok := shortString(meta, 0x0a)
	if !ok {
		return "", false
	}
	name, _, ok := shortString(rest, 0x12)
	if !ok {
		return "", false
	}
	return version + " " + name, true
}

// shortString reads a field of that tag with a name of an API in it.
func shortString(b []byte, tag byte) (s string, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != tag || b[1] == 0 || b[1] > 127 || len(b)-2 < int(b[1]) {
		return "", nil, false
	}
	name := b[2 : 2+int(b[1])]
	if !apiName(name) {
		return "", nil, false
	}
	return string(name), b[2+len(name):], true
}

func apiName(b []byte) bool {
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '/' && c != '-' {
			return false
		}
	}
	return len(b) > 0
}
