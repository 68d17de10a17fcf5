package config

import (
	"math"
	"time"
)

var generalOptions = []*Option{
	{Name: "allow_duplicate_messages", Live: true, Deprecated: "leave it out: a message that several subscriptions of a client match comes once",
		About:  "A message that several subscriptions of a client match comes once for each of them.",
		Unlike: "false without the option: it comes once, at the highest QoS and with all subscription identifiers; false holds for MQTT 5 too",
		bind:   func(t *target) any { return &t.s.AllowDuplicates }},
	{Name: "check_retain_source", Live: true, About: "A retained message is sent only if its publisher could still publish it.",
		Unlike: "of publishers that have not connected since a restart only the names are known: the ACL file decides on them",
		bind:   func(t *target) any { return &t.s.CheckRetainSource }},
	{Name: "clientid_prefixes", Live: true, Deprecated: "use an ACL file or passwords to keep clients out", once: false,
		About: "Only client ids that begin so may connect.", bind: func(t *target) any { return &t.s.ClientIDPrefix }},
	{Name: "connection_messages", Live: true, About: "Log clients that connect and disconnect.",
		bind: func(t *target) any { return &t.s.ConnectionMessages }},
	{Name: "enable_control_api", Live: true, About: "Answer listListeners and listPlugins on $CONTROL/broker/v1.",
		Unlike: "without it what is published to $CONTROL is refused", bind: func(t *target) any { return &t.s.ControlAPI }},
	{Name: "global_max_clients", Live: true, About: "Sessions, connected and absent; -1: any number.", check: negativeIs(-1),
		bind: func(t *target) any { return &t.s.MaxClients }},
	{Name: "global_max_connections", Live: true, About: "Connected clients; -1: as many as descriptors allow.", check: negativeIs(-1),
		bind: func(t *target) any { return &t.s.MaxConnections }},
	{Name: "include_dir", Takes: "DIRECTORY", About: "Read the directory's *.conf files, by name, upper case before the lower case of the same letter."},
	{Name: "max_inflight_bytes", Live: true, About: "Bytes of QoS 1 and 2 messages sent to a client and not acknowledged; 0: any number.",
		check: negativeIs(0), bind: func(t *target) any { return &t.s.MaxInflightBytes }},
	{Name: "max_inflight_messages", Live: true, About: "QoS 1 and 2 messages sent to a client and not acknowledged; 0: any number.",
		check: inflight, bind: func(t *target) any { return &t.s.MaxInflight }},
	{Name: "max_keepalive", Live: true, Takes: "seconds", About: "Longest keep alive; 0: any. MQTT 5 clients are told, others refused.",
		check: between("max_keepalive", 0, math.MaxUint16), bind: func(t *target) any { return &t.s.MaxKeepAlive }},
	{Name: "max_packet_size", Live: true, Takes: "bytes", About: "Largest packet taken from a client.",
		Unlike: "a client that is disconnected for it is named in the log, with the size and the limit",
		check: func(n int64) (int64, *fault) {
			if n < 20 {
				return 0, faultf("'max_packet_size' must be >= 20.", "%d is too small: it must be at least 20", n)
			}
			return min(n, 268_435_460), nil
		}, bind: func(t *target) any { return &t.s.MaxPacket }},
	{Name: "max_queued_bytes", Live: true, Takes: "bytes", About: "Bytes that wait for a client beyond those under way; 0: any number.",
		Unlike: "what is dropped is counted by reason and logged", check: negativeIs(0), bind: func(t *target) any { return &t.s.MaxQueuedBytes }},
	{Name: "max_queued_messages", Live: true, About: "Messages that wait for a client beyond those under way; 0: any number.",
		Unlike: "what is dropped is counted by reason and logged", check: negativeIs(0), bind: func(t *target) any { return &t.s.MaxQueued }},
	{Name: "memory_limit", Live: true, About: "Bytes that wait for all clients together; 0: any number.",
		Unlike: "bounds what waits, not the heap: QoS 0 is dropped for clients that are behind, and publishers are slowed instead of disconnected; 256M without the option",
		bind:   func(t *target) any { return &t.s.MemoryLimit }},
	{Name: "message_size_limit", Live: true, Takes: "bytes", About: "Largest payload; 0: only max_packet_size counts. A larger one is acknowledged (MQTT 5: 0x95) and dropped.",
		check: between("message_size_limit", 0, 268_435_455), bind: func(t *target) any { return &t.s.MaxPayload }},
	{Name: "per_listener_settings", Live: false, Deprecated: "use listener_allow_anonymous and listener_auto_id_prefix, and plugin_use",
		About: "The security options belong to the listener they stand below, not to all.", bind: func(t *target) any { return &t.s.PerListener }},
	{Name: "persistent_client_expiration", Live: true, Takes: "NUMBER[s|h|d|w|m|y]", About: "How long absent sessions are kept; without it as long as they ask for.",
		parse: parseExpiration, bind: func(t *target) any { return &t.s.SessionExpiry }},
	{Name: "pid_file", Takes: "PATH", About: "Write the process's number there.", once: true, bind: func(t *target) any { return &t.s.PIDFile }},
	{Name: "queue_qos0_messages", Live: true, About: "Keep QoS 0 messages for absent sessions too.", bind: func(t *target) any { return &t.s.QueueQoS0 }},
	{Name: "retain_available", Live: true, About: "Keep retained messages.", bind: func(t *target) any { return &t.s.RetainAvailable }},
	{Name: "retain_expiry_interval", Live: true, unit: time.Minute, About: "Retained messages without an expiry of their own are dropped after this time; without it never.",
		check: func(n int64) (int64, *fault) {
			if n < 1 {
				return 0, faultf("retain_expiry_interval must be >= 1.", "%d is too small: it must be at least 1 minute", n)
			}
			return min(n, 10_000_000), nil
		}, bind: func(t *target) any { return &t.s.RetainExpiry }},
	{Name: "retry_interval", Takes: "seconds", About: "When messages are sent again.", Obsolete: "messages are sent again when a client connects again, and only then [MQTT-4.4.0-1]"},
	{Name: "set_tcp_nodelay", About: "Send small packets at once.", Unlike: "always on: packets are gathered by turns of the event loop, so nothing is won by waiting",
		bind: func(t *target) any { return &t.s.NoDelay }},
	{Name: "sys_interval", Live: true, unit: time.Second, About: "How often $SYS is published; 0: never.",
		check: between("sys_interval", 0, math.MaxUint16), bind: func(t *target) any { return &t.s.SysInterval }},
	{Name: "upgrade_outgoing_qos", Live: true, About: "Deliver at the subscription's QoS, even if the message was published at a lower one.",
		bind: func(t *target) any { return &t.s.UpgradeQoS }},
	{Name: "user", Takes: "NAME", About: "The user to become when started as root; if there is none of that name, nobody.",
		bind: func(t *target) any { return &t.s.User }},
	{Name: "packet_buffer_size", Aliases: []string{"websockets_headers_size"}, Takes: "bytes", About: "First read buffer, and the bound of a WebSocket request's headers.",
		Unlike: "there is one read buffer for each event loop; headers are bounded by themselves", Obsolete: "buffers size themselves",
		check: func(n int64) (int64, *fault) {
			if n < 0 || n > math.MaxUint16 {
				return 0, faultf("Packet buffer size must be between 0 and 65535 inclusive.", "%d is not between 0 and 65535", n)
			}
			return n, nil
		}, bind: func(t *target) any { return &t.s.PacketBuffer }},
}

