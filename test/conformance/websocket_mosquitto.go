package conformance

// What Debian's mosquitto 2.0.11 (with libwebsockets 4.1.6) does otherwise over WebSocket.

func init() {
	for _, v := range []string{"v311", "v5"} {
		differ(map[string]Difference{
			v + "/MQTT-6.0.0-1/text-first": {StandardRight, "takes MQTT in text frames; [MQTT-6.0.0-1]"},
			v + "/MQTT-6.0.0-1/text-later": {StandardRight, "takes MQTT in text frames; [MQTT-6.0.0-1]"},
			v + "/MQTT-6.0.0-4/after-old":  {StandardRight, "selects the first it knows, mqttv3.1, although mqtt is offered; [MQTT-6.0.0-4]"},
			v + "/RFC6455-5.1":             {StandardRight, "takes frames that are not masked; RFC 6455 §5.1 asks for the close"},
		})
	}
}
