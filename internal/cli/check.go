package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nightjar-mqtt/nightjar/internal/app"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// checkCommand reads a configuration and says what is wrong with it, insecure or a surprise.
func checkCommand() *cobra.Command {
	s := app.DefaultSettings()
	var strict bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "say what is wrong with a configuration file, insecure or a surprise",
		Long: "Read a configuration file, in mosquitto.conf's syntax, and all files that it names: what keeps it from being used\n" +
			"(error), what is insecure or does something else than it seems to (warning), and what is good to know (notice).\n" +
			"The exit status is 1 if there is an error, with --strict also if there is a warning, else 0.",
		Args: cobra.ExactArgs(1),
	}
	setHelp(cmd)
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings make it fail, too")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		s.ConfigFile = args[0]
		problems := s.Check()
		out := cmd.OutOrStdout()
		var count [3]int
		for _, p := range problems {
			fmt.Fprintf(out, "%s: %s\n", p.Severity, p)
			count[p.Severity]++
		}
		if len(problems) == 0 {
			fmt.Fprintf(out, "%s: nothing to say against it\n", args[0])
			return nil
		}
		fmt.Fprintf(out, "%s: %s, %s, %s\n", args[0], counted(count[config.Failure], "error"),
			counted(count[config.Warning], "warning"), counted(count[config.Notice], "notice"))
		if count[config.Failure] > 0 || strict && count[config.Warning] > 0 {
			return exitError{status: 1}
		}
		return nil
	}
	return cmd
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
