package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/audit/evidence"
)

const auditProveEventHelp = `Print a proof that event N is in a member's audit log, to be checked on another machine
by somebody who has neither the log nor a secret, with "etcdguard audit check-event".

It holds the event's line, the hashes that lead from it to the root of the Merkle tree,
and the newest checkpoint, in which the member signed that root. It says nothing of
other events. An event of the last ten seconds may have no checkpoint yet.

Exit codes: 0 the proof was made; 1 it can't be; 2 the command line cannot be understood.`

const auditCheckEventHelp = `Check a proof that "etcdguard audit prove-event" made, and print the event.

--key is the verifier key of the log, from the member's signer.pub, as you got it from
somebody you trust for it; not from whoever brings the proof. A key that has handed over
to the one that signed is as good.

Exit codes: 0 the event was in the log when its checkpoint was signed; 1 that is not
shown; 2 the command line or the file cannot be understood.

The names in -o json are stable: log, number, event (as it is in the log), size.`

func newAuditProveEventCommand() *cobra.Command {
	var logs auditLogs
	cmd := &cobra.Command{
		Use: "prove-event N [DIR]", Short: "a proof that one event is in the log",
		Long: auditProveEventHelp, Args: cobra.ArbitraryArgs,
		Example: "  etcdguard audit prove-event 4711 /var/lib/etcd/audit > proof.json\n  etcdguard audit prove-event 4711 --member m1 > proof.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usage(cmd, "give the number of the event, and the directory of its log")
			}
			n, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || n < 0 {
				return usage(cmd, "%q is no number of an event; each line begins with its own, seq", args[0])
			}
			found, err := logs.find(args[1:])
			if err != nil {
				return err
			}
			if len(found) > 1 {
				return usage(cmd, "each member numbers its own events: which log? --member, or its directory")
			}
			p, err := evidence.ProveEvent(found[0].Dir, n)
			if err != nil {
				return err
			}
			data, err := p.Marshal()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
	logs.choose(cmd)
	return cmd
}

func newAuditCheckEventCommand() *cobra.Command {
	var output string
	var keys []string
	cmd := &cobra.Command{
		Use: "check-event PROOF --key KEY", Short: "check such a proof, on any machine",
		Long: auditCheckEventHelp, Example: "  etcdguard audit check-event proof.json --key \"$(cat m1.key)\"\n  etcdguard audit check-event - --key \"$(cat m1.key)\" < proof.json", Args: oneArgument("the proof"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(keys) == 0 {
				return usageError{errors.New("checking a proof: whose log is it? a proof that brings its own key shows nothing"), "--key, a line of the member's signer.pub, from somebody you trust for it"}
			}
			data, err := readProof(cmd, args[0])
			if err != nil {
				return badFile{err, ""}
			}
			p, err := evidence.ParseEventProof(data)
			if err != nil {
				return badFile{err, "etcdguard audit prove-event makes one"}
			}
			c, err := p.Check(keys)
			if err != nil {
				return hinted{err, "the proof was changed, or it is of a log with another key"}
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]any{"log": c.Origin, "number": p.Number, "event": p.Event, "size": c.Size})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "event %d was in the log %s when that signed its first %d events\n\n%s\n", p.Number, printableOnly(c.Origin), c.Size, legible(p.Event))
			return err
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringArrayVar(&keys, "key", nil, "a verifier key of the log; repeatable")
	return cmd
}

func readProof(cmd *cobra.Command, name string) ([]byte, error) {
	in := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("reading a proof: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, evidence.MaxEventProof+1))
	if err != nil {
		return nil, fmt.Errorf("reading a proof: %w", err)
	}
	return data, nil
}