func inflight(n int64) (int64, *fault) {
	switch {
	case n < 0 || n == math.MaxUint16:
		return 0, nil
	case n > math.MaxUint16:
		return 0, faultf("'max_inflight_messages' must be <= 65535.", "%d is too large: it must be at most 65535", n)
	}
	return n, nil
}

func parseExpiration(p *parser, value string) *fault {
	bad := func() *fault {
		return faultf("Invalid 'persistent_client_expiration' duration in configuration.", "%q is not a number with s, h, d, w, m (30 days) or y behind it, such as 14d", value)
	}
	word := firstWord(value)
	units := map[byte]time.Duration{'s': time.Second, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
		'm': 30 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}
	unit := units[word[len(word)-1]]
	if unit == 0 {
		return bad()
	}
	n, f := number("persistent_client_expiration", word[:len(word)-1])
	if f != nil || n <= 0 || time.Duration(n) > math.MaxInt64/unit {
		return bad()
	}
	p.s.SessionExpiry = time.Duration(n) * unit
	return nil
}

var storeOptions = []*Option{
	{Name: "persistence", Aliases: []string{"retained_persistence"}, Live: false, About: "Sessions, queued and retained messages survive the process.",
		Unlike: "what was acknowledged is on stable storage first (sync always), not in the next snapshot",
		bind:   func(t *target) any { return &t.s.Store.Persistence }},
	{Name: "persistence_location", Takes: "DIRECTORY", once: true, About: "Where the store is kept, in a directory nightjar.data; without it the working directory.",
		bind: func(t *target) any { return &t.s.Store.Location }},
	{Name: "persistence_file", Takes: "NAME", once: true, About: "Mosquitto's snapshot.", Obsolete: "the store is a directory, nightjar.data in persistence_location, or data_dir; mosquitto.db is neither read nor written",
		Unlike: "the store is a directory, and Mosquitto's file is left alone", bind: func(t *target) any { return &t.s.Store.File }},
	{Name: "autosave_interval", Live: true, Takes: "seconds", About: "How often Mosquitto writes its snapshot.", Obsolete: "each message is stored when it comes; see sync",
		Unlike: "nothing waits for a snapshot", check: negativeIs(0), bind: func(t *target) any { return &t.s.Store.AutosaveInterval }},
	{Name: "autosave_on_changes", Live: true, About: "autosave_interval counts changes.", Obsolete: "each message is stored when it comes; see sync",
		Unlike: "nothing waits for a snapshot", bind: func(t *target) any { return &t.s.Store.AutosaveOnChanges }},
}

