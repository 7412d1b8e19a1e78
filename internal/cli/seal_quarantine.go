package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/local"
)

const sealQuarantineHelp = `Find values that do not open, and get them out of the way. A value that was altered,
moved to another key, sealed under another ring or a data key that is gone, or that
is plaintext in phase strict, fails every request that needs it, by name.

  list     every such value, and what is in quarantine
  move     keep its bytes under etcdguard's own keys, and delete the key
  drop     delete it, or delete it from quarantine
  restore  put it back at its key, once it opens again: after the missing data key
           was brought back with etcdguard ring import

Each names the value by its key and mod revision, as "list" shows them, and does
nothing to a value that was written since, or that opens. A key in double quotes
is read with Go's escapes, so that any byte can be written. No value is shown.`

func newSealQuarantineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "quarantine", Short: "values that do not open: list, move, drop, restore", Long: sealQuarantineHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), cmd.CommandPath() + " --help"}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newQuarantineListCommand(),
		newQuarantineChangeCommand("move", "keep the bytes apart, and delete the key"),
		newQuarantineChangeCommand("drop", "delete the value, or delete it from quarantine"),
		newQuarantineChangeCommand("restore", "put a value back at its key"))
	return cmd
}

func newQuarantineListCommand() *cobra.Command {
	var a *admin
	var output string
	cmd := &cobra.Command{
		Use: "list", Short: "values that do not open, and those in quarantine", Args: cobra.NoArgs,
		Long: "List values that do not open, with the reason, and values in quarantine.\n\nThe names in -o json are stable: unopenable and quarantined, with key (base64) and modRevision; more.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			var list control.QuarantineList
			if err := a.do(cmd.Context(), etcdapi.SealQuarantine, control.QuarantineRequest{Action: "list"}, &list); err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printQuarantine(cmd.OutOrStdout(), list, a.flags)
		},
	}
	a = adminFlags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

func printQuarantine(w io.Writer, list control.QuarantineList, flags string) error {
	if len(list.Unopenable) == 0 {
		fmt.Fprintln(w, "every value opens")
	}
	rows := [][]any{{"KEY", "MOD REVISION", "WHY"}}
	for _, p := range list.Unopenable {
		rows = append(rows, []any{strconv.Quote(string(p.Key)), p.ModRevision, p.Reason})
	}
	for _, q := range list.Quarantined {
		rows = append(rows, []any{strconv.Quote(string(q.Key)), q.ModRevision, fmt.Sprintf("in quarantine, %d bytes", q.Bytes)})
	}
	if len(rows) == 1 {
		return nil
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	if list.More > 0 {
		fmt.Fprintf(w, "and %d more\n", list.More)
	}
	if len(list.Unopenable) > 0 {
		p := list.Unopenable[0]
		fmt.Fprintf(w, "next: etcdguard seal quarantine move %s %d%s\n", local.ShellQuote(strconv.Quote(string(p.Key))), p.ModRevision, flags)
	}
	return nil
}

func newQuarantineChangeCommand(action, short string) *cobra.Command {
	var a *admin
	cmd := &cobra.Command{
		Use: action + " KEY MODREVISION", Short: short, Long: sealQuarantineHelp,
		Example: fmt.Sprintf("  etcdguard seal quarantine %s /registry/secrets/default/a 1234", action),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{fmt.Errorf("%s wants a key and its mod revision, and got %d arguments", cmd.CommandPath(), len(args)), "etcdguard seal quarantine list shows them"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := keyArgument(args[0])
			if err != nil {
				return usageError{err, cmd.CommandPath() + " --help"}
			}
			revision, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || revision <= 0 {
				return usageError{fmt.Errorf("%q is no mod revision", args[1]), "etcdguard seal quarantine list shows them"}
			}
			if err := a.connect(cmd); err != nil {
				return err
			}
			if err := a.do(cmd.Context(), etcdapi.SealQuarantine, control.QuarantineRequest{Action: action, Key: key, ModRevision: revision}, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "done: %s %q\nnext: etcdguard seal quarantine list%s\n", action, key, a.flags)
			return nil
		},
	}
	a = adminFlags(cmd)
	return cmd
}

func keyArgument(text string) ([]byte, error) {
	if !strings.HasPrefix(text, `"`) {
		return []byte(text), nil
	}
	key, err := strconv.Unquote(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no key in double quotes", text)
	}
	return []byte(key), nil
}
