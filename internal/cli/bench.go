package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// benchCommand is the load generator: a command below it for each scenario.
func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "measure a broker under load",
		Long: "bench is a load generator for any MQTT broker. Each scenario is a command with its own help.\n\n" +
			"With --rate the loop is open: messages are sent when they are due, and latency counts from then, so that a\n" +
			"stall of the broker is not hidden. Without it the loop is closed: a publisher has at most --window messages\n" +
			"under way, to the broker and to the subscribers.\n\n" +
			"With --pid, the broker's process, its CPU time and memory are read from the system. CPU time per message at a\n" +
			"given rate is the figure to compare where generator and broker share a machine. The generator uses half of the\n" +
			"cores (--loops), and says so when it, and not the broker, was the limit.\n\n" +
			"--tls and --ws, alone or together, choose what lies between TCP and MQTT.",
		Example: "  nightjar bench pairs --pid $(pidof mosquitto)\n" +
			"  nightjar bench pairs --clients 50 --qos 1 --window 256 --burst 16\n" +
			"  nightjar bench fanin --clients 5000 --rate 40000 --plot latency.svg\n" +
			"  nightjar bench idle --clients 50000 --sources 2 --pid $(pidof nightjar)",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	setHelp(cmd)
	for _, s := range bench.Scenarios {
		cmd.AddCommand(scenarioCommand(s))
	}
	return cmd
}

var scenarioTexts = map[bench.Scenario][2]string{
	bench.Pairs:     {"n publishers to n subscribers, a topic for each pair", "number of pairs"},
	bench.Fanout:    {"1 publisher to n subscribers", "number of subscribers"},
	bench.Fanin:     {"n publishers with a topic each, 1 subscriber with a wildcard, or a shared group", "number of publishers"},
	bench.Mixed:     {"all QoS, exact and wildcard subscriptions, payloads of several sizes", "number of publishers"},
	bench.Connect:   {"connect, subscribe, disconnect, again and again", ""},
	bench.Idle:      {"n connections with a subscription each that do nothing", "number of connections"},
	bench.Retained:  {"a wildcard subscription over n retained topics, while a pair of clients goes on", "number of retained topics"},
	bench.Subscribe: {"many subscriptions, then some that come and go, while a pair of clients goes on", "number of clients that stay connected"},
}

// benchFlags are what is not an option of the generator as it stands.
type benchFlags struct {
	host, version, json, plot string
	cafile                    string
	tls, insecure             bool
	port, sources             int
	bind                      []string
	quiet                     bool
}

func scenarioCommand(s bench.Scenario) *cobra.Command {
	o, b := bench.DefaultOptions(s), &benchFlags{}
	cmd := &cobra.Command{
		Use: string(s), Short: scenarioTexts[s][0], Long: "bench " + string(s) + ": " + scenarioTexts[s][0] + ".", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd, o) },
	}
	setHelp(cmd)
	f := cmd.Flags()
	f.StringVarP(&b.host, "host", "h", "127.0.0.1", "`host` of the broker")
	f.IntVarP(&b.port, "port", "p", 1883, "`port` of the broker")
	f.StringVarP(&o.Username, "username", "u", "", "user `name`")
	f.StringVarP(&o.Password, "pw", "P", "", "`password`")
	f.BoolVar(&b.tls, "tls", false, "speak TLS; the broker's certificate is checked against the system's authorities")
	f.StringVar(&b.cafile, "cafile", "", "speak TLS and check against the authorities in `file`, PEM, instead")
	f.BoolVar(&b.insecure, "insecure", false, "speak TLS and take any certificate")
	f.BoolVar(&o.WebSocket, "ws", false, "speak WebSocket")
	f.StringVar(&o.Path, "ws-path", "/mqtt", "`path` of the WebSocket's URL")
	f.StringVarP(&b.version, "protocol-version", "V", "311", "`version` of MQTT: 31, 311 or 5")
	f.IntVar(&o.PID, "pid", 0, "process `id` of the broker, whose CPU time and memory are to be read")
	f.DurationVarP(&o.Duration, "duration", "d", o.Duration, "how long to measure")
	f.DurationVar(&o.Warmup, "warmup", o.Warmup, "how long to run before")
	loadFlags(f, s, &o)
	f.IntVar(&o.Parallel, "parallel", o.Parallel, "`number` of clients being connected at a time")
	f.IntVar(&o.Loops, "loops", o.Loops, "event loops of the generator; as a rule half of the cores, so that the broker has the others")
	f.IntVar(&b.sources, "sources", 0, "spread connections over so many loopback addresses, from 127.0.0.1 on: each has its own ports")
	f.StringSliceVar(&b.bind, "bind", nil, "local `addresses` to spread connections over")
	f.StringVar(&o.Prefix, "prefix", o.Prefix, "what topics and client ids begin with")
	f.StringVar(&b.json, "json", "", "write the result to `file`; - for standard output instead of the table")
	f.StringVar(&b.plot, "plot", "", "draw latency over time into `file`, an SVG")
	f.DurationVar(&o.Interval, "interval", o.Interval, "how often to count for the plot")
	f.BoolVarP(&b.quiet, "quiet", "q", false, "no live line")
	return cmd
}

