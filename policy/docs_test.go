package policy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

const docPage = "../docs/policy.md"

func docText(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(docPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// docExample is the complete example of the page.
func docExample(t testing.TB) string {
	t.Helper()
	blocks := regexp.MustCompile("(?s)```yaml\n(apiVersion:.*?)```").FindAllStringSubmatch(docText(t), -1)
	if len(blocks) != 1 {
		t.Fatalf("%s has %d complete examples, want 1", docPage, len(blocks))
	}
	return blocks[0][1]
}

// roleTable is the table of roles as the page must have it.
func roleTable() string {
	var b strings.Builder
	b.WriteString("| role | for | actions | keys |\n|---|---|---|---|\n")
	for _, role := range Roles() {
		name, whom := "`"+role.Name+"`", role.For
		for _, part := range role.Parts {
			keys := part.Keys
			if keys == "" {
				keys = "–"
			}
			actions := "`" + strings.Join(part.Actions, "`, `") + "`"
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, whom, actions, keys)
			name, whom = "", ""
		}
	}
	return b.String()
}

func TestThePageAgreesWithTheCode(t *testing.T) {
	text := docText(t)
	if table := roleTable(); !strings.Contains(text, table) {
		t.Errorf("%s has another table of roles; it must be:\n%s", docPage, table)
	}
	for _, a := range etcdapi.Actions() {
		service, rest := serviceOf(a)
		rpc, _, _ := strings.Cut(rest, ":")
		if !regexp.MustCompile("(?m)^\\| `" + service + "\\.\\*` .*`" + regexp.QuoteMeta(rpc) + "`").MatchString(text) {
			t.Errorf("%s does not list %v", docPage, a)
		}
		if strings.Contains(rest, ":") && !strings.Contains(text, "`"+a.String()+"`") {
			t.Errorf("%s does not list %v", docPage, a)
		}
	}
	for _, i := range implications {
		line := fmt.Sprintf("| `%v` | `%v` |", i.granted, i.implied)
		if i.implied == etcdapi.KVTxn {
			line = "| any of `KV.Txn:*` | `KV.Txn` |"
		}
		if !strings.Contains(text, line) {
			t.Errorf("%s has no line %q", docPage, line)
		}
	}
}

func TestTheExampleOfThePageWorks(t *testing.T) {
	p, err := Parse("example", []byte(docExample(t)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		caller Caller
		action etcdapi.Action
		keys   etcdapi.Range
		want   Decision
	}{
		"the API server writes":         {Caller{CN: "kube-apiserver-etcd-client", O: []string{"system:masters"}}, etcdapi.KVTxnPut, key("/registry/a"), allowed("apiserver")},
		"not with another organisation": {Caller{CN: "kube-apiserver-etcd-client"}, etcdapi.KVTxnPut, key("/registry/a"), denied},
		"team a reads its folder":       {Caller{URI: []string{"spiffe://example.org/team-a"}}, etcdapi.KVRange, prefix("/team-a/"), allowed("team-a")},
		"team a is still let look":      {Caller{URI: []string{"spiffe://example.org/team-a"}}, etcdapi.KVRange, prefix("/shared/"), observed("team-a-before")},
		"backups":                       {Caller{CN: "etcdguard-backup"}, etcdapi.MaintenanceSnapshot, etcdapi.Range{}, allowed("backup")},
		"probes":                        {Caller{}, etcdapi.HTTPHealth, etcdapi.Range{}, allowed("probes")},
		"nobody reads":                  {Caller{}, etcdapi.KVRange, key("/team-a/x"), denied},
	} {
		if d := p.Subject(c.caller).Decide(c.action, c.keys); d != c.want {
			t.Errorf("%s: %+v, want %+v", name, d, c.want)
		}
	}
}
