package workload

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/crash/history"
)

// testator has a delayed will, once a round: it is asked for or taken back by DISCONNECT, and cancelled when the client is
// back before the delay has passed (MQTT 5 §3.1.3.2.2).
type testator struct {
	client
	qos   byte
	delay uint32 // seconds
}

// run is one round.
func (w *testator) run(load context.Context) {
	w.drop()
	pause(load, time.Duration(w.rng.IntN(60))*time.Millisecond)
	stream := history.Stream{Publisher: w.id, Topic: "w/" + w.id, QoS: w.qos}
	var st int32
	var seq uint32
	mine := func(event func(h *history.History, will *history.Will)) {
		_ = w.do(func(h *history.History) { event(h, h.Message(st, seq).Will) }) // after a cut it does not count
	}
	discard := w.oneIn(4)
	will := mqtt.Will{Topic: []byte(stream.Topic), QoS: w.qos}
	will.Props.WillDelay = w.delay
	will.Props.Has.Set(mqtt.PropWillDelay)
	// Nobody else publishes here, so the number is known before the event.
	_ = w.load.rec.Do(1<<30, func(h *history.History) {
		st = h.Stream(stream)
		seq = uint32(len(h.Streams[st].Messages)) + 1
	})
	will.Payload = appendPayload(nil, stream, seq)
	_, err := w.connect(load, false, &will, func(h *history.History) {
		if seq > 1 {
			returned(h, st, seq-1)
		}
		h.Begin(st, false, false)
		h.Message(st, seq).Will = &history.Will{Discarded: discard}
	})
	if err != nil {
		return
	}
	since := time.Now()
	d := mqtt.Disconnect{Code: mqtt.DisconnectWithWill}
	if discard {
		d.Code = mqtt.NormalDisconnection
	}
	w.put(&d)
	f, err := w.link.next(answerTimeout)
	switch {
	case err == nil:
		w.lost(w.unexpected(f))
		return
	case !errors.Is(err, io.EOF):
		w.lost(err)
		return
	case w.load.Gate.Current(w.link.life):
		mine(func(h *history.History, will *history.Will) { will.Closed, will.ClosedLife = h.Tick(), h.Life })
	}
	w.drop()
	if w.oneIn(2) {
		return // it stays away
	}
	if _, err := w.connect(load, false, nil, func(h *history.History) { returned(h, st, seq) }); err != nil {
		return
	}
	if time.Since(since) < time.Duration(w.delay)*time.Second {
		mine(func(h *history.History, will *history.Will) { will.Back = h.Tick() })
	}
	w.put(&mqtt.Disconnect{})
	_ = w.link.flush() // it is going anyway
	w.drop()
}

// returned records that a will may have been cancelled.
func returned(h *history.History, stream int32, seq uint32) {
	if will := h.Message(stream, seq).Will; will.Returned == 0 {
		will.Returned = h.Tick()
	}
}
