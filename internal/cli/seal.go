package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/local"
	"github.com/etcdguard/etcdguard/reseal"
)

const sealHelp = `Seal what a cluster stores: turn it on and off, see how far it is, change the
data keys, and deal with values that do not open.

Each verb but open-snapshot asks a running member, as an administrator of the
cluster: by --dir, one that "etcdguard up" made, or by --endpoints, --cacert, --cert
and --key, as etcdctl does. Each can be stopped and run again: it goes on from what is
stored.`

func newSealCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "seal", Short: "store only ciphertext: turn on, rotate, see, turn off", Long: sealHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), cmd.CommandPath() + " --help"}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newSealStatusCommand(), newSealEnableCommand(), newSealDisableCommand(), newSealPhaseCommand(),
		newSealResealCommand(), newSealRotateCommand(), newSealRetireCommand(), newSealBackupsCommand(), newSealQuarantineCommand(),
		newSealScrubCommand(), newSealOpenSnapshotCommand())
	return cmd
}

// admin is how a verb reaches the members.
type admin struct {
	dir    string
	config control.ClientConfig

	client *control.Client
	flags  string // that the next command needs, too
	shown  *progressLine
}

// adminFlags declares where the members are and who asks.
func adminFlags(cmd *cobra.Command) *admin {
	a := &admin{}
	dirFlag(cmd, &a.dir)
	cmd.Flags().StringSliceVar(&a.config.Endpoints, "endpoints", nil, "client URLs of members, tried in this order")
	cmd.Flags().StringVar(&a.config.CACert, "cacert", "", "file with the authority of the members' certificates")
	cmd.Flags().StringVar(&a.config.Cert, "cert", "", "file with your certificate")
	cmd.Flags().StringVar(&a.config.Key, "key", "", "file with its private key")
	return a
}

// connect finds the members. Nothing is asked yet.
func (a *admin) connect(cmd *cobra.Command) error {
	named := 0
	for _, name := range []string{"endpoints", "cacert", "cert", "key"} {
		if cmd.Flags().Changed(name) {
			named++
		}
	}
	switch {
	case named != 0 && named != 4:
		return usageError{errors.New("--endpoints, --cacert, --cert and --key belong together"), cmd.CommandPath() + " --help"}
	case named == 4 && cmd.Flags().Changed("dir"):
		return usageError{errors.New("--dir and --endpoints both say where the members are"), cmd.CommandPath() + " --help"}
	case named == 4:
		c := a.config
		a.flags = fmt.Sprintf(" --endpoints %s --cacert %s --cert %s --key %s", local.ShellQuote(strings.Join(c.Endpoints, ",")),
			local.ShellQuote(c.CACert), local.ShellQuote(c.Cert), local.ShellQuote(c.Key))
	default:
		if err := a.localCluster(); err != nil {
			return err
		}
	}
	var err error
	a.client, err = control.NewClient(a.config)
	a.shown = newProgressLine(cmd.ErrOrStderr())
	return err
}

// localCluster takes the members and the administrator of a cluster that "up" made.
func (a *admin) localCluster() error {
	cluster, err := local.Open(a.dir)
	if err != nil {
		return err
	}
	env, err := cluster.Env("admin", "")
	if err != nil {
		return err
	}
	a.flags = cluster.DirFlag()
	for _, line := range env {
		switch name, value, _ := strings.Cut(line, "="); name {
		case "ETCDCTL_ENDPOINTS":
			a.config.Endpoints = strings.Split(value, ",")
		case "ETCDCTL_CACERT":
			a.config.CACert = value
		case "ETCDCTL_CERT":
			a.config.Cert = value
		case "ETCDCTL_KEY":
			a.config.Key = value
		}
	}
	return nil
}

// do makes a call and shows what happens on stderr.
func (a *admin) do(ctx context.Context, action etcdapi.Action, request, result any) error {
	err := a.client.Do(ctx, action, request, result, a.show)
	a.shown.end()
	if ctx.Err() != nil {
		return interruptedError{}
	}
	return err
}

func (a *admin) show(e control.Event) {
	switch {
	case e.Line != "":
		a.shown.line(e.Line)
	case e.Seen > 0:
		a.shown.transient(fmt.Sprintf("%d looked at", e.Seen))
	case e.Cost != nil:
		a.shown.end()
		printCost(a.shown.to, e.Cost)
	case e.Progress != nil:
		a.shown.transient(progressText(e.Progress))
	}
}

func progressText(p *reseal.Progress) string {
	text := fmt.Sprintf("%d of %d values rewritten", p.Rewritten+p.Raced, p.Total)
	if p.PerSecond > 0 {
		text += fmt.Sprintf(", %.0f a second", p.PerSecond)
	}
	if p.Left > 0 {
		text += fmt.Sprintf(", %v left", p.Left.Round(time.Second))
	}
	if p.Problems > 0 {
		text += fmt.Sprintf(", %d can't be", p.Problems)
	}
	return text
}

// printCost says beforehand what rewriting does.
func printCost(w io.Writer, c *reseal.Cost) {
	if c.Rewrites == 0 {
		fmt.Fprintf(w, "nothing to rewrite: all of %d values have the form already\n", c.Values)
		return
	}
	fmt.Fprintf(w, "to rewrite: %d of %d values, one revision each, and one event to each watcher of its key\n", c.Rewrites, c.Values)
	quota := "no quota"
	if c.Sizes.Quota > 0 {
		quota = fmt.Sprintf("quota %s", size(c.Sizes.Quota))
	}
	fmt.Fprintf(w, "database: %s in use, %s on disk, grows by about %s to about %s until a compaction; %s\n",
		size(c.Sizes.InUse), size(c.Sizes.File), size(c.Growth), size(c.After), quota)
}

// interruptedError is Ctrl-C.
type interruptedError struct{}

func (interruptedError) Error() string { return "interrupted" }
func (interruptedError) Hint() string {
	return "what was done stays; run the same again to go on"
}
