package mosquittodb_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// raw is a client that does no more than it is told, so that it can leave in the middle of a delivery.
type raw struct {
	t    *testing.T
	conn net.Conn
	v    mqtt.Version
	in   []byte
	next uint16
}

const patience = 20 * time.Second

type encoded func(dst []byte) ([]byte, error)

func connect(t *testing.T, addr string, c *mqtt.Connect) (*raw, *mqtt.Connack) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &raw{t: t, conn: conn, v: c.Version}
	r.send(c.Append)
	var ack mqtt.Connack
	f := r.await(mqtt.CONNACK)
	if err := ack.Decode(f, r.v); err != nil || ack.Code != mqtt.Success {
		t.Fatalf("CONNACK for %s: %v, %v", c.ClientID, ack.Code, err)
	}
	return r, &ack
}

func (r *raw) send(e encoded) {
	r.t.Helper()
	b, err := e(nil)
	if err == nil {
		_, err = r.conn.Write(b)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// await reads packets until one of that type comes.
func (r *raw) await(want mqtt.PacketType) mqtt.Frame {
	r.t.Helper()
	for {
		f, ok := r.read(patience)
		if !ok {
			r.t.Fatalf("no %s within %v", want, patience)
		}
		if f.Type == want {
			return f
		}
	}
}

// read gives the next packet; ok false: none came in time.
func (r *raw) read(within time.Duration) (f mqtt.Frame, ok bool) {
	r.t.Helper()
	if err := r.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		r.t.Fatal(err)
	}
	for {
		f, n, _, err := mqtt.ParseFrame(r.in, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		if n > 0 {
			f.Body = append([]byte(nil), f.Body...)
			r.in = r.in[n:]
			return f, true
		}
		var buf [4096]byte
		k, err := r.conn.Read(buf[:])
		r.in = append(r.in, buf[:k]...)
		if k == 0 && err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				return f, false
			}
			r.t.Fatal(err)
		}
	}
}

// publish sends a message and completes its delivery.
func (r *raw) publish(p *mqtt.Publish) {
	r.t.Helper()
	r.publishOnly(p)
	switch p.QoS {
	case 1:
		r.await(mqtt.PUBACK)
	case 2:
		r.await(mqtt.PUBREC)
		r.ack(mqtt.PUBREL, p.PacketID)
		r.await(mqtt.PUBCOMP)
	}
}

func (r *raw) publishOnly(p *mqtt.Publish) {
	r.t.Helper()
	if p.QoS > 0 && p.PacketID == 0 {
		r.next++
		p.PacketID = r.next
	}
	r.send(func(dst []byte) ([]byte, error) { return p.Append(dst, r.v) })
}

func (r *raw) ack(kind mqtt.PacketType, id uint16) {
	r.t.Helper()
	a := mqtt.Ack{Type: kind, PacketID: id}
	r.send(func(dst []byte) ([]byte, error) { return a.Append(dst, r.v) })
}

func (r *raw) subscribe(filter string, o mqtt.SubOptions, id uint32) {
	r.t.Helper()
	r.next++
	s := mqtt.Subscribe{PacketID: r.next, Subscriptions: []mqtt.Subscription{{Filter: []byte(filter), Options: o}}}
	if id != 0 {
		s.Props.SubscriptionIDs = []uint32{id}
	}
	r.send(func(dst []byte) ([]byte, error) { return s.Append(dst, r.v) })
	r.await(mqtt.SUBACK)
}

func (r *raw) receive() *mqtt.Publish {
	r.t.Helper()
	p := new(mqtt.Publish)
	if err := p.Decode(r.await(mqtt.PUBLISH), r.v); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *raw) disconnect() {
	r.t.Helper()
	var d mqtt.Disconnect
	r.send(func(dst []byte) ([]byte, error) { return d.Append(dst, r.v) })
	for { // until the broker has closed too, so that it has seen it
		if _, err := r.conn.Read(make([]byte, 512)); err != nil {
			return
		}
	}
}
