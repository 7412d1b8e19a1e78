package cli

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

const sealResealHelp = `Rewrite stored values in the form that the phase in force wants: sealed under the
active data key in sealing and strict, in plaintext in can-open.

Each value is replaced by itself in the other form, if nobody wrote it meanwhile,
with the lease that it has. That is one revision for each, and one event to each
watcher of its key; clients that hold an old mod revision see a conflict once. It
goes slower where clients would notice: they keep nine tenths of their throughput.

Stopped anywhere, run again, it goes on. It refuses to bring the database near its
quota; --dry-run shows what it would cost.`

func newSealResealCommand() *cobra.Command {
	var a *admin
	var r control.ResealRequest
	cmd := &cobra.Command{
		Use: "reseal", Short: "rewrite stored values in the form of the phase", Long: sealResealHelp, Args: cobra.NoArgs,
		Example: "  etcdguard seal reseal --dry-run\n  etcdguard seal reseal --prefix /registry/secrets/\n  etcdguard seal reseal --to-plaintext",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			var result reseal.Result
			err := a.do(cmd.Context(), etcdapi.SealReseal, r, &result)
			if result.Revision > 0 && !r.DryRun {
				fmt.Fprintf(cmd.OutOrStdout(), "%d values rewritten, %d more by others meanwhile, %d can't be\n", result.Rewritten, result.Raced, result.Problems)
				printProblems(cmd.OutOrStdout(), result.First)
			}
			if err == nil && !r.DryRun {
				fmt.Fprintf(cmd.OutOrStdout(), "next: etcdguard seal status%s\n", a.flags)
			}
			return err
		},
	}
	a = adminFlags(cmd)
	cmd.Flags().StringVar(&r.Prefix, "prefix", "", "only keys that begin so (default: all)")
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "say what it costs, and change nothing")
	cmd.Flags().BoolVar(&r.ToPlaintext, "to-plaintext", false, "on the way down: rewrite values in plaintext")
	resealFlags(cmd, &r.Rate, &r.IgnoreQuota)
	return cmd
}

func printProblems(w io.Writer, list []reseal.Problem) {
	for _, p := range list {
		fmt.Fprintf(w, "  %q (mod revision %d) %s\n", p.Key, p.ModRevision, p.Reason)
	}
}

const sealRotateHelp = `Add a data key and make it the active one: it is given to every member first, and
seals when all have acknowledged that they can open it. Values that are stored keep
their data key until they are written, or rewritten with --reseal.

A rotation that was cut short is taken on: the data key that it had prepared becomes
active, and no other is made.`

func newSealRotateCommand() *cobra.Command {
	var a *admin
	var andReseal, ignoreQuota bool
	var rate int
	cmd := &cobra.Command{
		Use: "rotate", Short: "seal with a new data key from now on", Long: sealRotateHelp, Args: cobra.NoArgs,
		Example: "  etcdguard seal rotate\n  etcdguard seal rotate --reseal",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			var result control.RotateResult
			if err := a.do(cmd.Context(), etcdapi.SealRotate, control.RotateRequest{}, &result); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "data key %d is active\n", result.Number)
			if !andReseal {
				fmt.Fprintf(cmd.OutOrStdout(), "next: etcdguard seal reseal%s\n", a.flags)
				return nil
			}
			var rewritten reseal.Result
			request := control.ResealRequest{Rate: rate, IgnoreQuota: ignoreQuota}
			if err := a.do(cmd.Context(), etcdapi.SealReseal, request, &rewritten); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d values rewritten\nnext: compact, then etcdguard seal retire %d%s\n", rewritten.Rewritten, result.Number-1, a.flags)
			return nil
		},
	}
	a = adminFlags(cmd)
	cmd.Flags().BoolVar(&andReseal, "reseal", false, "rewrite what is sealed with older data keys, too")
	resealFlags(cmd, &rate, &ignoreQuota)
	return cmd
}

const sealRetireHelp = `Remove a data key for good. It refuses while anything is known to need it, and names
it: a live value, an old revision that is not compacted yet, a value in quarantine,
or a backup that was declared with etcdguard seal backups add.

What it can't know: backups that nobody declared. They open no more, unless an
export of the ring from before is kept.`

func newSealRetireCommand() *cobra.Command {
	var a *admin
	var yes bool
	cmd := &cobra.Command{
		Use: "retire NUMBER", Short: "remove a data key that nothing needs", Long: sealRetireHelp,
		Example: "  etcdguard seal retire 1 --yes", Args: oneArgument("the number of a data key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil || number == 0 {
				return usageError{fmt.Errorf("%q is no number of a data key", args[0]), "etcdguard seal status shows them"}
			}
			if err := a.connect(cmd); err != nil {
				return err
			}
			if !yes {
				return withoutYes{fmt.Sprintf("backups that nobody declared will not open any more; if there are none: etcdguard seal retire %d --yes%s", number, a.flags)}
			}
			if err := a.do(cmd.Context(), etcdapi.SealRetire, control.RetireRequest{Number: seal.KeyNumber(number)}, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "data key %d is gone\nnext: etcdguard ring export, so that the export is of the ring as it is now\n", number)
			return nil
		},
	}
	a = adminFlags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}
