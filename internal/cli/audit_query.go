package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/audit/search"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/policy"
)

const auditFilters = `What is asked for, all of it together; of a flag that is repeated, any:
  --caller backup            who: the policy's name, or what the certificate says: its cn,
  --caller cn=backup         o, dns, ip, uri, serial or publicKeySHA256; whole, not a part
  --action KV.Put            what, as policies name it; "KV.*" is a whole service
  --key /a/b, --prefix /a/   reaching a key: also as part of a range. A key with bytes that
                             are not text goes in double quotes with Go's escapes: '"\xff"'
  --denied, --failed         the guard said no; or it let it through, and it failed
  --decision, --code         how exactly: observed, limited; Unavailable, Lost
  --since, --until           2026-11-28T18:00:00Z, "2026-11-28 18:00" (local time), today,
                             yesterday, or how long ago: 90s, 1h, 7d
  --rev 4711, --rev 47..99   the revision in the answer; --seq likewise: number of the event
  --kind, --caller-peer      of event; the address that the request came from

A request for more keys than the record has room for is found by any key.`

var (
	auditKinds     = []string{"intent", "outcome", "access", "denied", "watch", "stream", "handshake", "summary", "system", "checkpoint", "witness", "signer", "gap"}
	auditDecisions = []string{"allowed", "observed", "denied", "refused", "limited", "postponed"}
)

// auditQuery are the flags that say what to look for.
type auditQuery struct {
	callers, actions, kinds, decisions, codes []string
	peer, key, prefix                         string
	denied, failed                            bool
	since, until, rev, seq                    string
}

func (a *auditQuery) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&a.callers, "caller", nil, "who: a name, or FIELD=VALUE")
	f.StringVar(&a.peer, "caller-peer", "", "from which address, with or without a port")
	f.StringArrayVar(&a.actions, "action", nil, "what: an action, or all of a service: \"KV.*\"")
	f.StringVar(&a.key, "key", "", "reaching this key")
	f.StringVar(&a.prefix, "prefix", "", "reaching a key that begins so")
	f.StringSliceVar(&a.kinds, "kind", nil, "kind of event: "+strings.Join(auditKinds, ", "))
	f.StringSliceVar(&a.decisions, "decision", nil, "what the guard said: "+strings.Join(auditDecisions, ", "))
	f.StringSliceVar(&a.codes, "code", nil, "how it was answered: gRPC's name of the status, or Lost")
	f.BoolVar(&a.denied, "denied", false, "what the guard did not let through")
	f.BoolVar(&a.failed, "failed", false, "what was let through, and failed or has no answer for good")
	f.StringVar(&a.since, "since", "", "from this time on, or not longer ago than this")
	f.StringVar(&a.until, "until", "", "before this time")
	f.StringVar(&a.rev, "rev", "", "revision in the answer: N or FROM..TO")
	f.StringVar(&a.seq, "seq", "", "number of the event: N or FROM..TO")
}

// query reads the flags.
func (a *auditQuery) query(now time.Time) (q search.Query, err error) {
	q = search.Query{Peer: a.peer, Actions: a.actions, Kinds: a.kinds, Decisions: a.decisions, Codes: a.codes, Denied: a.denied, Failed: a.failed}
	for _, c := range a.callers {
		who := search.CallerIs{Value: c}
		if field, value, ok := strings.Cut(c, "="); ok && slices.Contains(search.CallerFields, field) {
			who = search.CallerIs{Field: field, Value: value}
		}
		if who.Value == "" {
			return q, misread("--caller", "--caller backup or --caller cn=backup", "%q names nobody", c)
		}
		q.Callers = append(q.Callers, who)
	}
	for _, action := range a.actions {
		if action != "*" && len(etcdapi.MatchActions(action)) == 0 {
			return q, misread("--action", policy.SuggestAction(action), "%q is not an action", action)
		}
	}
	for flag, list := range map[string]struct{ given, known []string }{"--kind": {a.kinds, auditKinds}, "--decision": {a.decisions, auditDecisions}} {
		for _, v := range list.given {
			if !slices.Contains(list.known, v) {
				return q, misread(flag, "one of "+strings.Join(list.known, ", "), "%q is none", v)
			}
		}
	}
	if err := a.keys(&q); err != nil {
		return q, err
	}
	if addr, err := netip.ParseAddr(a.peer); err == nil {
		q.Peer = addr.Unmap().WithZone("").String()
	} else if _, err := netip.ParseAddrPort(a.peer); err != nil && a.peer != "" {
		return q, misread("--caller-peer", "write 10.0.0.1 or 10.0.0.1:2379", "%q is not an address", a.peer)
	}
	if q.Since, err = auditTime("--since", a.since, now); err != nil {
		return q, err
	}
	if q.Until, err = auditTime("--until", a.until, now); err != nil {
		return q, err
	}
	if q.Revisions, err = auditSpan("--rev", a.rev); err != nil {
		return q, err
	}
	q.Seqs, err = auditSpan("--seq", a.seq)
	return q, err
}

func (a *auditQuery) keys(q *search.Query) error {
	if a.key != "" && a.prefix != "" {
		return misread("--key and --prefix", "give one of them", "they exclude each other")
	}
	for flag, make := range map[string]func([]byte) search.Keys{a.key: search.OneKey, a.prefix: search.Prefix} {
		if flag == "" {
			continue
		}
		key, rest, err := cutValue(flag, "\x00")
		if err != nil || rest != "" || key == "" {
			return misread("--key", `a key with bytes that are not text: --key '"\xff"'`, "%s can't be read", flag)
		}
		keys := make([]byte(key))
		q.Keys = &keys
	}
	return nil
}

// auditSpan reads N or FROM..TO, where either may be left out.
func auditSpan(flag, text string) (*search.Span, error) {
	if text == "" {
		return nil, nil
	}
	from, to, several := strings.Cut(text, "..")
	if !several {
		to = from
	}
	s := &search.Span{From: 0, To: 1<<63 - 1}
	for _, end := range []struct {
		text string
		to   *int64
	}{{from, &s.From}, {to, &s.To}} {
		if end.text == "" && several {
			continue
		}
		n, err := strconv.ParseInt(end.text, 10, 64)
		if err != nil || n < 0 {
			return nil, misread(flag, flag+" 4711 or "+flag+" 4711..4720", "%q is not a number or two", text)
		}
		*end.to = n
	}
	if s.From > s.To {
		return nil, misread(flag, flag+" "+to+".."+from, "%s ends before it begins", text)
	}
	return s, nil
}

// auditTime reads a time as people say it.
func auditTime(flag, text string, now time.Time) (time.Time, error) {
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch text {
	case "":
		return time.Time{}, nil
	case "today":
		return today, nil
	case "yesterday":
		return today.AddDate(0, 0, -1), nil
	}
	ago := strings.TrimSpace(strings.TrimSuffix(text, "ago"))
	if days, ok := strings.CutSuffix(ago, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, misread(flag, fmt.Sprintf("%s 1h, %[1]s today, %[1]s \"%s\" or %[1]s %s", flag,
		now.Format("2006-01-02 15:04"), now.UTC().Format(time.RFC3339)), "%q is not a time", text)
}