// loadFlags are those that make sense for some scenarios only.
func loadFlags(f *pflag.FlagSet, s bench.Scenario, o *bench.Options) {
	if text := scenarioTexts[s][1]; text != "" {
		f.IntVarP(&o.Clients, "clients", "n", o.Clients, text)
	}
	if s == bench.Fanin {
		f.IntVar(&o.Group, "group", 0, "subscribe with a shared group of so many `members`")
	}
	if s != bench.Mixed {
		f.IntVar(&o.QoS, "qos", 0, "QoS of subscriptions and publishes")
	}
	if s == bench.Idle {
		f.Uint16Var(&o.KeepAlive, "keepalive", 0, "keep alive in `seconds`; pings are sent in time. 0: none")
	}
	if s == bench.Connect || s == bench.Idle {
		return
	}
	f.IntVarP(&o.Payload, "payload", "s", o.Payload, fmt.Sprintf("size of a payload in `bytes`, at least %d", bench.MinPayload))
	f.Float64Var(&o.Rate, "rate", o.Rate, "open loop: `messages` sent per second, all publishers together")
	if s == bench.Retained || s == bench.Subscribe {
		f.IntVar(&o.Window, "window", 0, "publishes under way while setting up; default 1000")
	} else {
		f.IntVar(&o.Window, "window", o.Window, "closed loop: `messages` that each publisher may have under way; default 1000, less for large payloads and for many publishers of fanin")
	}
	if s == bench.Retained {
		f.BoolVar(&o.Keep, "keep", false, "leave the retained messages behind")
		return
	}
	if s == bench.Subscribe {
		f.IntVar(&o.Subscriptions, "subscriptions", o.Subscriptions, "`number` of subscriptions in all")
		f.IntVar(&o.Sessions, "sessions", 0, "`number` of sessions that they belong to; those beyond --clients are left disconnected")
		f.Float64Var(&o.Wildcards, "wildcards", o.Wildcards, "`share` of the subscriptions that have a wildcard")
		f.Float64Var(&o.Churn, "churn", o.Churn, "subscriptions that come and go per second")
		return
	}
	f.IntVarP(&o.Burst, "burst", "b", o.Burst, "`messages` per write")
}

// complete turns flags into options.
func (b *benchFlags) complete(o *bench.Options) error {
	o.Address = fmt.Sprintf("%s:%d", b.host, b.port)
	if strings.Contains(b.host, ":") {
		o.Address = fmt.Sprintf("[%s]:%d", b.host, b.port)
	}
	switch b.version {
	case "31", "mqttv31":
		o.Version = mqtt.V31
	case "311", "mqttv311":
		o.Version = mqtt.V311
	case "5", "mqttv5":
		o.Version = mqtt.V5
	default:
		return fmt.Errorf("--protocol-version: there is no %q; 31, 311 and 5 exist", b.version)
	}
	if b.sources < 0 || b.sources > 250 {
		return fmt.Errorf("--sources: %d; choose from 1 to 250", b.sources)
	}
	if err := b.completeTLS(o); err != nil {
		return err
	}
	for i := range b.sources {
		o.Sources = append(o.Sources, netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}))
	}
	for _, text := range b.bind {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("--bind: %w", err)
		}
		o.Sources = append(o.Sources, a)
	}
	return nil
}

// completeTLS reads what --tls, --cafile and --insecure come to.
func (b *benchFlags) completeTLS(o *bench.Options) error {
	if !b.tls && b.cafile == "" && !b.insecure {
		return nil
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: b.insecure}
	if b.cafile == "" {
		return nil
	}
	pem, err := os.ReadFile(b.cafile)
	if err != nil {
		return fmt.Errorf("--cafile: %w", err)
	}
	o.TLS.RootCAs = x509.NewCertPool()
	if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("--cafile: %s has no certificate in PEM form", b.cafile)
	}
	return nil
}

func (b *benchFlags) run(cmd *cobra.Command, o bench.Options) error {
	if err := b.complete(&o); err != nil {
		return usageError{cmd, err}
	}
	if !b.quiet {
		o.Live, o.LiveEnd = cmd.ErrOrStderr(), "\n"
		if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			o.LiveEnd = "\r"
		}
	}
	// Garbage is rare here; what there is must not be collected in the middle of a latency.
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := bench.Run(ctx, o)
	if !b.quiet && o.LiveEnd == "\r" {
		fmt.Fprintln(o.Live)
	}
	if err != nil {
		return err
	}
	return b.output(cmd, report)
}

func (b *benchFlags) output(cmd *cobra.Command, report *bench.Report) error {
	var errs []error
	if b.json == "-" {
		errs = append(errs, report.WriteJSON(cmd.OutOrStdout()))
	} else {
		errs = append(errs, report.Write(cmd.OutOrStdout()))
	}
	if b.json != "" && b.json != "-" {
		errs = append(errs, writeFile(b.json, report.WriteJSON))
	}
	if b.plot != "" {
		errs = append(errs, writeFile(b.plot, report.Plot))
	}
	return errors.Join(errs...)
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
