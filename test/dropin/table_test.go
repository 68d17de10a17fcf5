//go:build linux

package dropin

// difference is one in a conversation.
type difference struct {
	file, title, line   string
	client              string // empty: what was asked of the broker
	mosquitto, nightjar string // what the client got
	why                 string
}

// Why Nightjar differs. 2.0 is Debian's mosquitto.
const (
	mountKept   = "2.0.11 forgets to take the mount point off what it sends (issue 2244, mended in 2.0.12)"
	mountShared = "2.0.11 puts the mount point in front of $share, so that the subscription never matches; here it goes in front of the filter"
	overlap     = "once, at the highest QoS [MQTT-3.3.5-1] and with all subscription identifiers [MQTT-3.3.4-4], unless allow_duplicate_messages " +
		"is true; 2.0 sends MQTT 5 clients a copy for each subscription, MQTT 3 clients one at the QoS of any of them. Where copies are asked for, their order is free"
	refusalProperty = "properties of a session that is refused have no meaning"
	refusedWill     = "2.0 closes without a word when the will of an MQTT 3 client cannot be; Nightjar says \"not authorised\" first"
	queuedBytes     = "2.0 counts payloads and takes one message beyond the limit; Nightjar counts what messages take in memory, payload, topic and 128 bytes, those under way included"
	keepAlive3      = "as 2.1: an MQTT 3 client, who cannot be told a shorter time, is refused; 2.0 holds to no limit for it"
	keepAlive5      = "Nightjar tells the time even if it is what the client has asked for, which changes nothing [MQTT-3.2.2-21]"
	keepAliveReload = "2.0 does not reload max_keepalive; 2.1 does"
	window          = "2.0 sends one more message than max_inflight_messages after an acknowledgement; Nightjar holds to the limit"
	newConnection   = "a connection is in the log when its client has sent CONNECT, or when it is refused or ends before, so that strangers cannot fill the log; the line has the address"
	logAddress      = "as 2.1, with the client's address"
	wildcardName    = "both reason codes are allowed; Malformed Packet is what [MQTT-4.7.0-1] comes to in MQTT 5 §4.13.1"
	version         = "each tells its own name and version"
	expiryTold      = "the limit counts in both; Nightjar tells the client [MQTT-3.1.2-25, MQTT 5 §3.2.2.3.2], 2.0 does not"
	source          = "2.0 does not ask the ACL file about who published a retained message, in spite of its manual; Nightjar does, which is what check_retain_source is for"
	sharedNoLocal   = "[MQTT-3.8.3-4] forbids it; 2.0 does not look"
	logTakeOver     = "as the reason for which the older connection ends: \"session taken over\""
	logConnect      = "the line of the connected client has version, clean start and keep alive; CONNACK and wills have none of their own"
	logPackets      = "log_type debug has a line for each packet from a client and each answer, without packet identifiers; deliveries have none"
)

