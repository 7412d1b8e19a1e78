package atrest

import (
	"bytes"
	"encoding/hex"
)

const (
	// maxGroups and maxPrefix bound what a report can grow to, whatever the keys are.
	maxGroups = 2048
	maxPrefix = 256
)

var (
	reserved       = []byte("\x00etcdguard/")
	reservedRing   = []byte("\x00etcdguard/ring")
	reservedMember = []byte("\x00etcdguard/members/")
	reservedAudit  = []byte("\x00etcdguard/audit/")
)

// prefixLength is how much of a key names its group: the resource of a Kubernetes
// key, the first element of any other path, nothing of a key that is no path.
func prefixLength(key []byte) int {
	n := 0
	switch {
	case len(key) == 0:
	case key[0] == 0 && bytes.HasPrefix(key, reserved):
		n = len(reserved) + bytes.IndexByte(key[len(reserved):], '/') + 1
	default:
		if n = kubePrefix(key); n == 0 {
			if slash := bytes.IndexByte(key[1:], '/'); slash >= 0 {
				n = slash + 2
			}
		}
	}
	if n > maxPrefix {
		return 0
	}
	return n
}

// isEtcdguards reports whether a key is one that etcdguard writes about itself: the
// ring's document, a member's presence, or its audit checkpoint. What is in quarantine is
// a client's.
func isEtcdguards(key []byte) bool {
	if len(key) == 0 || key[0] != 0 {
		return false
	}
	if bytes.Equal(key, reservedRing) {
		return true
	}
	id, ok := bytes.CutPrefix(key, reservedMember)
	if !ok {
		id, ok = bytes.CutPrefix(key, reservedAudit)
	}
	if !ok || len(id) != 16 {
		return false
	}
	_, err := hex.Decode(make([]byte, 8), id)
	return err == nil
}
