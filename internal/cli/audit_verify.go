package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/audit/evidence"
)

const auditVerifyHelp = `Check that audit logs are whole: that no event was deleted, changed, put in, moved or
written again, that the end was not cut off, and that nobody was shown another history.

DIR is the log of one member, also while that runs. Several are checked one after the
other, and each is a witness of the others: a member's log holds the signed checkpoints
that it has seen of the others', so whoever owns one node can't rewrite that node's log
without the rest contradicting it. Without DIR it is about the cluster that
"etcdguard up" made.

--key is the verifier key of a log, as the last line of its signer.pub had it when you
wrote it down. Without it, the oldest key in the directory is believed, and whoever can
rewrite a log can replace that: keep the keys somewhere else. A key that took over from
the one you have is accepted if that one introduced it.

--witness is something else that has seen the log: the directory of another member, an
older copy, or a file with what you have exported (events, a line each, or checkpoints).

What the report says is signed is what was written, or the signer's key was stolen and
no witness has seen that far. What has expired cannot be checked, and is said.

Exit codes: 0 it holds; 1 something was found; 2 it could not be looked at, or the
command line cannot be understood.

The names in -o json are stable: version, logs with dir, log, first, size, from, to,
segments, bytes, signed, checkpoints, keys, witnesses, findings (kind, segment, line,
event, last, text), moreFindings, remarks.`

const auditVerifyExample = `  etcdguard audit verify
  etcdguard audit verify /var/lib/etcd/audit --key "$(cat m1.key)"
  etcdguard audit verify m1/audit m2/audit m3/audit
  etcdguard audit verify m1/audit --witness m2/audit --witness exported.jsonl -o json`

func newAuditVerifyCommand() *cobra.Command {
	var output string
	var keys, witnesses []string
	var logs auditLogs
	cmd := &cobra.Command{
		Use: "verify [DIR...]", Short: "whether logs are whole, and who vouches for that",
		Long: auditVerifyHelp, Example: auditVerifyExample,
		RunE: func(cmd *cobra.Command, dirs []string) error {
			found, err := logs.find(dirs)
			if err != nil {
				return badFile{err, wantedDir}
			}
			dirs = nil
			for _, l := range found {
				dirs = append(dirs, l.Dir)
			}
			reports, err := verifyLogs(cmd, dirs, keys, witnesses)
			if err != nil {
				return badFile{err, "etcdguard audit verify --help"}
			}
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"version": 1, "logs": reports})
			} else {
				err = printLogs(cmd.OutOrStdout(), reports)
			}
			if err != nil {
				return err
			}
			return foundIn(reports)
		},
	}
	outputFlag(cmd, &output)
	logs.choose(cmd)
	cmd.Flags().StringArrayVar(&keys, "key", nil, "a log's verifier key, from where you keep it; repeatable")
	cmd.Flags().StringArrayVar(&witnesses, "witness", nil, "a directory or a file that has seen the log; repeatable")
	return cmd
}

func verifyLogs(cmd *cobra.Command, dirs, keys, witnesses []string) (reports []*evidence.Report, err error) {
	for _, dir := range dirs {
		origin, err := evidence.Origin(dir)
		if err != nil {
			return nil, err
		}
		c := evidence.Config{Dir: dir, Keys: keysOf(origin, keys), Witnesses: slices.Clone(witnesses)}
		if len(keys) > 0 && len(c.Keys) == 0 {
			if len(dirs) > 1 {
				return nil, fmt.Errorf("no --key is of the log in %s, %s", dir, origin)
			}
			c.Keys = keys // it is another log than was expected
		}
		for _, other := range dirs {
			if other != dir {
				c.Witnesses = append(c.Witnesses, other)
			}
		}
		bar := newMeter(os.Stderr)
		c.Progress = bar.update
		report, err := evidence.Verify(cmd.Context(), c)
		bar.done()
		if err != nil {
			return nil, err
		}
		reports = append(reports, report)
	}
	return reports, nil
}

// keysOf are the keys that bear the name of a log.
func keysOf(origin string, keys []string) (of []string) {
	for _, key := range keys {
		if strings.HasPrefix(strings.TrimSpace(key), origin+"+") {
			of = append(of, key)
		}
	}
	return of
}

func foundIn(reports []*evidence.Report) error {
	found := int64(0)
	for _, r := range reports {
		found += int64(len(r.Findings)) + r.More
	}
	if found == 0 {
		return nil
	}
	return hinted{fmt.Errorf("verifying the audit log: %d findings", found), "keep a copy of the directory as it is now, and of the other members': it is evidence"}
}

func printLogs(w io.Writer, reports []*evidence.Report) error {
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printLog(w, r); err != nil {
			return err
		}
	}
	return nil
}

// printLog shows a report. What is from the log is not trusted with the terminal.
func printLog(w io.Writer, r *evidence.Report) error {
	verdict := "holds"
	if !r.Holds() {
		verdict = fmt.Sprintf("DOES NOT HOLD: %d findings", int64(len(r.Findings))+r.More)
	}
	fmt.Fprintf(w, "%s: %s\n%s\n\n", printableOnly(r.Dir), verdict, printableOnly(r.Log))
	rows := [][]any{{"VOUCHED FOR BY", "EVENTS", "CHECKPOINTS"}}
	rows = append(rows, []any{"its own key", eventsText(r.First, r.Signed), r.Checkpoints})
	for _, t := range r.Witnesses {
		rows = append(rows, []any{printableOnly(t.Path), eventsText(r.First, t.Seen), t.Checkpoints})
	}
	rows = append(rows, []any{"nobody yet", eventsText(r.Signed, r.Size), "-"})
	if err := table(w, rows...); err != nil {
		return err
	}
	const stamp = "2006-01-02 15:04:05Z"
	fmt.Fprintf(w, "\n%d events, %s in %d segments, %s to %s\n", r.Size-r.First, bytesText(r.Bytes), r.Segments, r.From.Format(stamp), r.To.Format(stamp))
	for _, k := range r.Keys {
		fmt.Fprintf(w, "key %s, %s\n", printableOnly(k.Key), k.Trusted)
	}
	if err := printLogFindings(w, r); err != nil {
		return err
	}
	for _, remark := range r.Remarks {
		fmt.Fprintf(w, "note: %s\n", legible(remark))
	}
	return nil
}

func printLogFindings(w io.Writer, r *evidence.Report) error {
	if r.Holds() {
		return nil
	}
	rows := [][]any{{"FINDING", "EVENT", "SEGMENT", "LINE", "WHAT"}}
	for i, f := range r.Findings {
		if i == maxKeysShown {
			rows = append(rows, []any{fmt.Sprintf("and %d more; -o json has them", int64(len(r.Findings)-i)+r.More), "", "", "", ""})
			break
		}
		rows = append(rows, []any{string(f.Kind), eventsText(f.Event, f.Last+1), orNone(f.Segment), orDash(f.Line), legible(f.Text)})
	}
	fmt.Fprintln(w)
	if err := table(w, rows...); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// eventsText are the events from first to before next.
func eventsText(first, next int64) string {
	switch {
	case next <= first:
		return "-"
	case next == first+1:
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d to %d", first, next-1)
}
