package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/audit/search"
	"github.com/etcdguard/etcdguard/local"
)

const auditStatsHelp = `Count who does what: requests of each caller and action, what was denied and how to
find out why, and with --since what is new: callers, certificates and actions that were
not seen in the record before that time.

Requests that the policy keeps off the record (audit: summary or none) are known by
their numbers alone: they stand in a column of their own, and in keys and bytes. P50 and
P99 are the times to the answer that a half and 99 in 100 requests kept.

` + auditFilters + `

Exit codes: 0 the record was read; 1 it could not be; 2 the command line cannot be
understood.

The names in -o json are stable: from, to, uses with caller, action, requests, denied,
failed, thinned, keys, bytes, p50Micros, p99Micros; denied with caller, action, prefix,
n, last, log, seq, explain; new with since, beforeNanoseconds, callers, serials and
actions (caller, what, first); problems.`

const auditStatsExample = `  etcdguard audit stats
  etcdguard audit stats --since 1d
  etcdguard audit stats --caller team-a --since today -o json`

func newAuditStatsCommand() *cobra.Command {
	var logs auditLogs
	var filters auditQuery
	var output string
	var top int
	cmd := &cobra.Command{
		Use: "stats [DIR...]", Short: "who does what, counted; what was denied; what is new",
		Long: auditStatsHelp, Example: auditStatsExample,
		RunE: func(cmd *cobra.Command, dirs []string) error {
			q, err := filters.query(time.Now())
			if err != nil {
				return err
			}
			record, done, err := logs.open(dirs)
			if err != nil {
				return err
			}
			stats, err := record.Stats(cmd.Context(), q)
			done()
			if err != nil {
				return unreadable(err)
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), statsJSON(stats))
			}
			return printStats(cmd.OutOrStdout(), stats, top)
		},
	}
	logs.flags(cmd)
	filters.flags(cmd)
	outputFlag(cmd, &output)
	cmd.Flags().IntVar(&top, "top", 20, "how many lines of each table at most; 0: all")
	return cmd
}

// explained is a denial with the command that says why.
type explained struct {
	search.Denial
	Explain string `json:"explain,omitempty"`
}

func statsJSON(s search.Stats) any {
	denied := []explained{}
	for _, d := range s.Denied {
		denied = append(denied, explained{d, explainCommand(d.Example)})
	}
	return struct {
		search.Stats
		Denied []explained `json:"denied"`
	}{s, denied}
}

