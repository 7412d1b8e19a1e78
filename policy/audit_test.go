package policy

import (
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

const leveled = `
apiVersion: etcdguard.dev/v1
kind: Policy
callers: [{name: a, match: {cn: [a]}}]
rules:
  - {name: thin, callers: [a], actions: [KV.Range], keys: [{prefix: /thin/}], audit: summary}
  - {name: rest, callers: [a], actions: [KV.Range, Lease.LeaseGrant], keys: [{prefix: /}]}
  - {name: seen, callers: [a], actions: [KV.Put], keys: [{prefix: /}], mode: observe, audit: none}
  - {name: silent, callers: [a], actions: [Maintenance.Status], audit: none}
`

func TestTheRuleThatDecidesSaysWhatIsRecorded(t *testing.T) {
	p, err := Parse("test", []byte(leveled))
	if err != nil {
		t.Fatal(err)
	}
	s := p.Subject(Caller{CN: "a"})
	for _, c := range []struct {
		action etcdapi.Action
		key    string
		want   Level
	}{
		{etcdapi.KVRange, "/thin/x", Summary},
		{etcdapi.KVRange, "/x", Full},
		{etcdapi.KVPut, "/x", None},
		{etcdapi.LeaseGrant, "", Full},
		{etcdapi.MaintenanceStatus, "", None},
		{etcdapi.MaintenanceHash, "", Full}, // denied: no rule thins that
	} {
		r := etcdapi.Range{}
		if c.key != "" {
			r = etcdapi.Key([]byte(c.key))
		}
		if d := s.Decide(c.action, r); d.Audit != c.want {
			t.Errorf("%v %s is recorded as %v, want %v", c.action, c.key, d.Audit, c.want)
		}
	}
}

func TestAnUnknownLevelIsNamed(t *testing.T) {
	_, err := Parse("test", []byte(strings.Replace(leveled, "audit: summary", "audit: some", 1)))
	problems := Problems(err)
	if len(problems) != 1 || problems[0].Line != 6 || !strings.HasSuffix(problems[0].Field, ".audit") {
		t.Errorf("%v", err)
	}
}
