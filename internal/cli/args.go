package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// prepareKey marks commands whose arguments go through prepareArgs. Its value
// is the name of Mosquitto's program, whose defaults file is read too.
const prepareKey = "mosquitto"

// prepareArgs makes Mosquitto's command line one that pflag can read: what the
// defaults file says comes first, and the three or four words of -D become one.
func prepareArgs(cmd *cobra.Command, args []string) ([]string, error) {
	args, err := joinProperties(cmd.Flags(), args)
	if err != nil {
		return nil, err
	}
	file, must := defaultsFile(cmd, args)
	if file == "" {
		return args, nil
	}
	defaults, err := readDefaults(cmd, file)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return args, nil
	}
	if err != nil {
		return nil, err
	}
	return append(defaults, args...), nil
}

// propertySeparator stands between the words of a joined -D. It cannot occur in
// an argument, nor in a string of MQTT.
const propertySeparator = "\x00"

// joinProperties turns "-D command identifier [name] value" into one argument.
func joinProperties(flags *pflag.FlagSet, args []string) ([]string, error) {
	var out []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...), nil
		}
		if arg != "-D" && arg != "--property" {
			out = append(out, arg)
			if takesNext(flags, arg) && i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
			continue
		}
		words := 3
		if i+2 < len(args) && args[i+2] == "user-property" {
			words = 4
		}
		if i+words >= len(args) {
			return nil, errors.New("--property argument given but not enough arguments specified.")
		}
		out = append(out, "--property="+strings.Join(args[i+1:i+1+words], propertySeparator))
		i += words
	}
	return out, nil
}

// takesNext tells whether the argument after arg is the value of a flag in arg.
func takesNext(flags *pflag.FlagSet, arg string) bool {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		f := flags.Lookup(name) // nil for --name=value
		return f != nil && f.NoOptDefVal == ""
	}
	if len(arg) < 2 || arg[0] != '-' {
		return false
	}
	for i := 1; i < len(arg); i++ {
		f := flags.ShorthandLookup(arg[i : i+1])
		if f == nil {
			return false
		}
		if f.NoOptDefVal == "" {
			return i == len(arg)-1 // otherwise the rest of arg is the value
		}
	}
	return false
}

// defaultsFile returns the file to read defaults from, and whether it must be
// there because -o names it.
func defaultsFile(cmd *cobra.Command, args []string) (file string, must bool) {
	for i := 0; i < len(args); i++ {
		if value, ok := strings.CutPrefix(args[i], "-o"); ok {
			if value == "" && i+1 < len(args) {
				value = args[i+1]
			}
			return value, true
		}
		if takesNext(cmd.Flags(), args[i]) {
			i++
		}
	}
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", false
		}
		dir = filepath.Join(home, ".config")
	}
	for _, name := range []string{"nightjar_" + cmd.Name(), cmd.Annotations[prepareKey]} {
		file = filepath.Join(dir, name)
		if _, err := os.Stat(file); err == nil {
			return file, false
		}
	}
	return "", false
}

// readDefaults reads a defaults file: "-option value" or "-option" on each line,
// "#" begins a comment line. Each line is tried on its own, so that an error
// can name it.
func readDefaults(cmd *cobra.Command, file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []string
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		option, value, hasValue := strings.Cut(line, " ")
		args := []string{option}
		switch {
		case option == "-D" || option == "--property":
			args = append(args, strings.SplitN(value, " ", propertyWords(value))...)
		case hasValue:
			args = append(args, value)
		}
		args, err := joinProperties(cmd.Flags(), args)
		if err == nil {
			err = freshFlags(cmd).Parse(args)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, usageError{cmd, err})
		}
		all = append(all, args...)
	}
	return all, lines.Err()
}

func propertyWords(value string) int {
	if words := strings.SplitN(value, " ", 3); len(words) > 1 && words[1] == "user-property" {
		return 4
	}
	return 3
}

// freshFlags is a flag set like cmd's to try arguments on.
func freshFlags(cmd *cobra.Command) *pflag.FlagSet {
	for _, command := range commands {
		if fresh := command(); fresh.Name() == cmd.Name() {
			fresh.Flags().SetOutput(cmd.ErrOrStderr())
			return fresh.Flags()
		}
	}
	return cmd.Flags()
}
