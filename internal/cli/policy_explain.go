package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/policy"
)

const policyExplainHelp = `Ask a policy what it says of one access, which rule decides, and why the other
rules that name the caller do not.

--as says who:
  CERT.pem                       a certificate file; whether it is trusted is not looked at
  "cn=NAME,o=GROUP,uri=…"        what a certificate would say, any of cn, o, dns, ip, uri,
                                 publicKeySHA256, each as often as needed; a value with a
                                 comma goes in double quotes
  anonymous                      nobody: no certificate

--do says what, an action as policies name it, and for actions on keys which keys:
  "KV.Put key:foo"               one key
  "KV.Range prefix:/registry/"   all keys that begin so
  "KV.Range from:a to:b"         from a up to, and without, b
  "Watch.Watch from:a"           everything from a on
  "KV.Range all"                 every key
  Maintenance.Snapshot           an action without keys
A key with a space or bytes that are not text goes in double quotes with the
escapes of Go: key:"\xff".

A Txn is several accesses: ask for each of its parts (KV.Txn:Put, KV.Txn:Range,
KV.Txn:DeleteRange, KV.Txn:Compare).

Exit codes: 0 allowed (also where it is only observed), 1 denied, 2 the command
line or the policy cannot be understood.

The names in -o json are stable: caller, knownAs, matches, action, range, allowed,
observed, rule, file, line, reason, others, otherRules, nearMisses, suggestion.`

const policyExplainExample = `  etcdguard policy explain --policy policy.yaml --as client.crt --do "KV.Range prefix:/registry/secrets/"
  etcdguard policy explain --policy policy.yaml --as "cn=etcdguard-backup" --do Maintenance.Snapshot`

func newPolicyExplainCommand() *cobra.Command {
	var file, as, do, output string
	cmd := &cobra.Command{
		Use: "explain --policy FILE --as CALLER --do ACTION", Short: "which rule decides an access, and why",
		Long: policyExplainHelp, Example: policyExplainExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("reading the command line: %q is too much; an action and its keys are one argument", args[0]),
					`put quotes around it: --do "KV.Range prefix:/a/"`}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" || as == "" || do == "" {
				return usageError{errors.New("reading the command line: --policy, --as and --do are all needed"), cmd.CommandPath() + " --help"}
			}
			caller, err := parseCaller(as, os.ReadFile)
			if err != nil {
				return err
			}
			action, keys, err := parseAccess(do)
			if err != nil {
				return err
			}
			p, err := policy.Load(file)
			if err != nil {
				return reportInvalid(cmd, file, "table", err)
			}
			e := p.Explain(caller, action, keys)
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), e)
			} else {
				err = printExplanation(cmd.OutOrStdout(), e)
			}
			if err == nil && !e.Allowed {
				return silent{}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&file, "policy", "", "the policy file")
	cmd.Flags().StringVar(&as, "as", "", "who: a certificate file, \"cn=…,o=…\", or anonymous")
	cmd.Flags().StringVar(&do, "do", "", "what: an action, and the keys if it has any")
	outputFlag(cmd, &output)
	return cmd
}

func printExplanation(w io.Writer, e policy.Explanation) error {
	verdict := "denied"
	switch {
	case e.Observed:
		verdict = "allowed, but only observed"
	case e.Allowed:
		verdict = "allowed"
	}
	rule := orNone(e.Rule)
	if e.Line > 0 {
		rule = fmt.Sprintf("%s (%s:%d)", e.Rule, e.File, e.Line)
	}
	fmt.Fprintf(w, "%s\n\n", verdict)
	if err := table(w,
		[]any{"caller", fmt.Sprintf("%s, known to the policy as %s", e.Caller, e.KnownAs)},
		[]any{"action", e.Action},
		[]any{"keys", orNone(e.Range)},
		[]any{"rule", rule},
		[]any{"reason", e.Reason},
	); err != nil {
		return err
	}
	for _, miss := range e.NearMisses {
		fmt.Fprintf(w, "near    %s\n", miss)
	}
	if len(e.Others) > 0 {
		fmt.Fprintf(w, "\nother rules that name this caller:\n")
		rows := [][]any{{"  RULE", "LINE", "WHY IT DOES NOT DECIDE"}}
		for _, o := range e.Others {
			rows = append(rows, []any{"  " + o.Rule, o.Line, o.Reason})
		}
		if more := e.OtherRules - len(e.Others); more > 0 {
			rows = append(rows, []any{fmt.Sprintf("  and %d more", more), "", ""})
		}
		if err := table(w, rows...); err != nil {
			return err
		}
	}
	if e.Suggestion != "" {
		fmt.Fprintf(w, "\nfix: %s\n", e.Suggestion)
	}
	return nil
}
