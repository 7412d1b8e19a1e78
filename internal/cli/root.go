// Package cli is the command line: one file per verb, its help text at its top.
//
// Rules for what a verb prints:
//   - What was asked for goes to stdout: short aligned tables, or JSON with
//     `-o json`, whose names are stable. Progress and diagnostics go to stderr.
//   - An error is one line "etcdguard: error: …" on stderr, and the way out of it
//     one line "etcdguard: hint: …". An error brings its hint with a method
//     Hint() string.
//   - The exit code is 0 for done (healthy, allowed), 1 for not (failed, not
//     healthy, denied), 2 for a command line or a file that cannot be understood.
//     An error says which with a method ExitCode() int; 1 is the default.
//   - No secret is ever an argument.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	etcdversion "go.etcd.io/etcd/api/v3/version"
)

const rootHelp = `etcdguard is etcd with a guard inside it: it proves who is asking and decides
whether they may, on every port of every member.

A secured cluster on this machine, ready to use:

  etcdguard up
  eval "$(etcdguard env)"
  etcdctl put hello world

Exit codes: 0 done; 1 failed, not healthy or denied; 2 the command line or a
file cannot be understood. Errors and hints go to stderr.`

// etcdName is the program name under which everything is for the member, so that
// etcdguard can stand where an etcd binary stood.
const etcdName = "etcd"

// Main runs the command line and returns the exit code. The first signal to stop
// ends the verb's context, a second one ends the process.
func Main(argv []string, stdout, stderr io.Writer) int {
	args := argv[1:]
	if filepath.Base(argv[0]) == etcdName {
		args = append([]string{"member"}, args...)
	}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if len(args) > 0 && args[0] != "member" { // the member minds its own signals
		var cancel context.CancelFunc
		ctx, cancel = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer cancel()
		context.AfterFunc(ctx, cancel) // back to the default: the second one kills
	}
	return report(root.ExecuteContext(ctx), stderr)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "etcdguard",
		Short:         "etcd with a guard inside it",
		Long:          rootHelp,
		Version:       version(),
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err, cmd.CommandPath() + " --help"}
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newUpCommand(), newDownCommand(), newEnvCommand(), newStatusCommand(), newSealCommand(),
		newMemberCommand(), newPolicyCommand(), newRingCommand(), newAtrestCommand(), newProveCommand(), newAuditCommand(), newStartLocalMemberCommand())
	return root
}

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	help string
}

func (e usageError) Hint() string  { return e.help }
func (e usageError) ExitCode() int { return 2 }

// report prints an error as the user sees it and returns its exit code.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	if message := err.Error(); message != "" { // "": the verb has said it all
		fmt.Fprintf(stderr, "etcdguard: error: %s\n", message)
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintf(stderr, "etcdguard: hint: %s\n", hinted.Hint())
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	if strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag") {
		return 2 // cobra has no type for these
	}
	return 1
}

// silent is an error whose story stdout tells already; only its exit code is left.
type silent struct{ hint string }

func (silent) Error() string  { return "" }
func (s silent) Hint() string { return s.hint }

func version() string {
	own := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		own = info.Main.Version
	}
	return fmt.Sprintf("etcdguard version: %s\netcd version: %s\ngo version: %s", own, etcdversion.Version, runtime.Version())
}