var logOptions = []*Option{
	{Name: "log_dest", Live: true, Takes: "stderr|stdout|syslog|topic|file PATH|none", def: "stderr", parse: parseLogDest, About: "Where the log goes; repeatable.",
		bind: func(t *target) any {
			l := t.s.Log
			return &struct {
				a, b, c, d, e, f bool
				g                string
			}{l.Stderr, l.Stdout, l.Syslog, l.Topic, l.None, l.Unbuffered, l.File}
		}},
	{Name: "log_facility", Takes: "0 to 7", def: "daemon", parse: parseLogFacility, About: "Syslog's facility: local0 to local7.",
		bind: func(t *target) any { return &t.s.Log.Facility }},
	{Name: "log_timestamp", Live: true, About: "Begin each line with the time.", bind: func(t *target) any { return &t.s.Log.Timestamp }},
	{Name: "log_timestamp_format", Live: true, Takes: "strftime", once: true, About: "How the time is written; without it seconds since 1970.",
		bind: func(t *target) any { return &t.s.Log.TimestampFormat }},
	{Name: "log_type", Live: true, Takes: "error|warning|notice|information|debug|subscribe|unsubscribe|websockets|internal|all|none", def: "error warning notice information",
		parse: parseLogType, About: "What is logged; repeatable.", bind: func(t *target) any {
			return &struct {
				types []string
				all   bool
			}{t.s.Log.Types, t.s.Log.All}
		}},
	{Name: "websockets_log_level", Takes: "number", About: "A bit mask for libwebsockets.", Obsolete: "there is no libwebsockets here; use log_type websockets",
		Unlike: "log_type websockets is enough", bind: func(t *target) any { return &t.s.Log.WSLevel }},
	{Name: "log_format", Own: true, Live: true, words: []string{"text", "json"}, About: "Lines for people, or JSON objects for machines.",
		bind: func(t *target) any { return &t.s.Log.Format }},
}
