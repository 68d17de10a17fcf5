package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// documented are the commands that have a page; their own commands are parts of it.
func documented(root *cobra.Command) (out []*cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "help" {
			out = append(out, cmd)
		}
	}
	return out
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func rootPage(h header, root *cobra.Command) string {
	p := newPage(h, "nightjar", "1", root.Short)
	p.section("SYNOPSIS")
	p.synopsis("nightjar", "COMMAND [flags]")
	p.section("DESCRIPTION")
	p.prose(root.Long)
	p.section("COMMANDS")
	pages := []string{"nightjar.conf(5)"}
	for _, cmd := range documented(root) {
		p.item(cmd.CommandPath(), "")
		p.sentence("To " + strings.ToLower(cmd.Short[:1]) + cmd.Short[1:] + "; see " + pageName(cmd) + "(1).")
		pages = append(pages, pageName(cmd)+"(1)")
	}
	p.section("FILES")
	for _, f := range [][2]string{
		{"/etc/nightjar/nightjar.conf", "The configuration of the service; see nightjar.conf(5)."},
		{"/etc/nightjar/passwords", "Users and hashed passwords, where password_file names it."},
		{"/var/lib/nightjar/data", "Sessions, queued messages and retained messages. nightjar-store(1) looks after them."},
		{"/var/log/nightjar", "Where log_dest may write a file."},
	} {
		p.item(f[0], "")
		p.sentence(f[1])
	}
	p.section("EXIT STATUS")
	p.prose("0 if all went well, 1 after an error. Of the broker: 3 if the configuration or the command line cannot be used, 4 if the " +
		"store could not go on, for the disk failed. Some commands have more; their pages say which.")
	p.seeAlso(pages...)
	return p.String()
}

func commandPage(h header, cmd *cobra.Command) string {
	p := newPage(h, pageName(cmd), "1", cmd.Short)
	p.section("SYNOPSIS")
	p.synopsisOf(cmd)
	p.section("DESCRIPTION")
	p.prose(describe(cmd))
	subs := subcommands(cmd)
	if flags(cmd).HasAvailableFlags() {
		p.section("OPTIONS")
		p.options(flags(cmd))
	}
	if len(subs) > 0 {
		p.section("COMMANDS")
	}
	for _, sub := range subs {
		p.subsection(strings.TrimPrefix(sub.CommandPath(), "nightjar "))
		p.synopsisOf(sub)
		p.prose(describe(sub))
		p.options(flags(sub))
		p.examples(sub, "")
	}
	p.examples(cmd, "EXAMPLES")
	p.seeAlso("nightjar(1)", "nightjar.conf(5)")
	return p.String()
}

// subcommands are those below cmd that do something, in their order.
func subcommands(cmd *cobra.Command) (out []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		if sub.Runnable() {
			out = append(out, sub)
		}
		out = append(out, subcommands(sub)...)
	}
	return out
}

func describe(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return cmd.Long
	}
	return strings.ToUpper(cmd.Short[:1]) + cmd.Short[1:] + "."
}

func (p *page) synopsisOf(cmd *cobra.Command) {
	if !cmd.Runnable() {
		p.synopsis(cmd.CommandPath(), "COMMAND [flags]")
		return
	}
	p.synopsis(cmd.CommandPath(), strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath()))
}

func (p *page) synopsis(command, rest string) {
	p.WriteString(".PP\n.B " + quote(command) + "\n" + text(strings.TrimSpace(rest)) + "\n")
}

// flags are those of a command itself, without --help.
func flags(cmd *cobra.Command) *pflag.FlagSet {
	out := pflag.NewFlagSet("", pflag.ContinueOnError)
	out.SortFlags = cmd.Flags().SortFlags
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !f.Hidden {
			out.AddFlag(f)
		}
	})
	return out
}

func (p *page) options(fs *pflag.FlagSet) {
	fs.VisitAll(func(f *pflag.Flag) {
		takes, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		p.item(name, takes)
		if !strings.Contains(usage, "(default") && tells(f) {
			usage += " (default " + f.DefValue + ")"
		}
		p.sentence(usage)
	})
}

// tells says whether a flag's default is worth a word.
func tells(f *pflag.Flag) bool {
	switch f.DefValue {
	case "", "0", "0s", "false", "[]":
		return false
	}
	return true
}

func (p *page) examples(cmd *cobra.Command, title string) {
	if cmd.Example == "" {
		return
	}
	if title != "" {
		p.section(title)
	}
	p.prose(cmd.Example)
}
