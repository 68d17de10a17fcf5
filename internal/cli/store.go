package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nightjar-mqtt/nightjar/internal/app"
	"github.com/nightjar-mqtt/nightjar/internal/store/control"
	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
)

// storeCommand has the tools for the data directory.
func storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "look after the data directory: check, stats, dump, compact, backup, restore",
		Long: "Look after the data directory, in which the broker keeps sessions, queued messages and retained messages.\n\n" +
			"All but restore can be used while the broker runs: it is asked, through a socket in the directory, to make a\n" +
			"copy of its store, and goes on. So use them as the user the broker runs as, or as root.\n\n" +
			"  nightjar store stats\n" +
			"  nightjar store check\n" +
			"  nightjar store backup /mnt/backup/nightjar-$(date +%F)\n" +
			"  nightjar store restore /mnt/backup/nightjar-2026-11-25 --data /var/lib/nightjar/data",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	setHelp(cmd)
	for _, sub := range []func() *cobra.Command{
		storeCheckCommand, storeStatsCommand, storeDumpCommand, storeCompactCommand, storeBackupCommand, storeRestoreCommand,
	} {
		cmd.AddCommand(sub())
	}
	return cmd
}

// place is where the data directory is.
type place struct{ data, config string }

func (p *place) register(cmd *cobra.Command) {
	setHelp(cmd)
	f := cmd.Flags()
	f.StringVar(&p.data, "data", "", "the data `DIRECTORY` (default: that of 'nightjar serve', the user's or the system's state directory)")
	f.StringVarP(&p.config, "config-file", "c", "", "configuration `FILE` of the broker, which says where it is")
}

func (p *place) directory() (string, error) {
	switch {
	case p.data != "" && p.config != "":
		return "", errors.New("--data and -c both say where the data directory is; give one of them")
	case p.data != "":
		return p.data, nil
	}
	return app.DataDirectory(p.config)
}

// interruptible ends with SIGINT or SIGTERM, so that what is temporary is removed.
func interruptible() (context.Context, func()) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// withReader has fn read the store in a directory. If a broker has it open, that makes a copy to read, which is removed
// again; running tells so.
func withReader(dir string, fn func(r *pebble.Reader, running bool) error) (err error) {
	ctx, stop := interruptible()
	defer stop()
	r, err := pebble.OpenReader(ctx, dir)
	if err == nil {
		return errors.Join(fn(r, false), r.Close())
	}
	if !errors.Is(err, pebble.ErrInUse) {
		return err
	}
	pebble.RemoveLeftCopies(dir)
	copied := pebble.CopyName(dir)
	if err := askRunning(err, control.Checkpoint(dir, copied)); err != nil {
		return err
	}
	defer func() {
		if e := os.RemoveAll(copied); e != nil {
			err = errors.Join(err, fmt.Errorf("the copy that was read is still there, remove it: %w", e))
		}
	}()
	if r, err = pebble.OpenReader(ctx, copied); err != nil {
		return err
	}
	r.Dir = dir
	return errors.Join(fn(r, true), r.Close())
}

// askRunning words the failure of a request to whoever uses the store.
func askRunning(inUse, err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		return fmt.Errorf("%w; it is no broker that can be asked for a copy: is another 'nightjar store' at work?", inUse)
	}
	return err
}

func storeCheckCommand() *cobra.Command {
	var p place
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "read everything, and say what is wrong with it; exit status 1 if something is",
		Long: "Read all of the store, verify checksums, that every entry can be understood, that what refers to something\n" +
			"finds it, and that counts are right. Nothing is changed. Exit status 1 if something is wrong, with a list.",
		Args: cobra.NoArgs,
	}
	p.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := p.directory()
		if err != nil {
			return err
		}
		var rep *pebble.Report
		err = withReader(dir, func(r *pebble.Reader, _ bool) (err error) {
			rep, err = r.Check()
			return err
		})
		if err != nil {
			return err
		}
		if err := printReport(cmd.OutOrStdout(), dir, rep, asJSON); err != nil {
			return err
		}
		if rep.Count > 0 {
			return exitError{1, fmt.Errorf("the store in %s is damaged: stop the broker, keep a copy of the directory, and restore a backup "+
				"with 'nightjar store restore'; what can still be read is shown by 'nightjar store dump'", dir)}
		}
		return nil
	}
	return cmd
}

