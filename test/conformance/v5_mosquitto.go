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
		"v5/MQTT-3.3.2-14":                 {StandardRight, "takes and forwards a Response Topic with wildcards; [MQTT-3.3.2-14]"},
		"v5/MQTT-3.3.4-6":                  {StandardRight, "takes a subscription identifier in a client's PUBLISH; [MQTT-3.3.4-6]"},
		"v5/MQTT-3.3.4-7":                  {StandardRight, "answers PUBREC 0x97 above its Receive Maximum, where DISCONNECT 0x93 is asked (MQTT 5 §3.3.4); [MQTT-3.3.4-7]"},
		"v5/MQTT-3.3.4-9":                  {StandardRight, "has one message too many in flight once an acknowledgement has freed a place; [MQTT-3.3.4-9]"},
		"v5/MQTT-3.8.3-4":                  {StandardRight, "grants a shared subscription with No Local; [MQTT-3.8.3-4]"},
		"v5/MQTT-3.8.4-3/options":          {StandardRight, "keeps the options of the subscription that is replaced; [MQTT-3.8.4-3]"},
		"v5/MQTT-3.14.1-1":                 {StandardRight, "closes without DISCONNECT 0x81; [MQTT-3.14.1-1]"},
		"v5/MQTT-3.1.2-8/disconnect-error": {StandardRight, "drops the will at a DISCONNECT with a code of 0x80 or more; only 0x00 deletes it, [MQTT-3.1.2-8]"},
		"v5/MQTT-4.3.3-7":                  {StandardRight, "lets a QoS 2 message expire that it has sent; [MQTT-4.3.3-7]"},
		"v5/MQTT-4.3.3-10/often":           {StandardRight, "answers the third PUBLISH with the same identifier by DISCONNECT 0x82; [MQTT-4.3.3-10]"},
		"v5/MQTT-4.8.2-1":                  {StandardRight, "grants $share filters without a share name; [MQTT-4.8.2-1]"},
		"v5/MQTT-4.8.2-2":                  {StandardRight, "grants $share/+/filter and $share/name without a filter; [MQTT-4.8.2-2]"},
		"v5/MQTT-4.9.0-2":                  {StandardRight, "has one message too many in flight once PUBCOMP has freed a place; [MQTT-4.9.0-2]"},
	})
	newer := func(what string) Difference { return Difference{NewerMosquitto, what} }
	disconnect := newer("closes without the DISCONNECT of 2.1 on a DISCONNECT with bad properties")
	differ(map[string]Difference{
		"v5/B-03":                      newer("closes on a second CONNECT without the DISCONNECT 0x82 of 2.1"),
		"v5/B-04":                      newer("closes on a bad CONNECT without the CONNACK of 2.1"),
		"v5/B-06":                      newer("closes on a bad client id without the CONNACK of 2.1"),
		"v5/B-10/auth":                 newer("closes on AUTH without the DISCONNECT 0x82 of 2.1"),
		"v5/B-14/protocol-error":       newer("sends 0x81, or nothing, where 2.1 sends DISCONNECT 0x82"),
		"v5/B-14/trailing":             {StandardRight, "ignores bytes after the end of acknowledgements and PINGREQ; such a packet is malformed, [MQTT-4.13.1-1]"},
		"v5/B-14/acks":                 {StandardRight, "takes unknown reason codes in acknowledgements; [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]"},
		"v5/B-15/misplaced-DISCONNECT": disconnect, "v5/B-15/unknown-DISCONNECT": disconnect,
		"v5/B-15/cut-DISCONNECT": disconnect, "v5/B-15/twice-DISCONNECT": disconnect,
		"v5/B-16/levels":     newer("sends DISCONNECT 0x82 for a topic of more than 200 levels, 2.1 sends 0x81"),
		"v5/B-18":            {StandardRight, "ignores SUBACK, UNSUBACK and PINGRESP from a client; only a server may send them, a protocol error by [MQTT-4.13.1-1]"},
		"v5/B-19/property":   newer("closes without the DISCONNECT 0x82 of 2.1"),
		"v5/B-22/wrong":      newer("closes without the DISCONNECT 0x82 of 2.1"),
		"v5/B-28":            newer("sends retained messages to a shared subscription, 2.1 does not"),
		"v5/B-34/properties": newer("closes without the CONNACK 0x82 of 2.1"),
		"v5/B-37":            newer("counts expired messages against max_queued_messages"),
		"v5/B-39":            newer("sends no topic aliases, 2.1 does"),
		"v5/B-40/announced":  newer("has no maximum packet size by default, 2.1 has 2,000,000"),
		"v5/B-41/identifier": {BothAllowed, "closes on two subscription identifiers without DISCONNECT, which is a SHOULD (MQTT 5 §4.13)"},
		"v5/B-43/no-local":   {StandardRight, "grants a shared subscription with No Local; [MQTT-3.8.3-4]"},
		"v5/B-45/inflight":   {BothAllowed, "sends one more than max_inflight_messages; the standard knows no such option, Nightjar keeps it exactly"},
		"v5/B-45/zero":       newer("closes without the CONNACK 0x82 of 2.1"),
		"v5/B-46":            {StandardRight, "answers PUBREC 0x97 where DISCONNECT 0x93 is asked (MQTT 5 §3.3.4)"},
	})
}
