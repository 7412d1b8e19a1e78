package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/local"
	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/prove"
)

const proveHelp = `Gather evidence that a cluster is what you claim it is.

It dials every port with the wrong certificates (none, expired, of another
authority, a peer's at the client port and the other way round), asks for what must
be denied, and writes a canary through the front door to look for its value in the
bytes of the members' files. Every attempt that must fail has a control beside it
that must work. What could not be tried is said, and never counts as held.

Without --config-file it is about the cluster that "etcdguard up" made. With it, it
is about the one member on this machine that the file configures; run it on each
node, and put the reports together with "etcdguard prove merge". It then needs
--cert and --key of a client that may do everything, --monitor-cert and
--monitor-key of one that may ask for the status and read no key, and, for what
takes a certificate that is expired or that no rule names, --client-ca-key.

Exit codes: 0 every claim held; 1 one failed, or could not be tried (--partial
accepts the latter); 2 the command line or a file cannot be understood.

The names in -o json are stable: version, made, host, nodes, findings with claim,
how, node, result (held, failed, not tried) and detail, surroundings with node and
are (what, state, seen, advice), notLookedAt.`

const proveExample = `  etcdguard prove
  etcdguard prove -o json > report.json
  etcdguard prove --config-file /etc/etcd/etcd.yaml --cert admin.crt --key admin.key \
      --monitor-cert monitor.crt --monitor-key monitor.key --pid "$(pidof etcdguard)" --partial -o json > m1.json
  etcdguard prove merge m1.json m2.json m3.json`

// proveFlags say which cluster, or which node, and as whom.
type proveFlags struct {
	dir, config             string
	cert, key               string
	monitorCert, monitorKey string
	clientCAKey             string
	pid                     int
	partial                 bool
	sign                    string
	output                  string
}

func newProveCommand() *cobra.Command {
	var f proveFlags
	cmd := &cobra.Command{
		Use: "prove", Short: "evidence that the cluster is what you claim it is",
		Long: proveHelp, Example: proveExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, callers, err := f.targets()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "trying what must not work on %d members, and looking for a canary on their disks\n", len(nodes))
			report := prove.Everything(cmd.Context(), nodes, callers)
			if f.sign == "" {
				return printReport(cmd.OutOrStdout(), report, f.output, f.partial)
			}
			note, err := report.Sign(f.sign)
			if err != nil {
				return err
			}
			if _, err := cmd.OutOrStdout().Write(note); err != nil {
				return err
			}
			return verdict(report, f.partial)
		},
	}
	dirFlag(cmd, &f.dir)
	outputFlag(cmd, &f.output)
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config-file", "", "etcd's configuration file of one member on this machine")
	flags.StringVar(&f.cert, "cert", "", "with --config-file: certificate of a client that may do everything")
	flags.StringVar(&f.key, "key", "", "its private key")
	flags.StringVar(&f.monitorCert, "monitor-cert", "", "with --config-file: certificate of a client that may only ask for the status")
	flags.StringVar(&f.monitorKey, "monitor-key", "", "its private key")
	flags.StringVar(&f.clientCAKey, "client-ca-key", "", "with --config-file: the client authority's private key, to issue certificates that must be refused; they live in memory")
	flags.IntVar(&f.pid, "pid", 0, "with --config-file: the member's process, to look at its sockets")
	flags.StringVar(&f.sign, "sign", "", "print the report signed with the key in this file (etcdguard atrest keygen makes one), for prove merge --key")
	flags.BoolVar(&f.partial, "partial", false, "exit 0 also if something could not be tried")
	cmd.AddCommand(newProveMergeCommand())
	return cmd
}

