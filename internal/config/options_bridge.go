package config

import (
	"fmt"
	"math"
	"time"
)

const bridgeTLS = "The bridge's TLS: "

var bridgeOptions = []*Option{
	{Name: "connection", NotYet: true, Takes: "NAME", parse: parseConnection, About: "Open a link to another broker: the options below are for it."},
	{Name: "address", Aliases: []string{"addresses"}, Scope: OfBridge, Takes: "HOST[:PORT] ...", parse: parseAddresses, About: "Where to connect to.", bind: func(t *target) any { return &t.b.Addresses }},
	{Name: "topic", Scope: OfBridge, Takes: "PATTERN [out|in|both [QOS [LOCAL REMOTE]]]", parse: parseBridgeTopic, About: "What to pass on; repeatable.", bind: func(t *target) any { return &t.b.Topics }},
	{Name: "bridge_attempt_unsubscribe", Scope: OfBridge, About: "Unsubscribe from out topics at the remote broker.", bind: func(t *target) any { return &t.b.AttemptUnsubscribe }},
	{Name: "bridge_bind_address", Scope: OfBridge, once: true, Takes: "ADDRESS", About: "Address to connect from.", bind: func(t *target) any { return &t.b.BindAddress }},
	{Name: "bridge_max_packet_size", Scope: OfBridge, Takes: "bytes", check: negativeIs(0), About: "Largest packet to send; 0: what the remote takes.", bind: func(t *target) any { return &t.b.MaxPacket }},
	{Name: "bridge_max_topic_alias", Scope: OfBridge, check: bridgeAlias, About: "Topic aliases the remote may set.", bind: func(t *target) any { return &t.b.MaxTopicAlias }},
	{Name: "bridge_outgoing_retain", Scope: OfBridge, About: "Pass the retain flag on.", bind: func(t *target) any { return &t.b.OutgoingRetain }},
	{Name: "bridge_protocol_version", Scope: OfBridge, words: []string{"mqttv31", "mqttv311", "mqttv50"}, About: "The version to speak.", bind: func(t *target) any { return &t.b.ProtocolVersion }},
	{Name: "bridge_receive_maximum", Scope: OfBridge, check: bridgeReceive, def: "as max_inflight_messages", About: "Receive maximum (MQTT 5).", bind: func(t *target) any { return &t.b.ReceiveMaximum }},
	{Name: "bridge_reload_type", Scope: OfBridge, words: []string{"lazy", "immediate"}, About: "When changes apply.", bind: func(t *target) any { return &t.b.ReloadType }},
	{Name: "bridge_session_expiry_interval", Scope: OfBridge, Takes: "seconds", check: bridgeExpiry, About: "Session expiry (MQTT 5).", bind: func(t *target) any { return &t.b.SessionExpiry }},
	{Name: "bridge_tcp_keepalive", Scope: OfBridge, Takes: "IDLE INTERVAL COUNT", def: "off", parse: parseTCPKeepAlive, About: "TCP's keep alive.", bind: func(t *target) any { return &t.b.TCPKeepAlive }},
	{Name: "bridge_tcp_user_timeout", Scope: OfBridge, Takes: "milliseconds", def: "off", check: func(n int64) (int64, *fault) {
		if n < 0 {
			return 0, faultf("invalid TCP user timeout value.", "%d is negative", n)
		}
		return n, nil
	}, About: "TCP's user timeout.", bind: func(t *target) any { return &t.b.TCPUserTimeout }},
	{Name: "cleansession", Scope: OfBridge, About: "Start with a clean session at the remote broker.", bind: func(t *target) any { return &t.b.CleanSession }},
	{Name: "local_cleansession", Scope: OfBridge, def: "as cleansession", About: "And at this one.", bind: func(t *target) any { return &t.b.LocalCleanSession }},
	{Name: "remote_clientid", Aliases: []string{"clientid"}, Scope: OfBridge, once: true, Takes: "ID", def: "HOSTNAME.NAME", About: "Client id at the remote broker.", bind: func(t *target) any { return &t.b.RemoteClientID }},
	{Name: "local_clientid", Scope: OfBridge, once: true, Takes: "ID", def: "local.REMOTE_CLIENTID", About: "Client id here.", bind: func(t *target) any { return &t.b.LocalClientID }},
	{Name: "remote_username", Aliases: []string{"username"}, Scope: OfBridge, once: true, Takes: "NAME", About: "User name there.", bind: func(t *target) any { return &t.b.RemoteUsername }},
	{Name: "remote_password", Aliases: []string{"password"}, Scope: OfBridge, once: true, Takes: "PASSWORD", About: "Password there.", bind: func(t *target) any { return &t.b.RemotePassword }},
	{Name: "local_username", Scope: OfBridge, once: true, Takes: "NAME", About: "User name here.", bind: func(t *target) any { return &t.b.LocalUsername }},
	{Name: "local_password", Scope: OfBridge, once: true, Takes: "PASSWORD", About: "Password here.", bind: func(t *target) any { return &t.b.LocalPassword }},
	{Name: "keepalive_interval", Scope: OfBridge, unit: time.Second, check: func(n int64) (int64, *fault) {
		if n > math.MaxUint16 {
			return 0, faultf("Bridge keepalive value too high.", "%d is too high: it must be at most 65535", n)
		}
		return max(n, 5), nil
	}, About: "Keep alive, at least 5.", bind: func(t *target) any { return &t.b.KeepAlive }},
	{Name: "idle_timeout", Scope: OfBridge, unit: time.Second, check: atLeastOne, About: "When a lazy bridge disconnects.", bind: func(t *target) any { return &t.b.IdleTimeout }},
	{Name: "threshold", Scope: OfBridge, check: atLeastOne, About: "Waiting messages that make a lazy bridge connect.", bind: func(t *target) any { return &t.b.Threshold }},
	{Name: "start_type", Scope: OfBridge, Takes: "automatic|lazy|once", def: "automatic", parse: parseStartType, About: "When it connects.", bind: func(t *target) any { return &t.b.StartType }},
	{Name: "restart_timeout", Scope: OfBridge, Takes: "BASE [CAP [STABLE]]", def: "5 30", parse: parseRestart, About: "How long to wait before connecting again, seconds.", bind: func(t *target) any { return &t.b.Restart }},
	{Name: "round_robin", Scope: OfBridge, About: "All addresses are equal; false: the first is the best.", bind: func(t *target) any { return &t.b.RoundRobin }},
	{Name: "notifications", Scope: OfBridge, About: "Publish whether it is connected.", bind: func(t *target) any { return &t.b.Notifications }},
	{Name: "notifications_local_only", Scope: OfBridge, About: "Here only.", bind: func(t *target) any { return &t.b.NotifyLocalOnly }},
	{Name: "notification_topic", Scope: OfBridge, once: true, Takes: "TOPIC", def: "$SYS/broker/connection/ID/state", About: "Where.", bind: func(t *target) any { return &t.b.NotifyTopic }},
	{Name: "try_private", Scope: OfBridge, About: "Tell the remote that this is a bridge.", bind: func(t *target) any { return &t.b.TryPrivate }},

	{Name: "bridge_cafile", Scope: OfBridge, once: true, Takes: "PATH", About: bridgeTLS + "authorities, PEM.", bind: func(t *target) any { return &t.b.CAFile }},
	{Name: "bridge_capath", Scope: OfBridge, once: true, Takes: "DIRECTORY", About: bridgeTLS + "a directory of them.", bind: func(t *target) any { return &t.b.CAPath }},
	{Name: "bridge_tls_use_os_certs", Scope: OfBridge, About: bridgeTLS + "the system's authorities.", bind: func(t *target) any { return &t.b.OSCerts }},
	{Name: "bridge_certfile", Scope: OfBridge, once: true, Takes: "PATH", About: bridgeTLS + "the client's certificate.", bind: func(t *target) any { return &t.b.CertFile }},
	{Name: "bridge_keyfile", Scope: OfBridge, Takes: "PATH", About: bridgeTLS + "its key.", bind: func(t *target) any { return &t.b.KeyFile }},
	{Name: "bridge_insecure", Scope: OfBridge, About: bridgeTLS + "do not check the server's name.", bind: func(t *target) any { return &t.b.Insecure }},
	{Name: "bridge_tls_version", Scope: OfBridge, once: true, words: []string{"tlsv1.3", "tlsv1.2", "tlsv1.1"}, About: bridgeTLS + "version.", bind: func(t *target) any { return &t.b.TLSVersion }},
	{Name: "bridge_ciphers", Scope: OfBridge, once: true, Takes: "LIST", About: bridgeTLS + "suites of TLS 1.2.", bind: func(t *target) any { return &t.b.Ciphers }},
	{Name: "bridge_ciphers_tls1.3", Scope: OfBridge, once: true, Takes: "LIST", About: bridgeTLS + "suites of TLS 1.3.", bind: func(t *target) any { return &t.b.Ciphers13 }},
	{Name: "bridge_alpn", Scope: OfBridge, once: true, Takes: "TEXT", About: bridgeTLS + "ALPN.", bind: func(t *target) any { return &t.b.ALPN }},
	{Name: "bridge_require_ocsp", Scope: OfBridge, About: bridgeTLS + "a stapled OCSP answer is needed.", bind: func(t *target) any { return &t.b.RequireOCSP }},
	{Name: "bridge_identity", Scope: OfBridge, Takes: "TEXT", About: bridgeTLS + "pre-shared key, name.", Refused: noPSK},
	{Name: "bridge_psk", Scope: OfBridge, Takes: "HEX", About: bridgeTLS + "pre-shared key.", Refused: noPSK},
}

