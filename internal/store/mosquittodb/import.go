package mosquittodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// NotEmptyError is what Write says of a store that has something in it already.
type NotEmptyError struct{ Sessions, Retained int }

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("the store is not empty: it has %d sessions and %d retained messages", e.Sessions, e.Retained)
}

const (
	batchBytes   = 1 << 20 // of messages, after which a batch is handed over
	batchChanges = 1000
	batchesAhead = 4 // handed over and not answered
)

// Write puts all of the plan into a store on which Load has not been called. It returns when everything is on stable
// storage. add: into one that has something already; a session takes the place of that of the same client, a retained
// message that of the same topic.
//
// When it fails, or ctx ends, a part is in the store.
func (p *Plan) Write(ctx context.Context, store session.Store, add bool) error {
	have := &existing{clients: make(map[string][]session.Key)}
	run, err := store.Load(have)
	if err != nil {
		return fmt.Errorf("the store cannot be read: %w", err)
	}
	if !add && have.sessions+have.groups+have.retained > 0 {
		return &NotEmptyError{have.sessions, have.retained}
	}
	w := &writer{p: p, store: store, ctx: ctx, ahead: make(chan struct{}, batchesAhead), nextRetained: have.highest + 1}
	w.firstKey = session.Key(run << session.RunShift)
	// A packet id is the sequence number modulo 65535, plus 1: from here on relative numbers do the same.
	w.firstSeq = (run<<session.RunShift/65535 + 1) * 65535
	w.sessions(have.clients)
	w.settle() // sessions are to be there before what belongs to them
	w.needless()
	w.messages()
	w.settle()
	return w.failed()
}

// existing is told what is in the store.
type existing struct {
	mu                         sync.Mutex // Retained comes on a goroutine of its own
	clients                    map[string][]session.Key
	sessions, groups, retained int
	highest                    uint64 // sequence number of a retained message
}

func (e *existing) Session(r *session.Record) {
	e.sessions++
	e.clients[r.ClientID] = append(e.clients[r.ClientID], r.Key)
}
func (e *existing) Group(session.Key, string, string)                         { e.groups++ }
func (e *existing) Subscription(session.Key, string, mqtt.SubOptions, uint32) {}
func (e *existing) Queue(_ session.Key, _, _ uint64, _ int)                   {}
func (e *existing) Released(session.Key, uint64)                              {}
func (e *existing) Received(session.Key, uint16, *message.Message)            {}
func (e *existing) Will(session.Key, *session.Will)                           {}
func (e *existing) Retained(m *message.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.highest = max(e.highest, m.Seq)
	if len(m.Payload) > 0 {
		e.retained++
	}
}

// writer fills batches and hands them over.
type writer struct {
	p            *Plan
	store        session.Store
	ctx          context.Context
	firstKey     session.Key
	firstSeq     uint64
	nextRetained uint64

	batch          session.Batch
	changes, bytes int
	ahead          chan struct{} // as many as are handed over and not answered

	mu  sync.Mutex
	err error // the first
}

func (w *writer) key(i int32) session.Key { return w.firstKey + session.Key(i) }

// change returns the batch to add so much to.
func (w *writer) change(changes, size int) session.Batch {
	if w.batch == nil {
		w.batch = w.store.NewBatch()
	}
	w.changes += changes
	w.bytes += size
	return w.batch
}

// full hands the batch over if it has become large. false: there is no use in going on.
func (w *writer) full() bool {
	if w.changes >= batchChanges || w.bytes >= batchBytes {
		w.handOver()
	}
	return w.failed() == nil
}

func (w *writer) handOver() {
	if w.batch == nil {
		return
	}
	w.ahead <- struct{}{}
	b := w.batch
	w.batch, w.changes, w.bytes = nil, 0, 0
	b.Commit(func(err error) {
		if err != nil {
			w.fail(fmt.Errorf("the store does not take more: %w", err))
		}
		<-w.ahead
	})
}

