package session

import "github.com/nightjar-mqtt/nightjar/internal/core/message"

// Incoming QoS 2: a message is kept from PUBLISH to PUBREL and delivered then, as Mosquitto does (MQTT 5 §4.3.3 leaves the
// moment to the receiver). A repeated PUBLISH is acknowledged again, and delivered once.

// incoming is a QoS 2 message between PUBLISH and PUBREL.
type incoming struct {
	m      *message.Message // nil: it was refused
	stored bool             // PUBREC has left: a repetition need not be stored again
	// releasing: PUBREL has come, and that it has is not known to be stored; nil: not yet.
	releasing *releasing
}

// releasing are those who wait for the storing of a PUBREL.
type releasing struct{ waiters []func(err error) }

// Receive keeps an incoming QoS 2 message under its packet id. known: the id was in use. Then a PUBLISH marked DUP is a
// repetition and changes nothing; one that is not comes from a client that lost its state, and replaces the message.
// m nil: the message was refused, only its flow goes on. It returns the message that is kept, if it has to be stored
// before PUBREC: that of a repetition too, when it is not known what became of the first storing.
func (s *Session) Receive(packetID uint16, m *message.Message, dup bool) (known bool, store *message.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.received[packetID]
	if known && dup {
		if was.stored {
			return true, nil
		}
		return true, was.m
	}
	s.hold(m)
	s.unhold(was.m)
	if s.received == nil {
		s.received = make(map[uint16]incoming)
	}
	s.received[packetID] = incoming{m: m}
	return known, m
}

// ReceivedStored notes that PUBREC has been sent.
func (s *Session) ReceivedStored(packetID uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in, known := s.received[packetID]; known {
		in.stored = true
		s.received[packetID] = in
	}
}

// Received reports whether an incoming packet id is in use.
func (s *Session) Received(packetID uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.received[packetID]
	return known
}

// Forget removes an incoming message whose storing failed.
func (s *Session) Forget(packetID uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unhold(s.received[packetID].m)
	delete(s.received, packetID)
}

// PacketReleased handles PUBREL: its message, if it was not refused, is due. The packet id is free when ReleaseStored says
// so. again: that has been asked before and is not known to be stored: the answer comes by AwaitRelease.
func (s *Session) PacketReleased(packetID uint16) (m *message.Message, known, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, known := s.received[packetID]
	if !known || in.releasing != nil {
		return nil, known, known
	}
	in.releasing = new(releasing)
	s.received[packetID] = in
	return in.m, true, false
}

// AwaitRelease has fn called with what becomes of a PUBREL whose storing is under way. false: none is, fn is not called.
func (s *Session) AwaitRelease(packetID uint16, fn func(err error)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.received[packetID]
	if in.releasing == nil {
		return false
	}
	in.releasing.waiters = append(in.releasing.waiters, fn)
	return true
}

// ReleaseStored is told what became of the batch that a PUBREL needed; it holds if there was none. Stored, the packet id is
// free; else the message is there as before, for the client to release again: PUBREC has said that it is not lost.
func (s *Session) ReleaseStored(packetID uint16, err error) {
	s.mu.Lock()
	in := s.received[packetID]
	r := in.releasing
	if r == nil {
		s.mu.Unlock()
		return // another message has taken its place
	}
	if err != nil {
		in.releasing = nil
		s.received[packetID] = in
	} else {
		delete(s.received, packetID)
		s.unhold(in.m)
	}
	s.mu.Unlock()
	for _, fn := range r.waiters {
		fn(err)
	}
}

func (s *Session) hold(m *message.Message) {
	if m != nil {
		s.limits.Hold(m)
	}
}

func (s *Session) unhold(m *message.Message) {
	if m != nil {
		s.limits.Unhold(m)
	}
}

// Durable reports whether the store knows the session.
func (s *Session) Durable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable()
}
