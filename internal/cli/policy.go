package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/policy"
)

const policyHelp = `Check a policy, and ask it who may do what and why.

Both verbs read the file alone: no member needs to run, and nothing changes.`

const policyCheckHelp = `Read a policy as a member would, and report every mistake in it with its line,
its field and the fix. If there is none, show what each caller may do, and what
is allowed to be so but worth a look: rules that change nothing, grants that hold
every key, snapshots, callers without a certificate.

Exit codes: 0 the policy is valid (warnings or not), 2 it is not, or cannot be read.

The names in -o json are stable: valid; then problems with file, line, field,
message, fix, or policy with file, sha256, enforces, rules, callers, warnings.`

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", Short: "who may do what: check a policy, explain a decision", Long: policyHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), cmd.CommandPath() + " --help"}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newPolicyCheckCommand(), newPolicyExplainCommand())
	return cmd
}

func newPolicyCheckCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "check FILE", Short: "report every mistake in a policy, or what it allows",
		Long: policyCheckHelp, Example: "  etcdguard policy check policy.yaml\n  etcdguard policy check policy.yaml -o json",
		Args: oneArgument("the policy file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := policy.Load(args[0])
			if err != nil {
				return reportInvalid(cmd, args[0], output, err)
			}
			review := p.Review()
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]any{"valid": true, "policy": review})
			}
			return printReview(cmd.OutOrStdout(), review)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s wants one argument, %s, and got %d", cmd.CommandPath(), what, len(args)), cmd.CommandPath() + " --help"}
		}
		return nil
	}
}

// badPolicy is a policy that is not valid or cannot be read.
type badPolicy struct {
	error
	hint string
}

func (e badPolicy) ExitCode() int { return 2 }
func (e badPolicy) Hint() string  { return e.hint }
func (e badPolicy) Unwrap() error { return e.error }

// reportInvalid prints each mistake as a line that editors understand.
func reportInvalid(cmd *cobra.Command, file, output string, err error) error {
	problems := policy.Problems(err)
	if len(problems) == 0 {
		return badPolicy{err, ""}
	}
	if output == "json" {
		if err := printJSON(cmd.OutOrStdout(), map[string]any{"valid": false, "problems": problems}); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(cmd.ErrOrStderr(), p)
		}
	}
	again := "correct it; a member that runs keeps the policy it has until the file is valid"
	if len(problems) == 1 {
		return badPolicy{fmt.Errorf("%s has a mistake", file), again}
	}
	return badPolicy{fmt.Errorf("%s has %d mistakes", file, len(problems)), again}
}

func printReview(w io.Writer, r policy.Review) error {
	does := "denies what no rule allows"
	if !r.Enforces {
		does = "only observes"
	}
	fmt.Fprintf(w, "%s is valid: %d callers, %d rules, %s\nsha256 %s\n\n", r.File, len(r.Callers), r.Rules, does, r.Digest)
	rows := [][]any{{"CALLER", "LIMITS", "RULE", "MAY", "ON KEYS"}}
	for i, c := range r.Callers {
		if i == maxCallersShown {
			rows = append(rows, []any{fmt.Sprintf("and %d more", len(r.Callers)-i), "", "", "", ""})
			break
		}
		rows = append(rows, callerRows(c)...)
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	if len(r.Warnings) > 0 {
		fmt.Fprintf(w, "\nworth a look:\n")
	}
	for i, warning := range r.Warnings {
		if i == maxWarningsShown {
			fmt.Fprintf(w, "  and %d more; -o json has all\n", len(r.Warnings)-i)
			break
		}
		if warning.Line > 0 {
			fmt.Fprintf(w, "  line %d: %s\n", warning.Line, warning.Message)
		} else {
			fmt.Fprintf(w, "  %s\n", warning.Message)
		}
	}
	as := "anonymous"
	if len(r.Callers) > 0 {
		as = "CERT.pem"
	}
	_, err := fmt.Fprintf(w, "\nnext: etcdguard policy explain --policy %s --as %s --do \"KV.Range prefix:/registry/secrets/\"\n", r.File, as)
	return err
}

// A table is for people; -o json has everything.
const (
	maxCallersShown  = 100
	maxWarningsShown = 50
)

func callerRows(c policy.CallerReview) (rows [][]any) {
	name, limits := c.Name, limitsText(c.Limits)
	if len(c.Grants) == 0 {
		return [][]any{{name, limits, "-", "nothing", "-"}}
	}
	for _, g := range c.Grants {
		may, keys := g.Actions, g.Keys
		if g.Observes {
			may += " (observed)"
		}
		if keys == "" {
			keys = "-"
		}
		rows = append(rows, []any{name, limits, g.Rule, may, keys})
		name, limits = "", "" // once
	}
	if c.More > 0 {
		rows = append(rows, []any{"", "", fmt.Sprintf("and %d more", c.More), "", ""})
	}
	return rows
}

func limitsText(l policy.Limits) string {
	var all []string
	add := func(name string, value int64) {
		if value > 0 {
			all = append(all, name+"="+strconv.FormatInt(value, 10))
		}
	}
	add("keysPerRange", l.KeysPerRange)
	add("valueBytes", l.ValueBytes)
	add("watchers", int64(l.Watchers))
	add("inFlight", int64(l.InFlight))
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, " ")
}
