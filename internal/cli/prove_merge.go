package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/prove"
)

const proveMergeHelp = `Make one report of several that "etcdguard prove -o json" made on the nodes of one
cluster. The merged report is as old as its oldest part. What one report could not
try and another did counts as tried; reports that contradict each other are an error.`

func newProveMergeCommand() *cobra.Command {
	var output string
	var partial bool
	cmd := &cobra.Command{
		Use: "merge REPORT…", Short: "one report of several nodes'",
		Long: proveMergeHelp, Example: "  etcdguard prove merge m1.json m2.json m3.json", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			var reports []prove.Report
			for _, file := range files {
				r, err := readReport(file)
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
	cmd.Flags().BoolVar(&partial, "partial", false, "exit 0 also if something could not be tried")
	return cmd
}

func readReport(file string) (r prove.Report, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return r, fmt.Errorf("reading a report: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, usageError{fmt.Errorf("reading the report %s: %w", file, err), "etcdguard prove -o json makes one"}
	}
	return r, nil
}
