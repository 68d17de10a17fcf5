package conformance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"time"
)

// MQTT over WebSocket: 3.1.1 and 5 have the same four statements. RFC6455- cases hold what their frames need.

func init() {
	for _, v := range []Version{V311, V5} {
		register(
			Case{ID: "MQTT-6.0.0-1", Version: v, Part: "binary", Title: "MQTT in binary frames is answered in binary frames", Run: wsBinaryFrames},
			Case{ID: "MQTT-6.0.0-1", Version: v, Part: "text-first", Title: "CONNECT in a text frame ends the connection", Run: wsTextFirst},
			Case{ID: "MQTT-6.0.0-1", Version: v, Part: "text-later", Title: "PUBLISH in a text frame ends the connection and is not taken", Run: wsTextLater},
			Case{ID: "MQTT-6.0.0-2", Version: v, Part: "bytes", Title: "a frame per byte", Run: wsFramePerByte},
			Case{ID: "MQTT-6.0.0-2", Version: v, Part: "fragments", Title: "a message in fragments of a byte, an empty one and a ping between", Run: wsFragments},
			Case{ID: "MQTT-6.0.0-2", Version: v, Part: "several", Title: "several packets in one frame, the last one cut off", Run: wsSeveralPackets},
			Case{ID: "MQTT-6.0.0-2", Version: v, Part: "large", Title: "a packet of 200,000 bytes in one frame", Run: wsLargeFrame},
			Case{ID: "MQTT-6.0.0-4", Version: v, Part: "mqtt", Title: "mqtt is selected where it is offered", Run: wsSelects("mqtt")},
			Case{ID: "MQTT-6.0.0-4", Version: v, Part: "after-others", Title: "mqtt is selected where it is offered after others", Run: wsSelects("chat", "mqtt")},
			Case{ID: "MQTT-6.0.0-4", Version: v, Part: "after-old", Title: "mqtt is selected where its old name is offered first", Run: wsSelects("mqttv3.1", "mqtt")},
			Case{ID: "MQTT-6.0.0-4", Version: v, Part: "others", Title: "nothing is selected where mqtt is not offered", Run: wsSelectsNothing},
			Case{ID: "RFC6455-5.1", Version: v, Title: "a frame from a client that is not masked ends the connection", Run: wsUnmasked},
			Case{ID: "RFC6455-5.5.1", Version: v, Title: "a close frame is answered by one, with its code", Run: wsCloses},
			Case{ID: "RFC6455-5.5.2", Version: v, Title: "a ping is answered by a pong with the same data", Run: wsPings},
		)
	}
}

// webSocket opens one that offers mqtt.
func (t *T) webSocket() (*Peer, *webSocket) {
	p, w, err := t.DialWebSocket("mqtt")
	if err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	return p, w
}

// connectWS opens a WebSocket and connects.
func connectWS(t *T) (*Peer, *webSocket) {
	p, w := t.webSocket()
	if ack := p.Connect(Connect{ClientID: t.ClientID("ws"), Clean: true}); ack.Code != 0 {
		t.Fatalf("refused with 0x%02x", ack.Code)
	}
	return p, w
}

// sendFrame writes one frame as it is told.
func sendFrame(t *T, w *webSocket, opcode byte, fin bool, payload []byte) {
	t.Logf("frame of opcode %d, fin %v, %d bytes", opcode, fin, len(payload))
	_ = w.SetWriteDeadline(time.Now().Add(patience))
	if err := w.frame(opcode, fin, payload); err != nil {
		t.Logf("    write: %v", err)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the broker read nothing for %v", patience)
		}
	}
}

func wsBinaryFrames(t *T) {
	p, w := t.webSocket()
	connect := Connect{ClientID: t.ClientID("b"), Clean: true, Version: t.Version}
	sendFrame(t, w, wsBinary, true, connect.Bytes())
	p.Expect(CONNACK)
	sendFrame(t, w, wsBinary, true, Ping)
	p.Expect(PINGRESP)
}

func wsTextFirst(t *T) {
	p, w := t.webSocket()
	connect := Connect{ClientID: t.ClientID("t"), Clean: true, Version: t.Version}
	sendFrame(t, w, wsText, true, connect.Bytes())
	p.ExpectClosed()
}

