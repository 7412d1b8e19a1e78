package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/seal"
)

const sealBackupsHelp = `Declare which backups exist, so that no data key is removed that one of them needs.
A backup holds values as they were sealed, for as long as it exists.

A backup that has an end needs nothing any more after that day. Without --keys it
needs every data key that the ring has now.`

func newSealBackupsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backups", Short: "declare backups that need data keys", Long: sealBackupsHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), cmd.CommandPath() + " --help"}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newBackupsListCommand(), newBackupsAddCommand(), newBackupsForgetCommand())
	return cmd
}

func newBackupsListCommand() *cobra.Command {
	var a *admin
	var output string
	cmd := &cobra.Command{
		Use: "list", Short: "the declared backups", Args: cobra.NoArgs,
		Long: "List the declared backups.\n\nThe names in -o json are stable: name, added, until, keys.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			var list []control.Backup
			if err := a.do(cmd.Context(), etcdapi.SealBackups, control.BackupsRequest{Action: "list"}, &list); err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), list)
			}
			rows := [][]any{{"BACKUP", "ADDED", "UNTIL", "DATA KEYS"}}
			for _, b := range list {
				until := "it is forgotten"
				if !b.Until.IsZero() {
					until = b.Until.Format(time.DateOnly)
				}
				rows = append(rows, []any{b.Name, b.Added.Format(time.DateOnly), until, strings.Trim(fmt.Sprint(b.Keys), "[]")})
			}
			return table(cmd.OutOrStdout(), rows...)
		},
	}
	a = adminFlags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

func newBackupsAddCommand() *cobra.Command {
	var a *admin
	var until string
	var keys []uint
	cmd := &cobra.Command{
		Use: "add NAME", Short: "declare a backup", Long: sealBackupsHelp, Args: oneArgument("a name for the backup"),
		Example: "  etcdguard seal backups add nightly-2026-11-24 --until 2027-02-24",
		RunE: func(cmd *cobra.Command, args []string) error {
			request := control.BackupsRequest{Action: "add", Name: args[0]}
			if until != "" {
				day, err := time.Parse(time.DateOnly, until)
				if err != nil {
					return usageError{fmt.Errorf("reading --until %q: it is no day", until), "--until 2027-02-24, for example"}
				}
				request.Until = day.AddDate(0, 0, 1) // the day included
			}
			for _, k := range keys {
				request.Keys = append(request.Keys, seal.KeyNumber(k))
			}
			if err := a.connect(cmd); err != nil {
				return err
			}
			var b control.Backup
			if err := a.do(cmd.Context(), etcdapi.SealBackups, request, &b); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s needs data keys %s\n", b.Name, strings.Trim(fmt.Sprint(b.Keys), "[]"))
			return nil
		},
	}
	a = adminFlags(cmd)
	cmd.Flags().StringVar(&until, "until", "", "the last day that it exists, as 2027-02-24 (default: until it is forgotten)")
	cmd.Flags().UintSliceVar(&keys, "keys", nil, "numbers of the data keys that it needs (default: all that the ring has)")
	return cmd
}

func newBackupsForgetCommand() *cobra.Command {
	var a *admin
	cmd := &cobra.Command{
		Use: "forget NAME", Short: "say that a backup is destroyed", Long: sealBackupsHelp, Args: oneArgument("the name of the backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			if err := a.do(cmd.Context(), etcdapi.SealBackups, control.BackupsRequest{Action: "forget", Name: args[0]}, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is forgotten\n", args[0])
			return nil
		},
	}
	a = adminFlags(cmd)
	return cmd
}
