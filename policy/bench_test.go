package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// manyRules is a policy in which one caller has n rules, each for a prefix of its
// own, as a platform with that many tenants would write it.
func manyRules(n int) []byte {
	var b strings.Builder
	b.WriteString("apiVersion: etcdguard.dev/v1\nkind: Policy\ncallers:\n  - name: app\n    match: {cn: [app]}\nrules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: tenant-%d\n    callers: [app]\n    actions: [KV.Range, KV.Put, Watch.Watch]\n    keys: [{prefix: /registry/tenants/%d/}]\n", i, i)
	}
	return []byte(b.String())
}

// tenantRanges are requests to tenants all over the policy, in random order.
func tenantRanges(n int) []etcdapi.Range {
	random := rand.New(rand.NewPCG(1, 2))
	ranges := make([]etcdapi.Range, 4096)
	for i := range ranges {
		ranges[i] = etcdapi.Key(fmt.Appendf(nil, "/registry/tenants/%d/config", random.IntN(n)))
	}
	return ranges
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			p, err := Parse("policy.yaml", manyRules(n))
			if err != nil {
				b.Fatal(err)
			}
			s := p.Subject(Caller{CN: "app"})
			ranges := tenantRanges(n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if !s.Decide(etcdapi.KVRange, ranges[i%len(ranges)]).Allowed {
					b.Fatal("denied")
				}
				i++
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	data := manyRules(100_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("policy.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompileSubject(b *testing.B) {
	p, err := Parse("policy.yaml", manyRules(100_000))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p.compileSubject("app", []int{0})
	}
}
