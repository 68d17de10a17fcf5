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
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// serveCommand runs the broker. Its flags are Mosquitto's where Mosquitto has them; the others have the names of
// mosquitto.conf's options, with hyphens.
func serveCommand() *cobra.Command {
	s := app.DefaultSettings()
	var verbose, quiet bool
	var config, versions string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "run the broker",
		Long: "Run the broker. Without flags it listens on the loopback addresses, port 1883, and lets anybody on this\n" +
			"machine connect. SIGINT and SIGTERM stop it; a second one stops it at once.",
		Args: cobra.NoArgs,
	}
	setHelp(cmd)
	f := cmd.Flags()
	f.IntVarP(&s.Port, "port", "p", s.Port, "port to listen on, on the loopback addresses; 0 chooses a free one")
	f.StringArrayVar(&s.Addresses, "listen", nil, "address to listen on instead, `[SCHEME://]HOST:PORT`, with scheme mqtt, mqtts, ws or wss; repeatable")
	f.StringVar(&s.CertFile, "cert", "", "the server's certificate chain, PEM, for mqtts and wss")
	f.StringVar(&s.KeyFile, "key", "", "its key, PEM")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	f.BoolVarP(&quiet, "quiet", "q", false, "log errors only")
	f.StringVarP(&config, "config-file", "c", "", "not read yet: use flags")
	f.StringVar(&versions, "accept-protocol-versions", "3,4,5", "protocol versions to accept: 3 (MQTT 3.1), 4 (3.1.1), 5")
	f.DurationVar(&s.SysInterval, "sys-interval", s.SysInterval, "how often $SYS is published; 0 for never")
	f.DurationVar(&s.ShutdownTime, "shutdown-time", s.ShutdownTime, "how long a shutdown may take")
	f.StringVar(&s.Profile, "profile", "", "loopback `ADDRESS` for Go's profiler")
	limitFlags(f, &s)
	cmd.RunE = func(*cobra.Command, []string) error {
		if config != "" {
			return errors.New("configuration files are not read yet; use the flags that 'nightjar serve --help' lists")
		}
		var err error
		if s.Broker.Versions, err = parseVersions(versions); err != nil {
			return err
		}
		switch {
		case quiet:
			s.LogLevel = slog.LevelError
		case verbose:
			s.LogLevel = slog.LevelDebug
		}
		s.Version, s.Self = programVersion(), selfName()
		s.Stdout, s.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
		return app.Run(s)
	}
	return cmd
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