func wsTextLater(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Topic("text"), 0)
	p, w := connectWS(t)
	sendFrame(t, w, wsText, true, Publish{Topic: t.Topic("text"), Payload: "x"}.Bytes(t.Version))
	p.Send(Ping) // what goes on is shown sooner so
	p.ExpectClosed()
	sub.ExpectNothing()
}

// wsRoundTrip subscribes, has send publish a message to the peer's own topic, and expects it and no more.
func wsRoundTrip(t *T, payload string, send func(p *Peer, w *webSocket, packet []byte)) {
	p, w := connectWS(t)
	p.Subscribe(t.Topic("a"), 0)
	send(p, w, Publish{Topic: t.Topic("a"), Payload: payload}.Bytes(t.Version))
	p.ExpectPublish(t.Topic("a"), payload, 0)
	p.ExpectNothing()
}

func wsFramePerByte(t *T) {
	wsRoundTrip(t, "in many frames", func(_ *Peer, w *webSocket, packet []byte) {
		for _, b := range packet {
			sendFrame(t, w, wsBinary, true, []byte{b})
		}
	})
}

func wsFragments(t *T) {
	wsRoundTrip(t, "in fragments", func(_ *Peer, w *webSocket, packet []byte) {
		sendFrame(t, w, wsBinary, false, nil)
		for i := range packet {
			if i == len(packet)/2 {
				sendFrame(t, w, wsPing, true, []byte("between"))
			}
			sendFrame(t, w, wsContinuation, i == len(packet)-1, packet[i:i+1])
		}
	})
}

func wsSeveralPackets(t *T) {
	wsRoundTrip(t, "one of several", func(p *Peer, w *webSocket, packet []byte) {
		sendFrame(t, w, wsBinary, true, Cat(Ping, Ping, packet[:len(packet)-3]))
		p.Expect(PINGRESP)
		p.Expect(PINGRESP)
		sendFrame(t, w, wsBinary, true, packet[len(packet)-3:])
	})
}

func wsLargeFrame(t *T) {
	wsRoundTrip(t, strings.Repeat("0123456789", 20_000), func(_ *Peer, w *webSocket, packet []byte) {
		sendFrame(t, w, wsBinary, true, packet)
	})
}

func wsSelects(offered ...string) func(t *T) {
	return func(t *T) {
		p, w, err := t.DialWebSocket(offered...)
		if err != nil {
			t.Fatalf("offering %q: %v", offered, err)
		}
		if w.protocol != "mqtt" {
			t.Fatalf("offered %q, the server selects %q", offered, w.protocol)
		}
		p.Connect(Connect{ClientID: t.ClientID("s"), Clean: true})
	}
}

func wsSelectsNothing(t *T) {
	_, w, err := t.DialWebSocket("chat", "mqtt5")
	var refused upgradeRefused
	switch {
	case errors.As(err, &refused):
	case err != nil:
		t.Fatalf("upgrade: %v", err)
	case w.protocol != "":
		t.Fatalf("the server selects %q, which is not mqtt", w.protocol)
	}
}

func wsUnmasked(t *T) {
	p, w := connectWS(t)
	_ = w.SetWriteDeadline(time.Now().Add(patience))
	if _, err := w.Conn.Write(append([]byte{0x80 | wsBinary, byte(len(Ping))}, Ping...)); err != nil {
		t.Fatalf("write: %v", err)
	}
	p.ExpectClosed()
}

func wsCloses(t *T) {
	p, w := connectWS(t)
	sendFrame(t, w, wsClose, true, binary.BigEndian.AppendUint16(nil, 1001))
	p.ExpectClosed()
	if len(w.closed) < 2 || binary.BigEndian.Uint16(w.closed) != 1001 {
		t.Fatalf("the close frame's payload is % x, want the code 1001; empty: none came", w.closed)
	}
}

func wsPings(t *T) {
	p, w := connectWS(t)
	for _, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("y"), 125)} {
		sendFrame(t, w, wsPing, true, data)
		p.ExpectNothing()
		select {
		case got := <-w.pongs:
			if !bytes.Equal(got, data) {
				t.Fatalf("the pong has % x, want % x", got, data)
			}
		default:
			t.Fatalf("no pong before the answer to the PINGREQ behind the ping")
		}
	}
}
