package policy

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// longestSuggested is the length of the keys up to which a rule is written out.
const longestSuggested = 512

// Suggest says in one line how to allow an access: what to write into which field
// of the policy. It is for the server's log and the operator, never for the client.
func (p *Policy) Suggest(c Caller, a etcdapi.Action, r etcdapi.Range) string {
	if a.Keyed() && etcdapi.IsReserved(r.Begin) && r.Kind == etcdapi.Point {
		return `nothing allows it: keys that start with the byte \x00 are reserved for etcdguard`
	}
	if len(r.Begin) > longestSuggested || len(r.End) > longestSuggested {
		return "no rule is suggested: these keys are too long for a line of a log"
	}
	caller, also := "", ""
	if entries := p.matching(c); len(entries) > 0 {
		caller = p.callers[entries[0]].name
	} else {
		caller = suggestedName(c)
		also = fmt.Sprintf("{name: %s, match: %s} under callers, and ", caller, suggestedMatch(c))
	}
	rule := fmt.Sprintf("{name: NAME, callers: [%s], actions: [%s]", caller, flowText(a.String()))
	if a.Keyed() {
		rule += ", keys: [" + suggestedKeys(r) + "]"
	}
	rule += "} under rules"
	if role := smallestRole(a, r); role != "" {
		rule += fmt.Sprintf(", or give the caller role: %s, which allows this and more", role)
	}
	return "to allow it, add " + also + rule
}

// suggestedMatch recognises the caller by the most telling name it has.
func suggestedMatch(c Caller) string {
	field, value := "anonymous", ""
	switch {
	case c.Anonymous():
		return "{anonymous: true}"
	case len(c.URI) > 0:
		field, value = "uri", c.URI[0]
	case c.CN != "":
		field, value = "cn", c.CN
	case len(c.DNS) > 0:
		field, value = "dns", c.DNS[0]
	default:
		field, value = "publicKeySHA256", c.PublicKeySHA256
	}
	return fmt.Sprintf("{%s: [%s]}", field, flowText(value))
}

func suggestedName(c Caller) string {
	switch {
	case c.Anonymous():
		return "anonymous"
	case goodName(c.CN) && c.CN != "anonymous" && c.CN != "unmatched":
		return flowText(c.CN)
	default:
		return "NAME"
	}
}

// suggestedKeys is r as an entry of `keys`.
func suggestedKeys(r etcdapi.Range) string {
	i := intervalOf(r)
	switch {
	case i.begin == "" && i.end == "" || i == everything:
		return "{all: true}"
	case i.end == "":
		return fmt.Sprintf("{from: %s}", flowKey(i.begin))
	case i == exactly(i.begin):
		return fmt.Sprintf("{key: %s}", flowKey(i.begin))
	case i == prefixed(i.begin):
		return fmt.Sprintf("{prefix: %s}", flowKey(i.begin))
	default:
		return fmt.Sprintf("{from: %s, to: %s}", flowKey(i.begin), flowKey(i.end))
	}
}

// flowText is s inside the braces of YAML; quoted unless it is surely plain text.
func flowText(s string) string {
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("0123456789._-/:", r))
	}) < 0
	first := s + " "
	if plain && (first[0] >= 'a' && first[0] <= 'z' || first[0] >= 'A' && first[0] <= 'Z' || first[0] == '/') &&
		!strings.HasSuffix(s, ":") && !wordOfYAML(s) {
		return s
	}
	return yamlQuoted(s)
}

func wordOfYAML(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return true
	}
	return false
}

// yamlQuoted is s in YAML's double quotes, whose \x means a code point; only what
// is UTF-8 can be written so.
func yamlQuoted(s string) string {
	return strconv.QuoteToASCII(strings.ToValidUTF8(s, "\uFFFD"))
}

func flowKey(key string) string {
	if !utf8.ValidString(key) || strings.ContainsRune(key, '\x7f') {
		return "!!binary " + base64.StdEncoding.EncodeToString([]byte(key))
	}
	return flowText(key)
}

// smallestRole is the least of the ready-made roles that allows the access.
func smallestRole(a etcdapi.Action, r etcdapi.Range) string {
	wanted := intervalOf(r)
	for _, name := range []string{"monitor", "backup", "kubeadm-healthcheck", "kube-apiserver"} {
		role, _ := lookupRole(name)
		for _, g := range role.grants(nil) {
			if g.actions.has(a) && (!a.Keyed() || within(wanted, g.keys)) {
				return name
			}
		}
	}
	return ""
}

// within reports whether one of the intervals holds all of i.
func within(i interval, any []interval) bool {
	for _, a := range any {
		if a.begin <= i.begin && !endBefore(a.end, i.end) {
			return true
		}
	}
	return false
}
