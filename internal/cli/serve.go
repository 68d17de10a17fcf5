package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nightjar-mqtt/nightjar/internal/app"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// serveCommand runs the broker. Its flags are Mosquitto's where Mosquitto has them; the others have the names of
// mosquitto.conf's options, with hyphens.
func serveCommand() *cobra.Command {
	s := app.DefaultSettings()
	var verbose, quiet, background, test bool
	var versions string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "run the broker",
		Long: "Run the broker. Without flags it listens on the loopback addresses, port 1883, and lets anybody on this\n" +
			"machine connect. With -c it does what a mosquitto.conf says. SIGHUP reads that again; SIGINT and SIGTERM\n" +
			"stop it; a second one stops it at once.",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolP("help", "h", false, "print this help")
	f.StringVarP(&s.ConfigFile, "config-file", "c", "", "configuration `FILE`, in mosquitto.conf's syntax; see 'nightjar check'")
	f.BoolVar(&test, "test-config", false, "read the configuration file, say what is wrong with it, and end")
	f.IntSliceVarP(&s.Ports, "port", "p", nil, "port to listen on, on the loopback addresses; 0 chooses a free one; repeatable (default 1883)")
	f.StringVar(&s.TLSKeyLog, "tls-keylog", "", "`FILE` for the secrets of TLS connections, for debugging with e.g. wireshark; not on a production server")
	f.BoolVarP(&background, "daemon", "d", false, "go into the background once the broker serves")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	f.BoolVarP(&quiet, "quiet", "q", false, "log errors only; nothing with -c")
	withoutFile := pflag.NewFlagSet("", pflag.ContinueOnError) // these cannot be used with -c
	withoutFile.SortFlags = false
	withoutFile.StringArrayVar(&s.Addresses, "listen", nil, "address to listen on instead, `[SCHEME://]HOST:PORT`, with scheme mqtt, mqtts, ws or wss; repeatable")
	withoutFile.StringVar(&s.CertFile, "cert", "", "the server's certificate chain, PEM, for mqtts and wss")
	withoutFile.StringVar(&s.KeyFile, "key", "", "its key, PEM")
	withoutFile.StringVar(&s.Data, "data", "", "`DIRECTORY` of what must survive: sessions, queued and retained messages; "+app.NoData+" keeps them in memory (default: the user's or the system's state directory)")
	withoutFile.StringVar(&s.Sync, "sync", s.Sync, "when it is synced to disk: always (before it is acknowledged), interval=DURATION, never")
	withoutFile.StringVar(&versions, "accept-protocol-versions", "3,4,5", "protocol versions to accept: 3 (MQTT 3.1), 4 (3.1.1), 5")
	withoutFile.DurationVar(&s.SysInterval, "sys-interval", s.SysInterval, "how often $SYS is published; 0 for never")
	withoutFile.DurationVar(&s.ShutdownTime, "shutdown-time", s.ShutdownTime, "how long a shutdown may take")
	withoutFile.StringVar(&s.Profile, "profile", "", "loopback `ADDRESS` for Go's profiler")
	limitFlags(withoutFile, &s)
	f.AddFlagSet(withoutFile)
	cmd.RunE = func(*cobra.Command, []string) error {
		s.Version, s.Self = programVersion(), selfName()
		s.Stdout, s.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
		if err := checkServeFlags(&s, withoutFile, test); err != nil {
			return exitError{mosquittoInvalid, err}
		}
		var err error
		if s.Broker.Versions, err = parseVersions(versions); err != nil {
			return err
		}
		s.Verbose, s.Quiet = verbose, quiet
		switch {
		case quiet:
			s.LogLevel = slog.LevelError
		case verbose:
			s.LogLevel = slog.LevelDebug
		}
		if test {
			return testConfig(&s)
		}
		return serve(s, background)
	}
	return cmd
}

// mosquittoInvalid is the exit status of mosquitto for a configuration or a command line that cannot be used.
const mosquittoInvalid = 3

func checkServeFlags(s *app.Settings, withoutFile *pflag.FlagSet, test bool) (err error) {
	for _, port := range s.Ports {
		if port < 0 || port > 65535 {
			return fmt.Errorf("Invalid port specified (%d).", port)
		}
	}
	if s.ConfigFile == "" {
		if test {
			return errors.New("Please provide a configuration file to test.")
		}
		return nil
	}
	withoutFile.VisitAll(func(f *pflag.Flag) {
		if f.Changed && err == nil {
			option := strings.ReplaceAll(f.Name, "-", "_")
			if config.Lookup(option) == nil {
				err = fmt.Errorf("--%s cannot be used with a configuration file: what it does is written in the file", f.Name)
				return
			}
			err = fmt.Errorf("--%s cannot be used with a configuration file: write '%s' in %s", f.Name, option, s.ConfigFile)
		}
	})
	return err
}

// testConfig reads a configuration file and says what is wrong with it.
func testConfig(s *app.Settings) error {
	_, problems := s.LoadConfig()
	for _, p := range problems {
		if p.Severity != config.Failure {
			fmt.Fprintln(s.Stderr, p)
		}
	}
	if err := problems.Err(); err != nil {
		return exitError{1, verbatim(err.Error())}
	}
	fmt.Fprintln(s.Stdout, "Configuration file is OK.")
	return nil
}

