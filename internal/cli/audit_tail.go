package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/audit/search"
)

const auditTailHelp = `Show the last of the record, and what comes, until Ctrl-C. On a terminal what was
denied is red and what administers is yellow; NO_COLOR turns that off.

A request comes when it was answered. One that was not for a second comes as "no answer
yet", and once more when it is.

` + auditFilters + `

Exit codes: 0 it was read to the end, or you ended it; 1 it could not be read; 2 the
command line cannot be understood.`

const auditTailExample = `  etcdguard audit tail
  etcdguard audit tail --denied
  etcdguard audit tail --member m1 --caller kube-apiserver --prefix /registry/secrets/
  etcdguard audit tail /var/lib/etcd/audit -n 1000 --no-follow -o json`

func newAuditTailCommand() *cobra.Command {
	var logs auditLogs
	var filters auditQuery
	var output string
	var raw, utc, noFollow bool
	var last int
	cmd := &cobra.Command{
		Use: "tail [DIR...]", Short: "the last of the record, and what comes",
		Long: auditTailHelp, Example: auditTailExample,
		RunE: func(cmd *cobra.Command, dirs []string) error {
			q, err := filters.query(time.Now())
			if err != nil {
				return err
			}
			if last < 0 {
				return misread("--lines", "--lines 0 shows only what comes", "%d is less than nothing", last)
			}
			record, done, err := logs.open(dirs)
			if err != nil {
				return err
			}
			p := newAuditPrinter(cmd.OutOrStdout())
			p.json, p.raw, p.utc, p.logs = output == "json", raw, utc, len(record.Logs) > 1
			var rows []*search.Row
			page := search.Page{Limit: max(last, 1)}
			found, err := record.Find(cmd.Context(), q, page, func(row *search.Row) error { rows = append(rows, row); return nil })
			done()
			if err != nil {
				return unreadable(err)
			}
			slices.Reverse(rows)
			for _, row := range rows[:min(last, len(rows))] {
				if err := p.row(row); err != nil {
					return err
				}
			}
			if err := p.flush(); err != nil || noFollow {
				return err
			}
			if len(rows) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "nothing of the kind is on record yet; waiting")
			}
			return unreadable(record.Follow(cmd.Context(), found, q, func(row *search.Row) error {
				if err := p.row(row); err != nil {
					return err
				}
				return p.flush()
			}))
		},
	}
	logs.flags(cmd)
	filters.flags(cmd)
	outputFlag(cmd, &output)
	f := cmd.Flags()
	f.IntVarP(&last, "lines", "n", 10, "how many rows to begin with")
	f.BoolVar(&noFollow, "no-follow", false, "end where the record does")
	f.BoolVar(&raw, "raw", false, "intents and outcomes in rows of their own")
	f.BoolVar(&utc, "utc", false, "times in UTC (default: local)")
	return cmd
}
