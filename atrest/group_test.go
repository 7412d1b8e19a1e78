package atrest

import "testing"

func TestWhatEtcdguardWritesAboutItselfIsNoClients(t *testing.T) {
	for key, want := range map[string]bool{
		"\x00etcdguard/ring":                        true,
		"\x00etcdguard/members/0123456789abcdef":    true,
		"\x00etcdguard/audit/0123456789abcdef":      true,
		"\x00etcdguard/audit/0123456789abcdeg":      false,
		"\x00etcdguard/audit/0123456789abcdef0":     false,
		"\x00etcdguard/audit/":                      false,
		"\x00etcdguard/quarantine/0123456789abcdef": false,
		"\x00etcdguard/ring2":                       false,
		"etcdguard/audit/0123456789abcdef":          false,
		"":                                          false,
	} {
		if isEtcdguards([]byte(key)) != want {
			t.Errorf("%q is taken for etcdguard's own: %v", key, !want)
		}
	}
}
