package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/audit/search"
)

const auditSearchHelp = `Find out who did what, in the audit logs in these directories; without any, in those of
the cluster that "etcdguard up" made. Of several logs the rows stand by their times.

A write is one row: when it was let through, and how it was answered. If it has no
answer on record that is said; Lost is one whose process ended before it could answer.

` + auditFilters + `

The newest 100 are shown, newest first. -o json prints the events as they are on record,
one a line, a write as two; of several logs each with its name: {"log":…,"event":…}.

An index is kept beside each segment that is complete (or in your cache directory, if
that can't be written), so that the next search is fast. Every row is read from the
segment itself and compared with what was asked: an index that somebody changed can hide
rows, and not invent any. --no-index reads everything, and etcdguard audit verify says
whether the segments are what was written.

Exit codes: 0 the record was read, whether or not there was anything in it; 1 it could
not be; 2 the command line cannot be understood.`

const auditSearchExample = `  etcdguard audit search --denied --since today
  etcdguard audit search --prefix /registry/secrets/ --action KV.Txn:Put --action KV.Put --since 1h
  etcdguard audit search --caller serial=4711 --oldest --limit 0 -o json
  etcdguard audit search /var/lib/etcd/audit --failed --action "Auth.*"`

func newAuditSearchCommand() *cobra.Command {
	var logs auditLogs
	var filters auditQuery
	var output string
	var raw, utc bool
	page := search.Page{}
	cmd := &cobra.Command{
		Use: "search [DIR...]", Short: "find out who did what",
		Long: auditSearchHelp, Example: auditSearchExample,
		RunE: func(cmd *cobra.Command, dirs []string) error {
			q, err := filters.query(time.Now())
			if err != nil {
				return err
			}
			if page.Limit < 0 {
				return misread("--limit", "--limit 0 shows all", "%d is less than nothing", page.Limit)
			}
			record, done, err := logs.open(dirs)
			if err != nil {
				return err
			}
			p := newAuditPrinter(cmd.OutOrStdout())
			p.json, p.raw, p.utc, p.logs = output == "json", raw, utc, len(record.Logs) > 1
			shown := 0
			found, err := record.Find(cmd.Context(), q, page, func(row *search.Row) error {
				if shown == 0 {
					done()
				}
				shown++
				return p.row(row)
			})
			done()
			if err != nil {
				return unreadable(err)
			}
			if err := p.flush(); err != nil {
				return err
			}
			for _, problem := range found.Problems {
				fmt.Fprintf(cmd.ErrOrStderr(), "etcdguard: warning: %s; etcdguard audit verify says more\n", legible(problem))
			}
			if found.Rows > shown {
				fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d; --limit 0 shows all\n", shown, found.Rows)
			} else if shown == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "nothing of the kind is on record")
			}
			return nil
		},
	}
	logs.flags(cmd)
	filters.flags(cmd)
	outputFlag(cmd, &output)
	f := cmd.Flags()
	f.IntVarP(&page.Limit, "limit", "n", 100, "how many rows at most; 0: all")
	f.BoolVar(&page.OldestFirst, "oldest", false, "oldest first")
	f.BoolVar(&raw, "raw", false, "intents and outcomes in rows of their own")
	f.BoolVar(&utc, "utc", false, "times in UTC (default: local)")
	return cmd
}