// serve runs the broker, in the background if that is wanted.
func serve(s app.Settings, background bool) error {
	if background {
		if done, err := app.Background(); done || err != nil {
			var status app.BackgroundError
			if errors.As(err, &status) {
				return exitError{status: int(status)} // it has said why
			}
			return err
		}
	}
	err := app.Run(s)
	var problems config.Problems
	if errors.As(err, &problems) {
		return exitError{mosquittoInvalid, verbatim(problems.Error())}
	}
	if logged := (app.LoggedError{}); errors.As(err, &logged) {
		return exitError{status: 1}
	}
	return err
}

// limitFlags are the limits, each with the reason in its help.
func limitFlags(f *pflag.FlagSet, s *app.Settings) {
	b := &s.Broker
	f.StringVar(&b.Engine, "engine", b.Engine, "network engine: epoll (Linux) or goroutine; default: the best of the platform")
	f.IntVar(&b.Loops, "loops", b.Loops, "event loops; 0: one per core")
	f.IntVar(&b.MaxPacket, "max-packet-size", b.MaxPacket, "largest packet taken from a client, bytes")
	f.IntVar(&b.MaxConnect, "max-connect-size", b.MaxConnect, "largest CONNECT packet, bytes: what a stranger can make the broker hold")
	f.IntVar(&b.MaxPayload, "message-size-limit", b.MaxPayload, "largest payload, bytes; 0: only the packet size counts")
	f.DurationVar(&b.ConnectTimeout, "connect-timeout", b.ConnectTimeout, "time a new connection has to send CONNECT")
	f.IntVar(&b.MaxOpening, "max-opening", b.MaxOpening, "connections that may be without CONNECT at a time")
	f.DurationVar(&b.PacketTimeout, "packet-timeout", b.PacketTimeout, "time a packet may take to arrive, plus what --packet-rate gives")
	f.IntVar(&b.PacketRate, "packet-rate", b.PacketRate, "bytes a second at which a large packet must arrive at least")
	f.IntVar(&b.MaxConnections, "max-connections", b.MaxConnections, "open connections; 0: as many as descriptors allow")
	f.IntVar(&b.MaxClients, "max-clients", b.MaxClients, "sessions, connected and absent; 0: no limit")
	f.IntVar(&b.MaxSubscriptions, "max-subscriptions", b.MaxSubscriptions, "subscriptions per client; 0: no limit")
	f.Uint16Var(&b.MaxKeepAlive, "max-keepalive", b.MaxKeepAlive, "longest keep alive, seconds; 0: any")
	f.Uint16Var(&b.ReceiveMaximum, "receive-maximum", b.ReceiveMaximum, "QoS 1 and 2 messages an MQTT 5 client may have under way")
	f.Uint16Var(&b.MaxTopicAlias, "max-topic-alias", b.MaxTopicAlias, "topic aliases a client may set")
	f.Uint16Var(&b.MaxTopicAliasOut, "max-topic-alias-broker", b.MaxTopicAliasOut, "topic aliases the broker sets towards a client")
	f.Uint32Var(&b.MaxSessionExpiry, "max-session-expiry", b.MaxSessionExpiry, "longest time an absent session is kept, seconds")
	f.Uint8Var(&b.MaxQoS, "max-qos", b.MaxQoS, "highest QoS")
	f.IntVar(&b.MaxInflight, "max-inflight-messages", b.MaxInflight, "QoS 1 and 2 messages sent to a client and not acknowledged; 0: as many as it allows")
	f.IntVar(&b.MaxQueued, "max-queued-messages", b.MaxQueued, "messages that wait for a client beyond those; 0: no limit")
	f.Int64Var(&b.MaxQueuedBytes, "max-queued-bytes", b.MaxQueuedBytes, "their size per client; 0: no limit of its own")
	f.IntVar(&b.OutboxBytes, "max-outbox-bytes", b.OutboxBytes, "bytes that wait for a client's socket before QoS 0 is dropped")
	f.Int64Var(&b.MemoryLimit, "memory-limit", b.MemoryLimit, "bytes that wait for all clients together; 0: no limit")
	f.Int64Var(&b.MaxRetainedBytes, "max-retained-bytes", b.MaxRetainedBytes, "bytes that retained messages take in memory; 0: no limit")
	f.IntVar(&b.MatchCache, "match-cache", b.MatchCache, "topics each loop remembers the receivers of")
	f.BoolVar(&b.RetainAvailable, "retain-available", b.RetainAvailable, "keep retained messages")
	f.BoolVar(&b.AllowEmptyClientID, "allow-zero-length-clientid", b.AllowEmptyClientID, "give clients without an id one")
	f.StringVar(&b.AutoIDPrefix, "auto-id-prefix", b.AutoIDPrefix, "what such ids begin with")
	f.BoolVar(&b.QueueQoS0, "queue-qos0-messages", b.QueueQoS0, "keep QoS 0 messages for absent sessions")
	f.BoolVar(&b.UpgradeQoS, "upgrade-outgoing-qos", b.UpgradeQoS, "deliver at the subscription's QoS (not the standard's)")
}

func parseVersions(list string) (out []mqtt.Version, err error) {
	for _, v := range strings.Split(list, ",") {
		switch strings.TrimSpace(v) {
		case "3":
			out = append(out, mqtt.V31)
		case "4":
			out = append(out, mqtt.V311)
		case "5":
			out = append(out, mqtt.V5)
		default:
			return nil, fmt.Errorf("--accept-protocol-versions: %q is none; 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5", v)
		}
	}
	return out, nil
}

// selfName is how the user calls this program.
func selfName() string {
	if self, err := os.Executable(); err == nil && strings.Contains(self, "go-build") {
		return "go run ./cmd/nightjar"
	}
	return "nightjar"
}
