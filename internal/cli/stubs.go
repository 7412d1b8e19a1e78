package cli

import "github.com/spf13/cobra"

func newPolicyCommand() *cobra.Command { return &cobra.Command{Use: "policy", Hidden: true} }
