package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestTheCommandsOnThePageExist takes every command of docs/sealing.md and parses it:
// verb, number of arguments and flags.
func TestTheCommandsOnThePageExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/sealing.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?m)^ {4,}(etcdguard .*)$|`(etcdguard [^`]*)`").FindAllStringSubmatch(string(text), -1)
	if len(commands) < 20 {
		t.Fatalf("only %d commands on the page", len(commands))
	}
	for _, c := range commands {
		line := strings.TrimSpace(c[1] + c[2])
		if err := parses(strings.Fields(line)[1:]); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func parses(args []string) error {
	cmd, rest, err := newRoot().Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.Flags().Changed("help") || cmd.Args == nil && !cmd.HasSubCommands() {
		return nil
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// TestEverySealVerbIsOnThePage: the other way round.
func TestEverySealVerbIsOnThePage(t *testing.T) {
	text, err := os.ReadFile("../../docs/sealing.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(cmd *cobra.Command)
	n := 0
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if !cmd.HasSubCommands() && cmd.Name() != "help" {
			if n++; !strings.Contains(string(text), cmd.CommandPath()) {
				t.Errorf("docs/sealing.md does not show %s", cmd.CommandPath())
			}
		}
	}
	root := newRoot()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "seal" {
			walk(cmd)
		}
	}
	if n < 10 {
		t.Fatalf("only %d verbs", n)
	}
}
