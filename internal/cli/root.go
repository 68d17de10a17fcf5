// Package cli is the command line: a file for each command, and in root.go what
// they share.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set by the linker; see the Makefile.
var version = ""

// commands are all of nightjar's, in the order of the help. A new one goes here.
var commands = []func() *cobra.Command{
	serveCommand,
	checkCommand,
	pubCommand,
	subCommand,
	certCommand,
	importCommand,
	storeCommand,
	passwdCommand,
	aclCommand,
	benchCommand,
}

// defaultCommand is what nightjar does when it is not told: like mosquitto, it
// is a broker.
const defaultCommand = "serve"

// Main runs the command line in args, args[0] being the program, and returns
// the exit status.
func Main(args []string) int {
	return run(args[1:], os.Stdin, os.Stdout, os.Stderr)
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	args = withDefaultCommand(args)
	if len(args) > 0 {
		if cmd, _, err := root.Find(args[:1]); err == nil && cmd.Annotations[prepareKey] != "" {
			rest, err := prepareArgs(cmd, args[1:])
			if err != nil {
				return report(stderr, usageError{cmd, err})
			}
			args = append(args[:1:1], rest...)
		}
	}
	root.SetArgs(args)
	return report(stderr, root.Execute())
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "nightjar",
		Short: "an MQTT broker and its command-line clients",
		Long: "nightjar is an MQTT broker with its command-line clients.\n\n" +
			"Without a command, or with flags alone, it is a broker: 'nightjar -p 1883 -v' is\n" +
			"'nightjar serve -p 1883 -v'.",
		Version:           programVersion(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetVersionTemplate("nightjar version {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{cmd, err} })
	for _, command := range commands {
		root.AddCommand(command())
	}
	return root
}

// withDefaultCommand puts the default command in front of flags that have none.
func withDefaultCommand(args []string) []string {
	if len(args) == 0 {
		return []string{defaultCommand}
	}
	switch first := args[0]; {
	case !strings.HasPrefix(first, "-"), first == "--help", first == "-h", first == "--version":
		return args
	}
	return append([]string{defaultCommand}, args...)
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}

// exitError ends a command with a status. Without an error there is nothing to
// print.
type exitError struct {
	status int
	err    error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// usageError is a command line that makes no sense.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e usageError) Error() string {
	err := e.err
	if unknown, ok := err.(*pflag.NotExistError); ok { //nolint:errorlint // a wrapped one has a text around it
		name := "--" + unknown.GetSpecifiedName()
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			name = "-" + unknown.GetSpecifiedName()
		}
		err = fmt.Errorf("Unknown option '%s'.", name)
	}
	if missing, ok := err.(*pflag.ValueRequiredError); ok && e.cmd.Name() == defaultCommand { //nolint:errorlint // as above
		switch f := missing.GetFlag(); f.Name {
		case "config-file":
			err = errors.New("-c argument given, but no config file specified.")
		case "port":
			err = errors.New("-p argument given, but no port specified.")
		}
	}
	return err.Error()
}

func (e usageError) Unwrap() error { return e.err }

// verbatim is an error that is printed as it is, without "Error:" before it.
type verbatim string

func (v verbatim) Error() string { return string(v) }

// report prints err, if there is something to say, and returns the exit status.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	status := 1
	var exit exitError
	if errors.As(err, &exit) {
		status = exit.status
		if exit.err == nil {
			return status
		}
	}
	if text := verbatim(""); errors.As(err, &text) {
		fmt.Fprintln(stderr, text)
		return status
	}
	fmt.Fprintf(stderr, "Error: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		if usage.cmd.Name() == defaultCommand {
			status = mosquittoInvalid
		}
		fmt.Fprintf(stderr, "\nUse '%s --help' to see usage.\n", usage.cmd.CommandPath())
	}
	return status
}

// setHelp gives cmd a help flag without a short name: -h is the host, as it is
// for Mosquitto's clients.
func setHelp(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	cmd.Flags().Bool("help", false, "print this help")
}