func printStats(w io.Writer, s search.Stats, top int) error {
	if top <= 0 {
		top = 1 << 30
	}
	rows := [][]any{{"CALLER", "ACTION", "REQUESTS", "DENIED", "FAILED", "OFF RECORD", "KEYS", "BYTES", "P50", "P99"}}
	for _, u := range s.Uses[:min(top, len(s.Uses))] {
		rows = append(rows, []any{quoted(orNone(u.Caller)), quoted(orNone(u.Action)), u.Requests, orDash(u.Denied), orDash(u.Failed), orDash(u.Thinned),
			orDash(u.Keys), orDash(u.Bytes), took(u.P50), took(u.P99)})
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	if more := len(s.Uses) - top; more > 0 {
		fmt.Fprintf(w, "and %d more; --top 0 shows all\n", more)
	}
	if err := printDenials(w, s.Denied, top); err != nil {
		return err
	}
	if err := printNews(w, s.News, top); err != nil {
		return err
	}
	for _, problem := range s.Problems {
		fmt.Fprintf(w, "\nwarning: %s; etcdguard audit verify says more\n", legible(problem))
	}
	return nil
}

func printDenials(w io.Writer, denied []search.Denial, top int) error {
	if len(denied) == 0 {
		fmt.Fprintln(w, "\nnothing was denied")
		return nil
	}
	fmt.Fprintln(w)
	rows := [][]any{{"DENIED", "CALLER", "ACTION", "KEYS", "LAST"}}
	for _, d := range denied[:min(top, len(denied))] {
		rows = append(rows, []any{d.N, quoted(orNone(d.Caller)), quoted(orNone(d.Action)), quoted(orNone(d.Prefix)), d.Last.Local().Format(time.DateTime)})
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	if more := len(denied) - top; more > 0 {
		fmt.Fprintf(w, "and %d more; --top 0 shows all\n", more)
	}
	const mostCommands = 3
	var commands []string
	for _, d := range denied {
		if command := explainCommand(d.Example); command != "" && len(commands) < mostCommands {
			commands = append(commands, "  "+command)
		}
	}
	if len(commands) > 0 {
		fmt.Fprintf(w, "\nwhy, and what would allow it:\n%s\n", strings.Join(commands, "\n"))
	}
	return nil
}

// explainCommand is the command that says why an event was denied, "" if none can.
func explainCommand(e *search.Event) string {
	if e == nil || e.Action == "" || e.Caller == nil {
		return ""
	}
	as := callerText(e.Caller)
	do := e.Action
	for i := range e.Access {
		a := &e.Access[i]
		if keys, keyed := a.Reach(); keyed {
			do = a.Action + " " + accessText(keys, a.End == nil && a.End64 == nil)
			break
		}
	}
	return fmt.Sprintf("etcdguard policy explain --policy POLICY --as %s --do %s", local.ShellQuote(as), local.ShellQuote(do))
}

// callerText is a caller as policy explain --as reads it.
func callerText(c *search.Caller) string {
	var parts []string
	add := func(field string, values ...string) {
		for _, v := range values {
			if v != "" {
				parts = append(parts, field+"="+asValue(v, ", \""))
			}
		}
	}
	add("cn", c.CN)
	add("o", c.O...)
	add("dns", c.DNS...)
	add("ip", c.IP...)
	add("uri", c.URI...)
	if len(parts) == 0 {
		add("publicKeySHA256", c.PublicKeySHA256)
	}
	if len(parts) == 0 {
		return "anonymous"
	}
	return strings.Join(parts, ",")
}

// accessText is a range as policy explain --do reads it.
func accessText(k search.Keys, one bool) string {
	begin := asValue(string(k.Begin), " \"")
	switch {
	case one:
		return "key:" + begin
	case k.End == nil && len(k.Begin) <= 1 && strings.Trim(string(k.Begin), "\x00\x01") == "":
		return "all"
	case k.End == nil:
		return "from:" + begin
	case string(search.Prefix(k.Begin).End) == string(k.End):
		return "prefix:" + begin
	}
	return "from:" + begin + " to:" + asValue(string(k.End), " \"")
}

// asValue is a value, in quotes if there is one of these in it, or what can't be read.
func asValue(s, special string) string {
	if strings.ContainsAny(s, special) || s == "" || quoted(s) != s {
		return fmt.Sprintf("%q", s)
	}
	return s
}

func printNews(w io.Writer, n *search.News, top int) error {
	if n == nil {
		return nil
	}
	since := n.Since.Local().Format(time.DateTime)
	if n.Before == 0 {
		fmt.Fprintf(w, "\nthe record does not go back beyond %s: what is new since then it can't say\n", since)
		return nil
	}
	var rows [][]any
	for _, group := range []struct {
		what string
		seen []search.Seen
	}{{"caller", n.Callers}, {"serial", n.Serials}, {"action", n.Actions}} {
		for _, s := range group.seen[:min(top, len(group.seen))] {
			rows = append(rows, []any{group.what, quoted(orNone(s.Caller)), quoted(orNone(s.What)), s.First.Local().Format(time.DateTime)})
		}
	}
	if len(rows) == 0 {
		fmt.Fprintf(w, "\nno caller, certificate or action is new since %s, against %s before it\n", since, n.Before.Round(time.Second))
		return nil
	}
	fmt.Fprintf(w, "\nnew since %s, against %s before it:\n", since, n.Before.Round(time.Second))
	return table(w, append([][]any{{"NEW", "CALLER", "WHAT", "FIRST SEEN"}}, rows...)...)
}
