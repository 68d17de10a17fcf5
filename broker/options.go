package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
	"github.com/nightjar-mqtt/nightjar/internal/store/memory"
)

// The hooks and what they are given. They are called on the event loops: those that may take time answer by a callback.
type (
	// Identity is who a client is: its client id and user name, and what the Authenticator granted it.
	Identity = message.Identity
	// Login is what a client shows when it connects.
	Login = conn.Login
	// Verdict is an Authenticator's answer.
	Verdict = conn.Verdict
	// Meter bounds what a client sends, from its Verdict on.
	Meter = conn.Meter
	// Measure is a Meter's answer.
	Measure = conn.Measure
	// Authenticator decides who may connect.
	Authenticator = conn.Authenticator
	// Enhanced brings enhanced authentication (MQTT 5 §4.12).
	Enhanced = conn.Enhanced
	// Exchange is one client's enhanced authentication.
	Exchange = conn.Exchange
	// Step is the broker's turn in an Exchange.
	Step = conn.Step
	// Authorizer decides what a client may publish, subscribe to and receive.
	Authorizer = router.Authorizer
	// Control answers what clients publish to $CONTROL.
	Control = conn.Control
	// Decision is an Authorizer's answer.
	Decision = router.Decision
	// Store makes durable what must survive.
	Store = session.Store
	// Batch is a set of changes that a Store makes durable together.
	Batch = session.Batch
	// ConnectionLimits bound what one connection may do.
	ConnectionLimits = conn.Config
)

// Levels of log lines between and beyond slog's, for the log types of mosquitto.conf.
const (
	LevelSubscribe   = conn.LevelSubscribe
	LevelUnsubscribe = conn.LevelUnsubscribe
	LevelWebSockets  = conn.LevelWebSockets
	LevelNotice      = conn.LevelNotice
	LevelFatal       = conn.LevelFatal // the process ends after the line
)

// Values of the attribute "event" of log lines that clients can cause.
const (
	EventConnect          = conn.EventConnect
	EventDisconnect       = conn.EventDisconnect
	EventRefused          = conn.EventRefused
	EventLoginRefused     = conn.EventLoginRefused
	EventPublishRefused   = conn.EventPublishRefused
	EventSubscribeRefused = conn.EventSubscribeRefused
	EventSubscribe        = conn.EventSubscribe
	EventUnsubscribe      = conn.EventUnsubscribe
	EventUnread           = conn.EventUnread
	EventDropped          = conn.EventDropped
	EventPacket           = conn.EventPacket
)

// Options configure a Broker. Start from DefaultOptions.
type Options struct {
	ConnectionLimits

	// Engine moves the bytes: "epoll" or "goroutine"; "" chooses the best for the platform.
	Engine string
	// Loops is the number of event loops; 0: one per core.
	Loops int
	// Logger gets what an operator has to know; nil: slog.Default.
	Logger *slog.Logger

	// MaxInflight bounds the QoS 1 and 2 messages sent to a client and not acknowledged; a client may ask for fewer. It
	// bounds what has to be sent again.
	MaxInflight int
	// MaxQueued and MaxQueuedBytes bound what waits for one client beyond that, so that an absent client cannot exhaust
	// memory. 0: no bound of its own.
	MaxQueued      int
	MaxQueuedBytes int64
	// MaxInflightBytes bounds the payloads of the messages sent to a client and not acknowledged, beside MaxInflight: no more
	// are sent while they reach it. 0: no bound.
	MaxInflightBytes int64
	// OutboxBytes is how much may wait for one connection's socket before QoS 0 messages to it are dropped.
	OutboxBytes int
	// MemoryLimit bounds all outboxes and queues together, in bytes: beyond it QoS 0 to slow clients is dropped, queues
	// take no more, and publishers are read more slowly. 0: no limit.
	MemoryLimit int64
	// MaxRetainedBytes bounds what the retained messages of all topics cost in memory: their topics, payloads and properties, and
	// 128 bytes each. Beyond it MQTT 5 clients are told (0x97) and the messages of others are acknowledged and dropped; what
	// replaces a larger one is taken. 0: no bound.
	MaxRetainedBytes int64
	// RetainExpiry is after what time a retained message without an expiry of its own ends. 0: never.
	RetainExpiry time.Duration
	// CheckRetainSource has a retained message sent only if whoever retained it could still publish it.
	CheckRetainSource bool
	// AllowDuplicates has a client sent a message once for each of its subscriptions that match, not once in all.
	AllowDuplicates bool
	// MaxClients bounds the sessions, connected and absent. 0: no bound.
	MaxClients int
	// QueueQoS0 keeps QoS 0 messages for absent sessions too. UpgradeQoS delivers at the subscription's QoS. Both are
	// Mosquitto's, not the standard's.
	QueueQoS0  bool
	UpgradeQoS bool
	// MatchCache is how many topics each loop remembers the receivers of: about 300 bytes each, and never more than 2 kB
	// each on average, for which topics with many receivers are forgotten.
	MatchCache int

	Authenticator Authenticator // nil: everybody may connect
	Enhanced      Enhanced      // nil: no enhanced authentication
	Authorizer    Authorizer    // nil: everything is allowed
	Control       Control       // nil: nobody may publish to $CONTROL
	Store         Store         // nil: nothing survives the process
}

// DefaultOptions are Mosquitto 2.1's defaults where it has the setting.
func DefaultOptions() Options {
	return Options{
		ConnectionLimits: conn.Defaults(),
		MaxInflight:      20,
		MaxQueued:        1000,
		OutboxBytes:      1 << 20,
		MemoryLimit:      256 << 20,
		MaxRetainedBytes: 256 << 20, CheckRetainSource: true,
		MatchCache: 16384,
	}
}

// validate names the first setting that cannot be.
func (o *Options) validate() error {
	if err := validateLimits(&o.ConnectionLimits); err != nil {
		return err
	}
	switch {
	case o.MaxInflight < 0 || o.MaxQueued < 0 || o.MaxQueuedBytes < 0 || o.MemoryLimit < 0 || o.MaxClients < 0 ||
		o.MaxInflightBytes < 0 || o.MaxRetainedBytes < 0 || o.RetainExpiry < 0:
		return errors.New("broker: a limit is negative; 0 means no limit")
	case o.OutboxBytes < 4096:
		return fmt.Errorf("broker: OutboxBytes is %d; it must be at least 4096", o.OutboxBytes)
	}
	return nil
}

// bounds are those that sessions and the router look up while they run.
func (o *Options) bounds() *session.Limits {
	return &session.Limits{
		MaxInflight: o.MaxInflight, MaxInflightBytes: o.MaxInflightBytes, MaxQueued: o.MaxQueued, MaxQueuedBytes: o.MaxQueuedBytes,
		OutboxBytes: o.OutboxBytes, MaxTopicAlias: maxTopicAlias, QueueQoS0: o.QueueQoS0, UpgradeQoS: o.UpgradeQoS,
		MemoryLimit: o.MemoryLimit, MaxRetainedBytes: o.MaxRetainedBytes, RetainExpiry: o.RetainExpiry.Milliseconds(),
		CheckRetainSource: o.CheckRetainSource, Duplicates: o.AllowDuplicates,
	}
}

func (o *Options) complete() {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Store == nil {
		o.Store = memory.Store{}
	}
	if o.Loops <= 0 {
		o.Loops = runtime.GOMAXPROCS(0)
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = descriptorLimit()
	}
}

// Engines are the names that Options.Engine takes on this platform, the default first.
func Engines() []string { return netloop.Engines() }
