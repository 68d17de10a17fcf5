package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nightjar-mqtt/nightjar/internal/store/mosquittodb"
	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
)

// importCommand carries over what Mosquitto has kept.
func importCommand() *cobra.Command {
	var p place
	var dryRun, add bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "carry over sessions, queued and retained messages from Mosquitto's mosquitto.db",
		Long: "Carry over what Mosquitto has kept in its persistence file, mosquitto.db (format versions 5 and 6, of Mosquitto\n" +
			"1.6 and later): sessions with their expiry and subscriptions, queued messages in their order, messages in flight\n" +
			"with their packet ids, retained messages. Stop Mosquitto first: it writes the file when it ends.\n\n" +
			"The data directory must be empty or not exist, and is complete or not there afterwards. Mosquitto does not write\n" +
			"shared subscriptions, wills that wait for their delay, and MQTT 5 sessions that began with clean start: clients\n" +
			"make those anew.",
		Example: "  nightjar import /var/lib/mosquitto/mosquitto.db --dry-run\n" +
			"  nightjar import /var/lib/mosquitto/mosquitto.db --data /var/lib/nightjar/data\n" +
			"  nightjar serve --data /var/lib/nightjar/data",
		Args: cobra.ExactArgs(1),
	}
	p.register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "read and check the file, say what would be carried over, and change nothing")
	cmd.Flags().BoolVar(&add, "add", false, "add to a data directory that has something in it: sessions take the place of those of the same client, "+
		"retained messages that of the same topic")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := p.directory()
		if err != nil {
			return err
		}
		return importFile(cmd.OutOrStdout(), args[0], dir, dryRun, add)
	}
	return cmd
}

func importFile(w io.Writer, name, dir string, dryRun, add bool) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file: name the file mosquitto.db, which is in Mosquitto's persistence_location", name)
	}
	plan, err := mosquittodb.Scan(f, info.Size(), time.Now())
	if err != nil {
		return fmt.Errorf("%s cannot be read, and nothing was changed: %w", name, err)
	}
	if err := printPlan(w, name, plan); err != nil || dryRun {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	if err := write(ctx, plan, dir, add); err != nil {
		return err
	}
	fmt.Fprintf(w, "carried over into %s\n", dir)
	hintOwner(w, dir)
	return nil
}

func write(ctx context.Context, plan *mosquittodb.Plan, dir string, add bool) error {
	into := func(dir string, sync pebble.Sync) error {
		s, err := pebble.Open(pebble.Options{Dir: dir, Sync: sync, Logger: quietLogger})
		if err != nil {
			return err
		}
		return errors.Join(plan.Write(ctx, s, add), s.Close())
	}
	if add {
		r, err := pebble.OpenReader(ctx, dir)
		switch {
		case errors.Is(err, pebble.ErrInUse):
			return fmt.Errorf("%w: stop the broker first", err)
		case err == nil:
			if err := r.Close(); err != nil {
				return err
			}
			return into(dir, pebble.SyncAlways)
		case !errors.Is(err, pebble.ErrNoStore):
			return err
		}
	}
	// Until it is closed nobody counts on it.
	err := pebble.Make(dir, func(dir string) error { return into(dir, pebble.SyncNever) })
	if errors.Is(err, pebble.ErrNotEmpty) {
		return fmt.Errorf("%s: %w. Name another with --data, or use --add to add to what is there", dir, err)
	}
	return err
}

func printPlan(w io.Writer, name string, plan *mosquittodb.Plan) error {
	c := plan.Counts
	when := "when Mosquitto ended"
	if !plan.Shutdown {
		when = "while Mosquitto ran: what came later is not in it"
	}
	fmt.Fprintf(w, "%s: format version %d, written %s\n", name, plan.Version, when)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range []struct {
		name string
		n    int
		more string
	}{
		{"sessions", c.Sessions, ""},
		{"subscriptions", c.Subscriptions, ""},
		{"queued messages", c.Queued, fmt.Sprintf("%d of them were sent and not acknowledged", c.InFlight)},
		{"outgoing QoS 2, released", c.Released, "the client has the message"},
		{"incoming QoS 2", c.Received, "the client has not released the message"},
		{"retained messages", c.Retained, ""},
	} {
		if line.n == 0 || line.more == "" {
			fmt.Fprintf(t, "  %s\t%d\n", line.name, line.n)
		} else {
			fmt.Fprintf(t, "  %s\t%d\t(%s)\n", line.name, line.n, line.more)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(plan.Left) > 0 {
		fmt.Fprintln(w, "not carried over:")
	}
	for _, l := range plan.Left {
		fmt.Fprintf(w, "  %d %s (the first: %s)\n", l.Count, l.Reason, l.Example)
	}
	return nil
}
