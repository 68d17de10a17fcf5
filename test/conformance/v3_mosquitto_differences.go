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
	})
}