// targets are the nodes to try, and the identities to try them with.
func (f proveFlags) targets() ([]prove.Node, prove.Callers, error) {
	if f.config == "" {
		cluster, err := local.Open(f.dir)
		if err != nil {
			return nil, prove.Callers{}, err
		}
		return cluster.Provable()
	}
	if f.cert == "" || f.key == "" || f.monitorCert == "" || f.monitorKey == "" {
		return nil, prove.Callers{}, usageError{errors.New("reading the command line: --config-file needs --cert, --key, --monitor-cert and --monitor-key"), "etcdguard prove --help"}
	}
	node, err := prove.ReadNode(f.config)
	if err != nil {
		return nil, prove.Callers{}, err
	}
	node.Pid = f.pid
	admin, err := pki.LoadLeaf(f.cert, f.key)
	if err != nil {
		return nil, prove.Callers{}, err
	}
	monitor, err := pki.LoadLeaf(f.monitorCert, f.monitorKey)
	if err != nil {
		return nil, prove.Callers{}, err
	}
	var clients *pki.Authority
	if f.clientCAKey != "" {
		if clients, err = pki.LoadAuthority(pki.Clients, node.ClientCA, f.clientCAKey); err != nil {
			return nil, prove.Callers{}, err
		}
	}
	callers, err := prove.NewCallers(admin, monitor, clients)
	return []prove.Node{node}, callers, err
}

// printReport prints what was found; its error sets the exit code.
func printReport(w io.Writer, r prove.Report, output string, partial bool) error {
	var err error
	if output == "json" {
		err = printJSON(w, r)
	} else {
		err = printFindings(w, r)
	}
	if err != nil {
		return err
	}
	return verdict(r, partial)
}

// verdict is the error that a report's findings make, if any.
func verdict(r prove.Report, partial bool) error {
	switch failed, untried := len(r.Failed()), len(r.NotTried()); {
	case failed > 0:
		return hinted{fmt.Errorf("proving: %d of %d findings say that a claim is wrong", failed, len(r.Findings)), "each line FAILED says what was seen"}
	case untried > 0 && !partial:
		return hinted{fmt.Errorf("proving: %d of %d attempts could not be made", untried, len(r.Findings)), "each says what it lacks; --partial accepts that"}
	}
	return nil
}

// printFindings shows a report, which may be a stranger's file: nothing of it speaks to
// the terminal.
func printFindings(w io.Writer, r prove.Report) error {
	rows := [][]any{{"CLAIM", "MEMBER", "RESULT", "HOW"}}
	last := ""
	for _, f := range r.Findings {
		how := f.How
		if f.Claim == last {
			how = "″"
		}
		last = f.Claim
		rows = append(rows, []any{shown(f.Claim), shown(f.Node), f.Result, shown(how)})
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, f := range r.Findings {
		switch {
		case f.Result == prove.Failed:
			fmt.Fprintf(w, "FAILED     %s, %s: %s\n", shown(f.Claim), shown(f.Node), shown(f.Detail))
		case f.Result == prove.NotTried:
			fmt.Fprintf(w, "NOT TRIED  %s, %s: %s\n", shown(f.Claim), shown(f.Node), shown(f.Detail))
		case f.Detail != "":
			fmt.Fprintf(w, "seen       %s, %s: %s\n", shown(f.Claim), shown(f.Node), shown(f.Detail))
		}
	}
	fmt.Fprintln(w, "\nAround the members, and not in their hands:")
	for _, n := range r.Surroundings {
		for _, s := range n.Are {
			fmt.Fprintf(w, "  %-8s %s, %s: %s\n", shown(string(s.State)), shown(n.Node), shown(s.What), shown(s.Seen))
			if s.Advice != "" {
				fmt.Fprintf(w, "           %s\n", shown(s.Advice))
			}
		}
	}
	fmt.Fprintln(w, "\nNot looked at:")
	for _, s := range r.NotLookedAt {
		fmt.Fprintln(w, "  "+shown(s))
	}
	return nil
}

// shown is text that can't speak to the terminal, nor pass for another line.
func shown(s string) string {
	return strings.ReplaceAll(legible(s), "\n", "\n           ")
}

// legible has nothing in it but what can be read, and line breaks.
func legible(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
