package cli

import (
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/prove"
)

// A report can be a stranger's file, and what a member says of itself is in it.
func TestAReportDoesNotSpeakToTheTerminal(t *testing.T) {
	const evil = "a\x1b]0;b\a\x1b[2J\r\u202e\nFAILED     c"
	var out strings.Builder
	err := printFindings(&out, prove.Report{
		Findings: []prove.Finding{{Claim: evil, How: evil, Node: evil, Result: prove.Held, Detail: evil},
			{Claim: evil + "2", Node: evil, Result: prove.Failed, Detail: evil}, {Claim: evil + "3", Node: evil, Result: prove.NotTried, Detail: evil}},
		Surroundings: []prove.NodeSurroundings{{Node: evil, Are: []prove.Surrounding{{What: evil, State: evil, Seen: evil, Advice: evil}}}},
		NotLookedAt:  []string{evil},
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\a\r\u202e") || strings.Count(out.String(), "\nFAILED") != 1 {
		t.Errorf("%q", out.String())
	}
}

func TestAMembersStateDoesNotSpeakToTheTerminal(t *testing.T) {
	const evil = "a\x1b]0;b\a\x1b[2J\u202e"
	s := &control.Status{}
	s.Members = []keyring.MemberStatus{{ID: "1", Name: evil, Version: evil, Waiting: evil}}
	s.Providers = []keyring.ProviderStatus{{Name: evil, Problem: evil}}
	s.Refusal = evil
	var out strings.Builder
	if err := printSealStatus(&out, s, nil, needsAttention(s, nil), ""); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\a\u202e") || strings.Count(out.String(), "a") < 5 {
		t.Errorf("%q", out.String())
	}
}
