package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/prove"
)

const proveMergeHelp = `Make one report of several that "etcdguard prove -o json" made on the nodes of one
cluster. The merged report is as old as its oldest part. What one report could not
try and another did counts as tried; reports that contradict each other are an error.

With --key, every report must carry the signature of one of the keys, as "etcdguard
prove --sign" makes it; without, reports are plain JSON, and whoever carried them here
could have changed them.`

func newProveMergeCommand() *cobra.Command {
	var output string
	var partial bool
	var public []string
	cmd := &cobra.Command{
		Use: "merge REPORT…", Short: "one report of several nodes'",
		Long: proveMergeHelp, Example: "  etcdguard prove merge m1.json m2.json m3.json\n  etcdguard prove merge --key node-1+0a1b2c3d+AbCd... m1.report", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			var reports []prove.Report
			for _, file := range files {
				r, err := readReport(file, public)
				if err != nil {
					return err
				}
				reports = append(reports, r)
			}
			merged, err := prove.Merge(reports...)
			if err != nil {
				return err
			}
			return printReport(cmd.OutOrStdout(), merged, output, partial)
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringArrayVar(&public, "key", nil, "the reports are signed, with a key whose public half this is; repeatable, for reports of several nodes")
	cmd.Flags().BoolVar(&partial, "partial", false, "exit 0 also if something could not be tried")
	return cmd
}

func readReport(file string, public []string) (r prove.Report, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return r, fmt.Errorf("reading a report: %w", err)
	}
	if r, err = prove.ReadReport(data, public...); err != nil {
		return r, usageError{fmt.Errorf("reading the report %s: %w", file, err), "etcdguard prove -o json makes one; one that --sign made needs --key"}
	}
	return r, nil
}
