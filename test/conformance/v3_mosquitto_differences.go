package conformance

func init() {
	flags := Difference{StandardRight, "2.0.11 does not look at the reserved flags of this packet; [MQTT-2.2.2-2] asks for the close"}
	serverOnly := Difference{StandardRight, "2.0.11 takes this packet from a client; 2.1 and [MQTT-4.8.0-1] close"}
	differ(map[string]Difference{
		"v311/MQTT-2.2.2-2/PUBACK":  flags,
		"v311/MQTT-2.2.2-2/PUBREC":  flags,
		"v311/MQTT-2.2.2-2/PUBCOMP": flags,
		"v311/MQTT-2.2.2-2/PINGREQ": flags,
		"v311/MQTT-3.3.1-2": {StandardRight, "2.0.11 takes QoS 0 with DUP 1; [MQTT-3.3.1-2] forbids it and [MQTT-4.8.0-1] asks for " +
			"the close"},
		"v311/MQTT-3.3.5-1": {StandardRight, "2.0.11 delivers once with the QoS of the subscription it finds first; [MQTT-3.3.5-1] asks " +
			"for the highest"},
		"v311/MQTT-4.8.0-1/SUBACK":   serverOnly,
		"v311/MQTT-4.8.0-1/UNSUBACK": serverOnly,
		"v311/MQTT-4.8.0-1/PINGRESP": serverOnly,
		"v311/MQTT-4.3.3-2/copies":   {StandardRight, "2.0.11 closes on the second copy of a QoS 2 PUBLISH; [MQTT-4.3.3-2] asks for PUBREC to every copy"},
		"v311/B-11":                  {NewerMosquitto, "2.0.11 counts a closed connection twice, so that later more than max_connections get in"},
		"v311/B-12/maximum":          {NewerMosquitto, "2.0.11 accepts a longer keep-alive from MQTT 3 clients; 2.1 refuses with 0x02"},
		"v311/B-14/surplus": {StandardRight, "2.0.11 ignores bytes after the end of acknowledgements; their length is 2 (3.1.1 §3.4.1) and " +
			"[MQTT-4.8.0-1] asks for the close"},
		"v311/B-43/malformed": {NewerMosquitto, "2.0.11 grants $share with an empty group, without a filter, and with a + for the group"},
		"v311/B-45/inflight": {BothAllowed, "2.0.11 sends one more than max_inflight_messages after an acknowledgement; 3.1.1 knows no such " +
			"limit, Nightjar keeps its option exactly"},
		"v311/B-45/inflight-mixed": {BothAllowed, "as B-45/inflight"},
	})
}
