package conn

import (
	"crypto/x509"
	"log/slog"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Config is what the operator sets for connections. Zero values are taken as they are; see Defaults.
type Config struct {
	// MaxPacket bounds a packet from a client, in bytes: what one client may make the broker hold.
	MaxPacket int
	// MaxConnect bounds the CONNECT packet: what somebody unknown may make the broker hold.
	MaxConnect int
	// MaxPayload bounds a PUBLISH's payload; 0: only MaxPacket does. Over it, the publish is refused, not the connection.
	MaxPayload int
	// ConnectTimeout is how long a connection may take to send CONNECT: against connections that only occupy.
	ConnectTimeout time.Duration
	// MaxConnections bounds the open connections: of a listener, or of the broker if these are its own settings. 0: no bound
	// of ours. More are closed at once, as descriptors run out.
	MaxConnections int
	// MaxOpening bounds how many connections may be without CONNECT at a time: against a flood of them.
	MaxOpening int
	// PacketTimeout and PacketRate (bytes a second) say how fast an incomplete packet must grow: against trickled bytes.
	PacketTimeout time.Duration
	PacketRate    int
	// ReceiveMaximum is how many QoS 1 and 2 publishes a client may have under way (MQTT 5 §3.2.2.3.3).
	ReceiveMaximum uint16
	// MaxTopicAlias is how many topic aliases a client may set; each is a topic kept in memory.
	MaxTopicAlias uint16
	// MaxTopicAliasOut is how many topic aliases the broker sets towards a client that allows it.
	MaxTopicAliasOut uint16
	// MaxKeepAlive is the longest keep alive in seconds; 0: any. MQTT 5 clients are told, others refused.
	MaxKeepAlive uint16
	// MaxSubscriptions bounds the subscriptions of one client; 0: no bound.
	MaxSubscriptions int
	// MaxSessionExpiry bounds how long absent sessions are kept, in seconds.
	MaxSessionExpiry uint32
	MaxQoS           byte
	RetainAvailable  bool
	// AllowEmptyClientID lets clients have an id made for them, with AutoIDPrefix in front.
	AllowEmptyClientID bool
	AutoIDPrefix       string
	// Versions are the protocol versions that are accepted.
	Versions []mqtt.Version
	// ResponseInformation is what a client that asks for it is told (MQTT 5 §3.2.2.3.15).
	ResponseInformation string
	// MountPoint is put in front of every topic and filter of a client, and taken off what it is sent: so clients of
	// different listeners do not see each other's topics. After "$share/GROUP/" it stands in front of the filter. "": none.
	MountPoint string
	// UsernameAsClientID makes the user name the client id, so that nobody can take over the session of another user.
	// Clients without a user name are refused.
	UsernameAsClientID bool
	// Linger is how long a closing connection may take to read what it was sent last.
	Linger time.Duration
}

// Defaults are Mosquitto 2.1's where it has the setting.
func Defaults() Config {
	return Config{
		MaxPacket: 2_000_000, MaxConnect: 262_144,
		ConnectTimeout: 10 * time.Second, MaxOpening: 2000,
		PacketTimeout: 20 * time.Second, PacketRate: 256,
		ReceiveMaximum: 20, MaxTopicAlias: 10, MaxTopicAliasOut: 10, MaxSubscriptions: 100_000, MaxSessionExpiry: 0xFFFFFFFF,
		MaxQoS: 2, RetainAvailable: true, AllowEmptyClientID: true, AutoIDPrefix: "auto-",
		Versions: []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}, Linger: time.Second,
	}
}

// Shared is what all connections of a listener have in common: its settings, and what is the broker's. Its methods speak of
// all listeners of the broker unless they say otherwise.
type Shared struct {
	Config
	Router        *router.Router
	Authenticator Authenticator // nil: everybody may connect; see SetHooks
	Enhanced      Enhanced      // nil: no enhanced authentication; see SetHooks
	Log           *slog.Logger
	// Addresses gives the addresses of a transport's two ends, as words.
	Addresses func(t Transport) (peer, local string)
	// Certificate gives the client's certificate, checked by TLS, and its common name; a proxy that is trusted may tell the
	// name alone. nil: there are none.
	Certificate func(t Transport) (cert *x509.Certificate, commonName string)
	scratch     []scratch // per loop
	common      *common
	listener    *listener
}

// NewShared completes s for a number of loops.
func NewShared(s *Shared, loops int) *Shared {
	s.scratch = make([]scratch, loops)
	s.common, s.listener = new(common), new(listener)
	s.listener.latest.Store(s)
	s.SetHooks(s.Authenticator, s.Enhanced)
	s.SetMaxConnections(s.MaxConnections)
	return s
}

func (c *Conn) peer() string {
	peer, _ := c.sh.Addresses(c.t)
	return peer
}

// Close has all further CONNECT packets refused, because the broker shuts down.
func (sh *Shared) Close() { sh.common.closing.Store(true) }

// Open is how many connections there are.
func (sh *Shared) Open() int64 { return sh.common.open.Load() }

// Bound is how many of them have a session, or had one and may not have written all they were sent.
func (sh *Shared) Bound() int64 { return sh.common.bound.Load() }

// Opening is how many connections have not sent CONNECT.
func (sh *Shared) Opening() int64 { return sh.common.opening.Load() }

// pausedConns are publishers that are not read because the memory budget is used up.
type pausedConns struct {
	mu    sync.Mutex
	conns []*Conn
	told  bool // the log has that memory is short
}

// throttle stops reading from c until the next tick.
func (sh *Shared) throttle(c *Conn) {
	c.t.Pause()
	sh.common.paused.mu.Lock()
	defer sh.common.paused.mu.Unlock()
	sh.common.paused.conns = append(sh.common.paused.conns, c)
}

// Tick reads on from those that were paused: a little each time as long as memory is short, so that nobody waits for
// ever for memory that only he could free.
func (sh *Shared) Tick() {
	sh.common.paused.mu.Lock()
	conns := sh.common.paused.conns
	sh.common.paused.conns = nil
	tell := sh.common.paused.told != (len(conns) > 0) && (len(conns) > 0 || !sh.Router.Limits().OverMemory())
	if tell {
		sh.common.paused.told = len(conns) > 0
	}
	sh.common.paused.mu.Unlock()
	switch {
	case tell && len(conns) > 0:
		sh.log(slog.LevelWarn, EventMemory, "the memory limit is reached: those who publish at QoS 1 and 2 are read slowly", slog.Int("publishers", len(conns)))
	case tell:
		sh.log(LevelNotice, EventMemory, "there is memory again: publishers are read as fast as they send")
	}
	for _, c := range conns {
		c.t.Post(func(int, int64) {
			c.throttled = false
			c.goOn()
		})
	}
}

// scratch holds a loop's decoded packets, so that decoding allocates nothing.
type scratch struct {
	publish     mqtt.Publish
	ack         mqtt.Ack
	subscribe   mqtt.Subscribe
	unsubscribe mqtt.Unsubscribe
	message     message.Message
	props       []byte
	frame       []byte
	topic       []byte // with the listener's mount point
	codes       []mqtt.ReasonCode
	_           [64]byte // loops write to theirs all the time: no two on one cache line
}
