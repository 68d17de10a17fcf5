package session

// Incoming QoS 2: the broker delivers a message when its PUBLISH arrives and keeps the packet id until PUBREL, so that a
// repetition is acknowledged but not delivered (MQTT 5 §4.3.3, "method B").

// Receive notes an incoming QoS 2 packet id. duplicate: the message has been delivered already. A PUBLISH that is not
// marked DUP and carries another message under a known id comes from a client that lost its state: it is new.
func (s *Session) Receive(packetID uint16, digest uint64, dup bool) (duplicate, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.received[packetID]
	if known && (dup || was == digest) {
		return true, true
	}
	if s.received == nil {
		s.received = make(map[uint16]uint64)
	}
	s.received[packetID] = digest
	return false, known
}

// Received reports whether an incoming packet id is in use.
func (s *Session) Received(packetID uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.received[packetID]
	return known
}

// Forget removes an incoming packet id, for a publish that was refused.
func (s *Session) Forget(packetID uint16) { s.PacketReleased(packetID) }

// PacketReleased handles PUBREL: the id is free again. known: it was in use.
func (s *Session) PacketReleased(packetID uint16) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known = s.received[packetID]
	delete(s.received, packetID)
	return known
}

// Durable reports whether the session outlives its connection.
func (s *Session) Durable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable()
}
