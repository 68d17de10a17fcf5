package cli

import "github.com/spf13/cobra"

// Commands is the tree of commands, from which docs/man makes manual pages and completions.
func Commands() *cobra.Command {
	root := rootCommand()
	root.InitDefaultCompletionCmd()
	return root
}
