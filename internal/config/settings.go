package config

import (
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// Settings are what a configuration says, with defaults where it says nothing. Units are those of the options unless a field
// has a type that bears one.
type Settings struct {
	// File is the configuration file's path, as it was given; empty: there is none.
	File string
	// Ports are those of the command line: used when the file has no listener.
	Ports []int

	AllowDuplicates    bool
	CheckRetainSource  bool
	ClientIDPrefix     string
	ControlAPI         bool
	MaxClients         int // -1: no limit
	MaxConnections     int // -1: no limit
	MaxInflightBytes   int64
	MaxInflight        int // 0: no limit
	MaxKeepAlive       int
	MaxPacket          int
	MaxQueuedBytes     int64
	MaxQueued          int
	MemoryLimit        Size
	MaxPayload         int64
	PerListener        bool
	SessionExpiry      time.Duration // 0: never
	PIDFile            string
	QueueQoS0          bool
	RetainAvailable    bool
	RetainExpiry       time.Duration // 0: never
	NoDelay            bool
	SysInterval        time.Duration
	UpgradeQoS         bool
	User               string
	PacketBuffer       int
	ConnectionMessages bool

	// Own are Nightjar's own limits.
	Own Own
	// Security is for all listeners, unless PerListener.
	Security Security
	Throttle Throttle
	Rate     Rate
	Log      Log
	Store    Store

	Listeners []*Listener
	Bridges   []*Bridge
	Plugins   []*Plugin

	// Given are the lines that were read, in their order.
	Given []Entry

	defaultListener *Listener // options in front of the first listener line
	localOnly       bool      // no line opens a listener
}

// Own are settings that Mosquitto has no option for.
type Own struct {
	Engine           string
	Loops            int
	MaxConnect       Size
	ConnectTimeout   time.Duration
	MaxOpening       int
	PacketTimeout    time.Duration
	PacketRate       Size
	ReceiveMaximum   int // 0: as MaxInflight
	MaxSubscriptions int
	OutboxBytes      Size
	RetainedBytes    Size
	MatchCache       int
	ShutdownTime     time.Duration
	Profile          string
}

// Security says who may connect, and what they may do.
type Security struct {
	AllowAnonymous      Tri
	AllowEmptyClientID  bool
	AutoIDPrefix        string
	PasswordFile        string
	ACLFile             string
	JWT                 JWT
	HTTP                HTTPAuth
	plugins             []*Plugin
	listenerAnonymous   Tri
	listenerIDPrefix    string
	listenerIDPrefixSet bool
}

// JWT are the tokens that are taken as passwords.
type JWT struct {
	SecretFile, KeyFile, JWKS                string
	JWKSRefresh, JWKSMinRefresh, JWKSTimeout time.Duration
	Algorithms                               []string
	Issuer, Audience                         string
	Leeway, MaxAge                           time.Duration
	NoExpiry, IgnoreUsername, Required       bool
	UsernameClaim, ClientIDClaim             string
	PublishClaim, SubscribeClaim             string
}

// Used tells whether tokens are taken.
func (j *JWT) Used() bool { return j.SecretFile != "" || j.KeyFile != "" || j.JWKS != "" }

// HTTPAuth is the web service that is asked about logins.
type HTTPAuth struct {
	URL                      string
	Headers                  []string
	CAFile                   string
	Timeout                  time.Duration
	Concurrent, Waiting      int
	CacheTime, CacheRefusals time.Duration
	CacheEntries             int
}

// Throttle slows down those who guess passwords, and bounds what checking passwords costs.
type Throttle struct {
	Throttle               bool
	Free                   int
	First, Longest, Forget time.Duration
	Entries                int
	Hashers, HashQueue     int
	RememberLogins         int
}

// Rate bounds what a client, and all clients of a user together, may do in a second; 0: no bound.
type Rate struct {
	Publish, UserPublish     int
	Bytes, UserBytes         Size
	Subscribe, UserSubscribe int
	Connect, UserConnect     int // in a minute
	Action                   string
}

// Log is where the log goes and what is in it.
type Log struct {
	Stderr, Stdout, Syslog, Topic bool
	None                          bool
	Unbuffered                    bool
	File                          string
	Facility                      string
	Timestamp                     bool
	TimestampFormat               string // strftime; empty: seconds since 1970
	// Types are Mosquitto's: error warning notice information debug subscribe unsubscribe websockets internal. All: every one.
	Types     []string
	All       bool
	Format    string // text or json
	WSLevel   int
	Overruled string // "verbose" or "quiet", from the command line
	destSet   bool
	typeSet   bool
}

// Store is what survives the process.
type Store struct {
	Persistence       bool
	Location          string
	File              string
	DataDir           string
	Sync              Sync
	AutosaveInterval  int
	AutosaveOnChanges bool
}

// Sync says when what is acknowledged reaches the disk.
type Sync struct {
	Mode     string        // always, interval, never
	Interval time.Duration // at most so much later
}

// Directory is where the store keeps its files.
func (s *Store) Directory() string {
	if s.DataDir != "" {
		return s.DataDir
	}
	if s.Location == "" {
		return "nightjar.data"
	}
	return filepath.Join(s.Location, "nightjar.data")
}

// Listener is a socket that clients connect to.
type Listener struct {
	Position
	Port int
	Host string // empty: all addresses
	Path string // of a unix socket; Port is 0 then

	BindInterface       string
	SocketDomain        string // ipv4, ipv6; empty: both
	SocketMode          uint32 // permissions of a unix socket; 0: what the umask leaves
	Protocol            string // mqtt, websockets, mqtt+websockets, http_api
	Versions            []int  // 3, 4, 5
	MaxConnections      int    // -1: no limit
	MaxQoS              int
	MaxTopicAlias       int
	MaxTopicAliasBroker int
	MountPoint          string
	UsernameAsClientID  bool
	ProxyProtocol       string // "1", "2", "on" (either); empty: off
	ProxyRequireTLS     bool
	ProxyTrusted        []string
	HTTPDir             string
	Origins             []string
	TLS                 TLS
	// Security is what holds here: after Load it is resolved, whether the options are per listener or not.
	Security Security

	isDefault bool
	asked     bool // the default listener: port or bind_address was given
	local     bool // opened because the file has none
}

// Name identifies a listener in one configuration and from one to the next: what the listener line says.
func (l *Listener) Name() string {
	if l.Path != "" {
		return "listener 0 " + l.Path
	}
	if l.Host == "" {
		return "listener " + strconv.Itoa(l.Port)
	}
	return fmt.Sprintf("listener %d %s", l.Port, l.Host)
}

// Local tells that the listener is one of those on the loopback addresses that there are without a listener line.
func (l *Listener) Local() bool { return l.local }

// TLS is a listener's.
type TLS struct {
	CertFile, KeyFile  string
	SNI                []SNI // further certificates, chosen by the name that the client asks for
	CAFile, CAPath     string
	RequireCertificate bool
	IdentityAsUsername bool
	SubjectAsUsername  bool
	CRLFile            string
	NoDateChecks       bool
	Ciphers, Ciphers13 string
	Version            string
}

// SNI is a certificate with its key.
type SNI struct{ CertFile, KeyFile string }

// Used tells whether the listener speaks TLS.
func (t *TLS) Used() bool { return t.CertFile != "" && t.KeyFile != "" }

// Plugin is a module of Mosquitto's.
type Plugin struct {
	Position
	Name, Path  string
	Options     [][2]string
	DenySpecial bool
}

// Position is a line in a file.
type Position struct {
	File string
	Line int
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// Entry is one line of a configuration.
type Entry struct {
	Position
	Section string // empty, a Listener's Name, or "connection NAME"
	Option  string // as the table calls it
	Value   string
}

// Tri is a truth value that may be missing.
type Tri byte

// The values of a Tri.
const (
	Unset Tri = iota
	No
	Yes
)

// Size is a number of bytes; in a file it may end in K, M or G (1024, its square, its cube).
type Size int64

// Defaults are those of `nightjar serve -c` with an empty file: Mosquitto 2.1's, and Nightjar's for its own options.
func Defaults() *Settings {
	return &Settings{
		CheckRetainSource: true, MaxClients: -1, MaxConnections: -1, MaxInflight: 20, MaxPacket: 2_000_000,
		MaxQueued: 1000, MemoryLimit: 256 << 20, RetainAvailable: true, SysInterval: 10 * time.Second, User: "mosquitto",
		PacketBuffer: 4096, ConnectionMessages: true,
		Own: Own{MaxConnect: 262_144, ConnectTimeout: 10 * time.Second, MaxOpening: 2000, PacketTimeout: 20 * time.Second,
			PacketRate: 256, OutboxBytes: 1 << 20, RetainedBytes: 256 << 20, MaxSubscriptions: 100_000, MatchCache: 16384, ShutdownTime: 5 * time.Second},
		Security: defaultSecurity(),
		Throttle: Throttle{Throttle: true, Free: 5, First: time.Second, Longest: 15 * time.Minute, Forget: time.Hour,
			Entries: 65536, HashQueue: 1024, RememberLogins: 10000},
		Rate:  Rate{Action: "slow"},
		Log:   Log{Stderr: true, Facility: "daemon", Timestamp: true, Types: []string{"error", "warning", "notice", "information"}, Format: "text"},
		Store: Store{File: "mosquitto.db", Sync: Sync{Mode: "always"}, AutosaveInterval: 1800},

		localOnly: true,
	}
}

func defaultSecurity() Security {
	return Security{AllowEmptyClientID: true, AutoIDPrefix: "auto-",
		JWT:  JWT{JWKSRefresh: time.Hour, JWKSMinRefresh: 30 * time.Second, JWKSTimeout: 5 * time.Second, UsernameClaim: "sub"},
		HTTP: HTTPAuth{Timeout: 5 * time.Second, Concurrent: 32, Waiting: 1024, CacheEntries: 10000}}
}

func newListener(pos Position) *Listener {
	return &Listener{Position: pos, Protocol: "mqtt", Versions: []int{3, 4, 5}, MaxConnections: -1, MaxQoS: 2, MaxTopicAlias: 10,
		MaxTopicAliasBroker: 10, Security: defaultSecurity()}
}
