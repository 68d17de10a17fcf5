package conformance

// What Debian's mosquitto 2.0.11 does otherwise in MQTT 5.

func init() {
	differ(map[string]Difference{
		"v5/MQTT-1.5.5-1/remaining-length": {StandardRight, "takes a remaining length in more bytes than needed; [MQTT-1.5.5-1]"},
		"v5/MQTT-2.1.3-1/acks":             {StandardRight, "ignores the reserved flags of PUBACK, PUBREC, PUBCOMP and PINGREQ; [MQTT-2.1.3-1], such a packet is malformed"},
		"v5/MQTT-3.1.2-8/no-session":       {StandardRight, "waits for the will delay although the session has ended with the connection; [MQTT-3.1.2-8]"},
		"v5/MQTT-3.1.2-8/clean-start":      {StandardRight, "drops a delayed will when a clean start ends its session, instead of publishing it; [MQTT-3.1.2-8]"},
		"v5/MQTT-3.1.2-8/take-over":        {StandardRight, "drops the will of a connection taken over by its session's next; with no delay it is due at the close, [MQTT-3.1.2-8]"},
		"v5/MQTT-3.1.2-24/exact":           {StandardRight, "leaves part of the fixed header out of the packet size and sends packets too large by that; [MQTT-3.1.2-24]"},
		"v5/MQTT-3.1.2-25":                 {StandardRight, "keeps the window's place of a message too large to send, and stalls; [MQTT-3.1.2-25]"},
		"v5/MQTT-3.1.4-1/auth-data":        {StandardRight, "takes authentication data without a method, a protocol error (MQTT 5 §3.1.2.11.10); [MQTT-3.1.4-1]"},
		"v5/MQTT-3.1.4-3":                  {StandardRight, "closes a connection taken over without DISCONNECT 0x8E, which came with 2.0.15; [MQTT-3.1.4-3]"},
		"v5/MQTT-3.2.2-15/exact":           {StandardRight, "leaves part of the fixed header out of the packet size and takes packets too large by that; MQTT 5 §2.1.4"},
		"v5/B-34/properties":               {NewerMosquitto, "closes without the CONNACK 0x82 that 2.1 sends"},
	})
}
