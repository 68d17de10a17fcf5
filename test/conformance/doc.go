// Package conformance is Nightjar's black-box suite: one case per normative statement of MQTT 3.1.1 and MQTT 5 that a
// server can be held to, speaking raw packets over a socket to any broker.
//
// It has its own small encoder and decoder (wire.go, decode.go) and uses nothing of the broker's, so that the two
// cannot share a mistake; only the embedded target (target_embedded*.go) imports the broker, to start it. The cases run
// against Nightjar on every network engine, as a process and embedded on a store that answers late, and against Debian's
// mosquitto, which tests the suite: where mosquitto differs, mosquitto_differences.go says who is right.
//
//	go test ./test/conformance                                              everything
//	go test ./test/conformance -run 'Nightjar/epoll/MQTT-3.1.2-24$'         one statement, both versions
//	go test -race ./test/conformance -run 'Embedded/epoll/MQTT-3.1.2-24$'   the same on the late store
//	go test ./test/conformance -run 'Mosquitto/MQTT-3.1.2-24$/v311'         one statement of one version
//	go test ./test/conformance -run 'Transports/wss/epoll/MQTT-3.1.2-24$'   the same over TLS and WebSocket
//	NIGHTJAR_CONFORMANCE_ADDR=127.0.0.1:1883 go test ./test/conformance -run Address
//
// How to write a case: register a Case in an init function of a file v3_*.go or v5_*.go. Its Run gets a *T, which
// hands out unique client ids and topics (so that cases run in parallel on one broker), dials peers and ends the case
// with Fatalf. A case runs on one goroutine.
package conformance
