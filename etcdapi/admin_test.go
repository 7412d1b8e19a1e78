package etcdapi

import (
	"strings"
	"testing"
)

// TestEveryAdminActionHasOnePath: an action that no path is can't be asked for, and
// a path that is no action would be open to nobody or, worse, to everybody.
func TestEveryAdminActionHasOnePath(t *testing.T) {
	found := 0
	for _, a := range Actions() {
		admin := strings.HasPrefix(a.String(), "Seal.") || strings.HasPrefix(a.String(), "Ring.")
		path := AdminPath(a)
		if admin != (path != "") {
			t.Errorf("%v: path %q", a, path)
		}
		if admin {
			found++
			if AdminAction(path) != a {
				t.Errorf("%v is at %q, which is %v", a, path, AdminAction(path))
			}
		}
	}
	if found != len(adminCalls) {
		t.Errorf("%d actions, %d paths", found, len(adminCalls))
	}
}

func TestPathsThatAreNoCall(t *testing.T) {
	for _, path := range []string{"", "/", "/etcdguard/v1/", "/etcdguard/v1", "/etcdguard/v1/seal/", "/etcdguard/v1//seal",
		"/etcdguard/v1/seal/../ring", "/etcdguard/v1/SEAL", "/etcdguard/v2/seal", "/seal", "//etcdguard/v1/seal"} {
		if a := AdminAction(path); a != NoAction {
			t.Errorf("%q is %v", path, a)
		}
	}
}
