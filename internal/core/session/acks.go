package session

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// AckResult is what an acknowledgement from the client meant.
type AckResult int

// Results of Puback, Pubrec and Pubcomp.
const (
	AckTaken   AckResult = iota
	AckUnknown           // no message with that packet id is in flight
	AckWrong             // the flow of that packet id expects another packet
)

// Puback handles PUBACK: the QoS 1 delivery is complete (MQTT 5 §4.3.2).
func (s *Session) Puback(t *Turn, id uint16) AckResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, r := s.inFlight(id)
	if r != AckTaken {
		return r
	}
	e := s.out.at(i)
	if e.qos != 1 {
		return AckWrong
	}
	s.dequeue(t, e.seq)
	s.out.finish(i, s.limits)
	return AckTaken
}

// Pubrec handles PUBREC. A reason of 0x80 or more ends the flow (MQTT 5 §4.3.3); refused tells so. Otherwise PUBREL is
// due, after batch, if there is one, has been committed, of which Stored is told by gate (DESIGN section 5, rule 3).
func (s *Session) Pubrec(t *Turn, id uint16, reason mqtt.ReasonCode) (r AckResult, refused bool, batch Batch, gate Gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, r := s.inFlight(id)
	if r != AckTaken {
		return r, false, nil, gate
	}
	e := s.out.at(i)
	if e.qos != 2 {
		return AckWrong, false, nil, gate
	}
	if reason.IsError() {
		if e.state != stateSent {
			return AckTaken, true, nil, gate
		}
		s.dequeue(t, e.seq)
		s.out.finish(i, s.limits)
		return AckTaken, true, nil, gate
	}
	if !s.durable() || e.state == stateReleased {
		e.state = stateReleased
		s.out.forget(e, s.limits)
		return AckTaken, false, nil, gate
	}
	// The message is kept until then: should the storing fail, PUBLISH is what the next connection sends again.
	e.state = stateReleasing
	batch = t.Shared()
	batch.Release(s.Key, e.seq)
	return AckTaken, false, batch, Gate{S: s, Seq: e.seq}
}

// Pubcomp handles PUBCOMP: the QoS 2 delivery is complete.
func (s *Session) Pubcomp(t *Turn, id uint16) AckResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, r := s.inFlight(id)
	if r != AckTaken {
		return r
	}
	e := s.out.at(i)
	if e.state != stateReleased {
		return AckWrong
	}
	s.dequeue(t, e.seq)
	s.out.finish(i, s.limits)
	return AckTaken
}

func (s *Session) inFlight(id uint16) (int, AckResult) {
	if s.out == nil {
		return 0, AckUnknown
	}
	i, ok := s.out.find(id)
	if !ok {
		return 0, AckUnknown
	}
	return i, AckTaken
}

// Stored is told what became of the batch that a gated QoS 2 message, or its PUBREC, was in. Kept, PUBLISH or PUBREL may
// be sent; else the message is given up, and its publisher is told by whoever committed the batch, or the PUBREC is
// forgotten. refused is the message that was given up; nil: none was. left is one of a shared group that was stored for a
// session that has ended meanwhile: it is another member's.
func (s *Session) Stored(t *Turn, seq uint64, err error) (refused *message.Message, left []Shared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return nil, nil
	}
	i, ok := s.out.index(seq)
	if !ok {
		s.storedTail(t, seq, err)
		return nil, s.out.takeLimbo(seq, err)
	}
	switch e := s.out.at(i); {
	case e.state == stateReleasing && err != nil:
		e.state = stateSent
	case e.state == stateReleasing:
		e.state = stateReleased
		s.out.forget(e, s.limits)
	case e.state == stateGated && err != nil:
		refused = e.m
		s.out.finish(i, s.limits)
		t.drop(s, DropStore, 1)
	case e.state == stateGated:
		e.state = stateQueued
	}
	return refused, nil
}

// Carrier is the connection that carries the session now; nil: none.
func (s *Session) Carrier() Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}