// settle waits for all that was handed over.
func (w *writer) settle() {
	w.handOver()
	for range batchesAhead {
		w.ahead <- struct{}{}
	}
	for range batchesAhead {
		<-w.ahead
	}
}

func (w *writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	return w.err
}

func (w *writer) sessions(have map[string][]session.Key) {
	for i := range w.p.sessions {
		s := &w.p.sessions[i]
		if s.skip {
			continue
		}
		r := s.record
		r.Key, r.Sent = w.key(int32(i)), 1
		if s.sent > 0 {
			r.Sent = w.firstSeq + uint64(s.sent) + 1
		}
		b := w.change(1+len(s.subs), 0)
		for _, k := range have[r.ClientID] {
			b.DeleteSession(k)
		}
		b.PutSession(&r)
		for j := range s.subs {
			sub := &s.subs[j]
			b.PutSubscription(r.Key, sub.Filter, mqtt.SubOptions(sub.Options&0x3C|sub.QoS), sub.Identifier)
		}
		if !w.full() {
			return
		}
	}
}

// needless puts what has no message: packet ids in the middle of QoS 2.
func (w *writer) needless() {
	nothing := (&message.Message{Topic: "-", QoS: 2}).MarkOwned()
	for i := range w.p.places {
		pl := &w.p.places[i]
		if pl.message >= 0 || !w.full() {
			return // they come first
		}
		switch pl.kind {
		case released:
			b, seq := w.change(2, 0), w.firstSeq+uint64(pl.seq)
			b.Enqueue(w.key(pl.session), seq, &session.Queued{M: nothing, QoS: 2})
			b.Release(w.key(pl.session), seq)
		case received:
			w.change(1, 0).PutReceived(w.key(pl.session), uint16(pl.seq), nil)
		}
	}
}

// messages reads the file's messages again, and puts each where it is needed.
func (w *writer) messages() {
	places := w.p.places
	for len(places) > 0 && places[0].message < 0 {
		places = places[1:]
	}
	r, err := w.p.reader()
	if err != nil {
		w.fail(err)
		return
	}
	for order := int32(0); len(places) > 0 && w.full(); {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			err = &Error{c.Offset, "the file ends earlier than it did"}
		}
		if err != nil {
			w.fail(err)
			return
		}
		if c.Message == nil {
			continue
		}
		n := 0
		for n < len(places) && places[n].message == order {
			n++
		}
		order++
		if n == 0 {
			continue
		}
		if err := w.message(c.Message, places[:n]); err != nil {
			w.fail(&Error{c.Offset, err.Error()})
			return
		}
		places = places[n:]
	}
}

// message puts one into all its places, in one batch: so it is stored once.
func (w *writer) message(from *Message, places []place) error {
	var pub mqtt.Publish
	if err := decode(&pub, from); err != nil {
		return err
	}
	m := &message.Message{
		Topic: from.Topic, Payload: bytes.Clone(from.Payload), Props: message.AppendForwarded(nil, &pub.Props),
		Expires: from.Expires * 1000, QoS: from.QoS, Retain: from.Retain,
	}
	if from.SourceID != "" || from.SourceUsername != "" {
		m.From = &message.Identity{ClientID: from.SourceID, Username: from.SourceUsername}
	}
	m.MarkOwned()
	b := w.change(len(places), m.Size())
	for i := range places {
		pl := &places[i]
		switch pl.kind {
		case queued:
			b.Enqueue(w.key(pl.session), w.firstSeq+uint64(pl.seq),
				&session.Queued{M: m, QoS: pl.qos, Retain: pl.retain, SubIDs: w.p.subIDs[pl.subIDs]})
		case received:
			b.PutReceived(w.key(pl.session), uint16(pl.seq), m)
		case retained:
			kept := *m
			kept.Retain, kept.Seq = true, w.nextRetained
			w.nextRetained++
			b.PutRetained(&kept)
		}
	}
	return nil
}