func bridgeAlias(n int64) (int64, *fault) {
	if n < 0 || n > math.MaxUint16 {
		return 0, faultf("bridge_max_topic_alias must be > 0 and <= 65535.", "%d is not between 0 and 65535", n)
	}
	return n, nil
}

func bridgeReceive(n int64) (int64, *fault) {
	switch {
	case n <= 0:
		return 0, faultf("bridge_receive_maximum must be greater than 0.", "%d must be above 0", n)
	case n > math.MaxUint16:
		return 0, faultf("bridge_receive_maximum must be lower than 65535.", "%d is too large: it must be at most 65535", n)
	}
	return n, nil
}

func bridgeExpiry(n int64) (int64, *fault) {
	if n < 0 {
		return 0, faultf("bridge_session_expiry_interval must not be negative.", "%d is negative", n)
	}
	return n, nil
}

func atLeastOne(n int64) (int64, *fault) { return max(n, 1), nil }

func parseStartType(p *parser, value string) *fault {
	switch word := firstWord(value); word {
	case "automatic", "lazy", "once":
		p.bridge.StartType = word
		return nil
	case "manual":
		return faultf("Manual start_type not supported.", "manual is not supported, neither by Mosquitto; use automatic, lazy or once")
	default:
		return faultf(fmt.Sprintf("Invalid 'start_type' value in configuration (%s).", word), "%q is not one of automatic, lazy, once", word)
	}
}
