package config

import "time"

// Bridge is a connection section: a link to another broker.
type Bridge struct {
	Position
	Name      string
	Addresses []Address
	Topics    []BridgeTopic

	AttemptUnsubscribe bool
	BindAddress        string
	MaxPacket          int
	MaxTopicAlias      int
	OutgoingRetain     bool
	ProtocolVersion    string // mqttv31, mqttv311, mqttv50
	ReceiveMaximum     int    // 0: max_inflight_messages
	ReloadType         string // lazy, immediate
	SessionExpiry      int
	TCPKeepAlive       [3]int // idle, interval, count; 0: off
	TCPUserTimeout     int    // milliseconds; -1: off
	CleanSession       bool
	LocalCleanSession  Tri
	RemoteClientID     string // empty: HOSTNAME.NAME
	LocalClientID      string // empty: local.RemoteClientID
	RemoteUsername     string
	RemotePassword     string
	LocalUsername      string
	LocalPassword      string
	KeepAlive          time.Duration
	IdleTimeout        time.Duration
	Threshold          int
	StartType          string // automatic, lazy, once
	Restart            Restart
	RoundRobin         bool
	Notifications      bool
	NotifyLocalOnly    bool
	NotifyTopic        string
	TryPrivate         bool

	CAFile, CAPath, CertFile, KeyFile string
	OSCerts, Insecure, RequireOCSP    bool
	TLSVersion                        string
	Ciphers, Ciphers13, ALPN          string
	PSKIdentity, PSK                  string
}

// Address is where a bridge connects to.
type Address struct {
	Host string
	Port int
}

// BridgeTopic is a topic line of a bridge.
type BridgeTopic struct {
	Pattern       string // may be empty: Local and Remote are topics
	In, Out       bool
	QoS           int
	Local, Remote string
}

// Restart is how long a bridge waits before it connects again: from Base, growing to Cap; Cap 0: Base always. A connection
// that has stood for Stable counts as a good one.
type Restart struct{ Base, Cap, Stable time.Duration }

func newBridge(pos Position, name string) *Bridge {
	return &Bridge{Position: pos, Name: name, AttemptUnsubscribe: true, MaxTopicAlias: 10, OutgoingRetain: true,
		ProtocolVersion: "mqttv311", ReloadType: "lazy", TCPUserTimeout: -1, KeepAlive: time.Minute, IdleTimeout: time.Minute,
		Threshold: 10, StartType: "automatic", Restart: Restart{Base: 5 * time.Second, Cap: 30 * time.Second},
		Notifications: true, TryPrivate: true, TLSVersion: "tlsv1.2"}
}