var differences = []difference{
	{"no_duplicate_messages", "subscriptions that overlap", "p publish a/b x qos=1", "t", `PUBLISH a/b "x" q1 subscription=2; PUBLISH a/b "x" q1 subscription=1`, `PUBLISH a/b "x" q1 subscription=1 subscription=2`, overlap},
	{"acl_file", "a user", "ann publish shared/news x qos=1", "j", `PUBLISH shared/news "x" q1; PUBLISH shared/news "x" q1; PUBLISH shared/news "x" q1`, `PUBLISH shared/news "x" q1`, overlap},
	{"mount_point", "topics have a prefix that the clients do not see", "a publish t from-a qos=1", "a", `PUBLISH one/t "from-a" q1; PUBACK`, `PUBLISH t "from-a" q1; PUBACK`, mountKept},
	{"mount_point", "topics have a prefix that the clients do not see", "b publish t from-b qos=1", "b", `PUBLISH two/t "from-b" q1; PUBLISH two/t "from-b" q1; PUBACK`, `PUBLISH t "from-b" q1; PUBACK`, mountKept},
	{"mount_point", "topics have a prefix that the clients do not see", "all publish one/t from-all qos=1", "a", `PUBLISH one/t "from-all" q1`, `PUBLISH t "from-all" q1`, mountKept},
	{"mount_point", "retained messages, wills, shared subscriptions", "a2 subscribe kept qos=1", "a2", `SUBACK 0x01; PUBLISH one/kept "x" q1 retain`, `SUBACK 0x01; PUBLISH kept "x" q1 retain`, mountKept},
	{"mount_point", "retained messages, wills, shared subscriptions", "all publish one/s shared qos=1", "a2", "nothing", `PUBLISH s "shared" q1`, mountShared},
	{"mount_point", "retained messages, wills, shared subscriptions", "all publish one/kept - retain qos=1", "a2", `PUBLISH one/kept "" q1`, `PUBLISH kept "" q1`, mountKept},
	{"mount_point", "response topics", "a publish q x qos=1 response=answer", "a", `PUBLISH one/q "x" q1 response=answer; PUBACK`, `PUBLISH q "x" q1 response=answer; PUBACK`, mountKept},
	{"max_qos", "at most 1", "c connect id=c v=5 will=t|gone|2|0", "c", "CONNACK 0x9B max-qos=1; closed", "CONNACK 0x9B; closed", refusalProperty},
	{"max_qos", "at most 1", "d connect id=d will=t|gone|2|0", "d", "closed", "CONNACK 0x05; closed", refusedWill},
	{"max_queued_bytes", "absent", "s connect id=s clean=0", "s", `CONNACK 0x00 session; PUBLISH t "aaaaaaaaaa… (400 bytes)" q1; PUBLISH t "bbbbbbbbbb… (400 bytes)" q1; PUBLISH t "cccccccccc… (400 bytes)" q1`, `CONNACK 0x00 session; PUBLISH t "aaaaaaaaaa… (400 bytes)" q1; PUBLISH t "eeeeeeeeee… (100 bytes)" q1`, queuedBytes},
	{"max_keepalive", "a longer one, MQTT 5", "b connect id=b v=5 keepalive=60", "b", "CONNACK 0x00 alias-max=10 receive-max=20", "CONNACK 0x00 alias-max=10 receive-max=20 server-keepalive=60", keepAlive5},
	{"max_keepalive", "MQTT 3", "b connect id=b keepalive=61", "b", "CONNACK 0x00", "CONNACK 0x02; closed", keepAlive3},
	{"max_keepalive", "MQTT 3", "c connect id=c keepalive=0", "c", "CONNACK 0x00", "CONNACK 0x02; closed", keepAlive3},
	{"max_inflight_messages", "two at a time, MQTT 3.1.1", "s ack", "s", `PUBLISH t "3" q1; PUBLISH t "4" q1; PUBREL`, `PUBLISH t "3" q1; PUBREL; PUBLISH t "4" q1`, window},
	{"allow_duplicate_messages", "subscriptions that overlap", "p publish a/b x qos=1", "t", `PUBLISH a/b "x" q1 subscription=2; PUBLISH a/b "x" q1 subscription=1`, `PUBLISH a/b "x" q1 subscription=1; PUBLISH a/b "x" q1 subscription=2`, overlap},
	{"log_topic", "the log comes as messages", "s until Client a .*disconn", "s", `PUBLISH $SYS/broker/log/N "Client a disconnected."`, `PUBLISH $SYS/broker/log/N "Client a [N.N:N] disconnected."`, logAddress},
	{"acl_patterns", "client ids that are patterns themselves", "q publish clients/#/up x qos=1", "q", "DISCONNECT 0x82; closed", "DISCONNECT 0x81; closed", wildcardName},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: New connection from 127\.0\.0\.1:\d+ on port PORT1\.$`, "", "true", "false", newConnection},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: No will message specified\.$`, "", "true", "false", logConnect},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Will message specified \(1 bytes\) \(r0, q1\)\.$`, "", "true", "false", logConnect},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Sending CONNACK to a \(0, 0\)$`, "", "true", "false", logConnect},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: .*t/# \(QoS 1\)$`, "", "true", "false", logPackets},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Sending PUBLISH to a \(d0, q1, r0, m\d+, 't/1', ... \(1 bytes\)\)$`, "", "true", "false", logPackets},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Sending PUBACK to b \(m\d+, rc\d+\)$`, "", "true", "false", logPackets},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Received PUBACK from a \(Mid: \d+, RC:0\)$`, "", "true", "false", logPackets},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Sending PUBREC to b \(m\d+, rc\d+\)$`, "", "true", "false", logPackets},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Received PUBREL from b \(Mid: \d+\)$`, "", "true", "false", logPackets},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Sending PUBCOMP to b \(m\d+\)$`, "", "true", "false", logPackets},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Client a already connected, closing old connection\.$`, "", "true", "false", logTakeOver},
	{"log_file", "the same kinds of lines", `log file mosquitto.log ^\S+: Sending CONNACK to .*\(0, 2\)$`, "", "true", "false", logConnect},
	{"sys_interval", "figures come every second", "a subscribe $SYS/broker/version", "a", `SUBACK 0x00; PUBLISH $SYS/broker/version "mosquitto version N.N" retain`, `SUBACK 0x00; PUBLISH $SYS/broker/version "nightjar version development" retain`, version},
	{"retain_available", "MQTT 3", "b connect id=b will=t|gone|1|1", "b", "closed", "CONNACK 0x05; closed", refusedWill},
	{"reload_limits", "limits change with a reload", "b connect id=b v=5 keepalive=100", "b", "CONNACK 0x00 alias-max=10 receive-max=20", "CONNACK 0x00 alias-max=10 receive-max=20 server-keepalive=50", keepAliveReload},
	{"persistent_client_expiration", "sessions are there for a while", "b connect id=b v=5 expiry=7200", "b", "CONNACK 0x00 alias-max=10 receive-max=20", "CONNACK 0x00 alias-max=10 receive-max=20 session-expiry=3600", expiryTold},
	{"persistent_client_expiration", "sessions are there for a while", "d connect id=d v=5 expiry=4294967295", "d", "CONNACK 0x00 alias-max=10 receive-max=20", "CONNACK 0x00 alias-max=10 receive-max=20 session-expiry=3600", expiryTold},
	{"retain_source", "who may not publish any more has published", "a subscribe joe/# qos=1", "a", `SUBACK 0x01; PUBLISH joe/kept "x" q1 retain`, "SUBACK 0x01", source},
	{"plain", "retained messages", "a publish r/3 new retain", "b", `PUBLISH r/3 "new" retain; PUBLISH r/3 "new"`, `PUBLISH r/3 "new" retain`, overlap},
	{"plain", "retained messages", "a publish r/1 - retain", "b", `PUBLISH r/1 ""; PUBLISH r/1 ""`, `PUBLISH r/1 ""`, overlap},
	{"plain", "retained messages", "a publish r/3 - retain", "b", `PUBLISH r/3 "" retain; PUBLISH r/3 ""`, `PUBLISH r/3 "" retain`, overlap},
	{"plain", "subscriptions that overlap", "a publish o/x y qos=2", "a", `PUBREC; PUBLISH o/x "y"; PUBCOMP`, `PUBREC; PUBLISH o/x "y" q2; PUBCOMP; PUBREL`, overlap},
	{"plain", "a shared subscription cannot be without one's own messages", "a subscribe $share/g/+/2 nolocal", "a", "SUBACK 0x00", "DISCONNECT 0x82; closed", sharedNoLocal},
	{"plain", "mistakes", "c publish bad/+/topic x qos=1", "c", "DISCONNECT 0x82; closed", "DISCONNECT 0x81; closed", wildcardName},
}