func printReport(w io.Writer, dir string, rep *pebble.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Directory string   `json:"directory"`
			Entries   int64    `json:"entries"`
			Bytes     int64    `json:"bytes"`
			Count     int64    `json:"problem_count"`
			Problems  []string `json:"problems"`
			Notes     []string `json:"notes"`
		}{dir, rep.Read, rep.Bytes, rep.Count, append([]string{}, rep.Problems...), append([]string{}, rep.Notes...)})
	}
	fmt.Fprintf(w, "%s: %d entries, %s read\n", dir, rep.Read, size(rep.Bytes))
	for _, n := range rep.Notes {
		fmt.Fprintf(w, "note: %s; nothing to do, the broker sees to it\n", n)
	}
	for _, p := range rep.Problems {
		fmt.Fprintf(w, "problem: %s\n", p)
	}
	if more := rep.Count - int64(len(rep.Problems)); more > 0 {
		fmt.Fprintf(w, "and %d problems more\n", more)
	}
	if rep.Count == 0 {
		fmt.Fprintln(w, "nothing is wrong")
	}
	return nil
}

func storeStatsCommand() *cobra.Command {
	var p place
	var asJSON bool
	cmd := &cobra.Command{Use: "stats", Short: "what is in the store, in numbers", Args: cobra.NoArgs}
	p.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := p.directory()
		if err != nil {
			return err
		}
		return withReader(dir, func(r *pebble.Reader, running bool) error {
			c, err := r.Contents()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
					*pebble.Contents
					Running bool `json:"in_use"`
				}{c, running})
			}
			return printContents(cmd.OutOrStdout(), c, running)
		})
	}
	return cmd
}

func printContents(w io.Writer, c *pebble.Contents, running bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	use := "no"
	if running {
		use = "yes, these are the numbers of a copy it has just made"
	}
	line("data directory", "%s", c.Directory)
	line("in use", "%s", use)
	line("format", "%d", c.Format)
	line("starts", "%d", c.Run)
	line("on disk", "%s", size(int64(c.Disk)))
	line("sessions", "%d", c.Sessions)
	line("subscriptions", "%d", c.Subscriptions)
	line("queued messages", "%d, %s", c.Queued, size(c.QueueBytes))
	line("  in one queue", "%d", c.Inline)
	line("  stored once for several", "%d, in %d segments", c.Shared, c.Segments)
	line("outgoing QoS 2, released", "%d", c.Released)
	line("incoming QoS 2", "%d", c.Received)
	line("retained messages", "%d, %s", c.Retained, size(c.RetainedBytes))
	line("wills that wait", "%d", c.Wills)
	line("shared groups with a queue", "%d", c.Groups)
	if c.Unswept > 0 {
		line("ended, not swept yet", "%d", c.Unswept)
	}
	for i, q := range c.Longest {
		name := ""
		if i == 0 {
			name = "longest queues"
		}
		if q.Client != "" {
			line(name, "%d  client %q", q.Messages, q.Client)
		} else {
			line(name, "%d  shared group %q of %q", q.Messages, q.Group, q.Filter)
		}
	}
	return t.Flush()
}

func storeDumpCommand() *cobra.Command {
	var p place
	var asJSON, payload bool
	var client string
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "all that is in the store, a line each; payloads only if asked for",
		Long: "Print all that is in the store, a line each: sessions, shared groups, what belongs to them, their queues, then\n" +
			"retained messages. Payloads are printed with --payload only: they may be nobody's business.",
		Args: cobra.NoArgs,
	}
	p.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print a JSON object a line")
	f.BoolVar(&payload, "payload", false, "payloads too: as text, or, if they are not UTF-8, in hexadecimal (JSON: base64)")
	f.StringVar(&client, "client", "", "only what belongs to the client with this `ID`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := p.directory()
		if err != nil {
			return err
		}
		return withReader(dir, func(r *pebble.Reader, _ bool) error {
			w := bufio.NewWriter(cmd.OutOrStdout())
			out := json.NewEncoder(w)
			out.SetEscapeHTML(false)
			err := r.Dump(payload, func(l *pebble.Line) error {
				switch {
				case client != "" && l.Client != client:
					return nil
				case asJSON:
					return out.Encode(l)
				}
				_, err := fmt.Fprintln(w, l)
				return err
			})
			return errors.Join(err, w.Flush())
		})
	}
	return cmd
}

