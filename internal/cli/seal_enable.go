package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
)

const sealEnableHelp = `Turn sealing on for a cluster that has data: go through the phases can-open and
sealing, rewrite every value, and end in strict. A new cluster whose members are
configured for sealing is strict from the beginning.

It goes from one phase to the next when every member has acknowledged the last,
and into strict when no value is in plaintext any more. Clients go on meanwhile.
Stopped anywhere, run again, it goes on. It says beforehand what it costs.

What it does not do: plaintext stays in old revisions until a compaction, in free
pages, in the WAL and in backups; see etcdguard atrest.`

const sealDisableHelp = `Turn sealing off: go back through sealing and can-open, rewrite every value in
plaintext, and end in off, with every key of etcdguard gone. What is left is data
that stock etcd serves.

Clients go on meanwhile. Stopped anywhere, run again, it goes on. Old backups stay
sealed: keep an export of the ring (etcdguard ring export) as long as you keep them.`

func newSealEnableCommand() *cobra.Command {
	return newSealWayCommand(&cobra.Command{
		Use: "enable", Short: "turn sealing on, up to strict", Long: sealEnableHelp,
		Example: "  etcdguard seal enable --dry-run\n  etcdguard seal enable --yes",
	}, way{
		verb: "enable", through: keyring.Sealing, end: keyring.Strict,
		plan: "go to phase sealing, seal what is in plaintext, go to phase strict",
		next: "etcdguard atrest: plaintext may still lie in old revisions, free pages and the WAL",
	})
}

func newSealDisableCommand() *cobra.Command {
	return newSealWayCommand(&cobra.Command{
		Use: "disable", Short: "turn sealing off: plain etcd data again", Long: sealDisableHelp,
		Example: "  etcdguard seal disable --dry-run\n  etcdguard seal disable --yes",
	}, way{
		verb: "disable", through: keyring.CanOpen, end: keyring.Off, toPlaintext: true,
		plan: "go to phase can-open, rewrite every value in plaintext, go to phase off",
		next: `remove "sealing:" from the guard configuration of every member, and restart them one after the other`,
	})
}

// way is one of the two ways between no sealing and all of it.
type way struct {
	verb         string
	through, end keyring.Phase // rewriting is done in through
	toPlaintext  bool
	plan, next   string
}

func newSealWayCommand(cmd *cobra.Command, w way) *cobra.Command {
	var a *admin
	var dryRun, yes, ignoreQuota bool
	var rate int
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := a.connect(cmd); err != nil {
			return err
		}
		status, err := a.client.Status(cmd.Context())
		if err != nil {
			return err
		}
		if w.done(status) {
			fmt.Fprintf(cmd.OutOrStdout(), "phase %v: nothing to do\n", status.Phase)
			return nil
		}
		request := control.ResealRequest{ToPlaintext: w.toPlaintext, Rate: rate, IgnoreQuota: ignoreQuota}
		if !yes || dryRun {
			fmt.Fprintf(cmd.ErrOrStderr(), "phase %v; to do: %s\n", status.Phase, w.plan)
			request.DryRun = true
			if err := a.do(cmd.Context(), etcdapi.SealReseal, request, nil); err != nil || dryRun {
				return err
			}
			return withoutYes{"etcdguard seal " + w.verb + " --yes" + a.flags}
		}
		return w.walk(cmd, a, request)
	}
	a = adminFlags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what it costs, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	resealFlags(cmd, &rate, &ignoreQuota)
	return cmd
}

func (w way) done(s *control.Status) bool {
	return s.Phase == w.end && (w.end != keyring.Off || s.Ring == nil)
}

func (w way) walk(cmd *cobra.Command, a *admin, request control.ResealRequest) error {
	ctx := cmd.Context()
	var reached control.PhaseResult
	if err := a.do(ctx, etcdapi.SealPhase, control.PhaseRequest{To: w.through}, &reached); err != nil {
		return err
	}
	a.shown.line(fmt.Sprintf("phase %v", reached.Phase))
	var result reseal.Result
	if err := a.do(ctx, etcdapi.SealReseal, request, &result); err != nil {
		return err
	}
	if err := a.do(ctx, etcdapi.SealPhase, control.PhaseRequest{To: w.end}, &reached); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "phase %v; %d values rewritten\nnext: %s\n", reached.Phase, result.Rewritten, w.next)
	return nil
}

// withoutYes is a change that was not confirmed.
type withoutYes struct{ command string }

func (withoutYes) Error() string  { return "nothing was changed: this needs --yes" }
func (w withoutYes) Hint() string { return w.command }

func resealFlags(cmd *cobra.Command, rate *int, ignoreQuota *bool) {
	cmd.Flags().IntVar(rate, "rate", reseal.DefaultRate, "values rewritten in a second, at most; it is fewer where clients would notice")
	cmd.Flags().BoolVar(ignoreQuota, "unsafe-ignore-quota", false, "go on even if the database comes near its quota")
}

const sealPhaseHelp = `Go to one phase of sealing, by single steps, each when every member has acknowledged
the last:

  off       values are stored as they come
  can-open  the same, and every member can open sealed values
  sealing   values are stored sealed; plaintext that is there is still served
  strict    values are stored sealed, and plaintext is an error

Into strict it goes only when no value is in plaintext, into off only when none is
sealed: rewrite them with etcdguard seal reseal. "seal enable" and "seal disable"
do all of it.`

func newSealPhaseCommand() *cobra.Command {
	var a *admin
	cmd := &cobra.Command{
		Use: "phase PHASE", Short: "go one or more phases up or down", Long: sealPhaseHelp,
		Example: "  etcdguard seal phase sealing", Args: oneArgument("a phase: off, can-open, sealing or strict"),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := keyring.ParsePhase(args[0])
			if err != nil {
				return usageError{err, cmd.CommandPath() + " --help"}
			}
			if err := a.connect(cmd); err != nil {
				return err
			}
			var reached control.PhaseResult
			if err := a.do(cmd.Context(), etcdapi.SealPhase, control.PhaseRequest{To: to}, &reached); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "phase %v\nnext: etcdguard seal status%s\n", reached.Phase, a.flags)
			return nil
		},
	}
	a = adminFlags(cmd)
	return cmd
}