func storeCompactCommand() *cobra.Command {
	var p place
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "give room on disk back that deleted messages take",
		Long: "Write the store anew without what was deleted. The broker does so by itself bit by bit; this does all at once,\n" +
			"also while it runs. It needs free room of about the size of the store.",
		Args: cobra.NoArgs,
	}
	p.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := p.directory()
		if err != nil {
			return err
		}
		before := directorySize(dir)
		if err := compact(dir); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, it was %s\n", dir, size(directorySize(dir)), size(before))
		return nil
	}
	return cmd
}

func compact(dir string) error {
	ctx, stop := interruptible()
	defer stop()
	if err := control.Compact(dir); !errors.Is(err, control.ErrNotRunning) {
		return err
	}
	// Looked at first, so that no new store is made where there is none.
	r, err := pebble.OpenReader(ctx, dir)
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	s, err := pebble.Open(pebble.Options{Dir: dir, Logger: quietLogger, MinFree: -1})
	if err != nil {
		return err
	}
	return errors.Join(s.Compact(ctx), s.Close())
}

// quietLogger is for stores that are opened for a moment: what matters comes as an error.
var quietLogger = slog.New(slog.DiscardHandler)

func storeBackupCommand() *cobra.Command {
	var p place
	cmd := &cobra.Command{
		Use:   "backup TO",
		Short: "copy the store, also while the broker runs, into a directory that does not exist",
		Long: "Copy the store, as it is at one moment, into the directory TO, which must not exist. While the broker runs it\n" +
			"makes the copy, with all that it has acknowledged, and goes on; so it must be allowed to write there. On the\n" +
			"disk of the data directory files are then shared with the store until they change: to be safe from a broken\n" +
			"disk, choose another one, or copy TO away. 'nightjar store check --data TO' checks the copy.",
		Args: cobra.ExactArgs(1),
	}
	p.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := p.directory()
		if err != nil {
			return err
		}
		to, begun := args[0], time.Now()
		if _, err := os.Lstat(to); err == nil {
			return fmt.Errorf("%s is there already, and nothing is overwritten: name another directory", to)
		}
		err = pebble.Copy(dir, to)
		by := "copied"
		if errors.Is(err, pebble.ErrInUse) {
			by = "copied by the running broker"
			err = askRunning(err, control.Checkpoint(dir, to))
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s in %s, %s in %s\n", to, size(directorySize(to)), time.Since(begun).Round(time.Millisecond), by, dir)
		return nil
	}
	return cmd
}

func storeRestoreCommand() *cobra.Command {
	var p place
	var damaged bool
	cmd := &cobra.Command{
		Use:   "restore FROM",
		Short: "bring a backup back, into a data directory that is empty or does not exist",
		Long: "Copy the backup in the directory FROM into the data directory, which must be empty or not exist: nothing is\n" +
			"overwritten. The backup is checked first, and stays as it is. What the broker stored after the backup was made\n" +
			"is not in it: clients may get messages again that they had acknowledged since.",
		Args: cobra.ExactArgs(1),
	}
	p.register(cmd)
	cmd.Flags().BoolVar(&damaged, "damaged", false, "restore the backup even if it is damaged")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := p.directory()
		if err != nil {
			return err
		}
		if err := restore(args[0], dir, damaged); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s restored from %s\n", dir, size(directorySize(dir)), args[0])
		hintOwner(cmd.OutOrStdout(), dir)
		return nil
	}
	return cmd
}

func restore(from, dir string, damaged bool) error {
	ctx, stop := interruptible()
	defer stop()
	r, err := pebble.OpenReader(ctx, from)
	if err != nil {
		return fmt.Errorf("the backup cannot be used: %w", err)
	}
	rep, err := r.Check()
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("the backup cannot be read: %w", err)
	}
	if rep.Count > 0 && !damaged {
		return fmt.Errorf("the backup in %s is damaged: %d problems, the first is: %s. Use another, or --damaged to restore it nevertheless",
			from, rep.Count, rep.Problems[0])
	}
	err = pebble.Copy(from, dir)
	if errors.Is(err, pebble.ErrNotEmpty) {
		return fmt.Errorf("%w. Stop the broker and move the directory away first: mv %s %s.old", err, dir, filepath.Clean(dir))
	}
	return err
}

// hintOwner tells root that the broker may be somebody else.
func hintOwner(w io.Writer, dir string) {
	if os.Geteuid() == 0 {
		fmt.Fprintf(w, "It belongs to root. If the broker runs as another user: chown -R USER: %s\n", dir)
	}
}

// directorySize is what the files of a directory take. It may change meanwhile.
func directorySize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has gone
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

// size shows bytes for people.
func size(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%d MB", n/1_000_000)
}
