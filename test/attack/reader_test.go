package attack

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// Clients that do not read, or read and never acknowledge.

// flood writes the same packets again and again for a time, however slowly they are taken, and returns how many bytes.
func (c *peer) flood(packets []byte, within time.Duration) int64 {
	batch := packets
	for len(batch) < 64<<10 {
		batch = append(batch[:len(batch):len(batch)], packets...)
	}
	_ = c.SetWriteDeadline(time.Now().Add(within))
	defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
	var sent int64
	for {
		n, err := c.Write(batch)
		sent += int64(n)
		if err != nil {
			return sent
		}
	}
}

// deaf opens a connection whose kernel takes little that is not read.
func deaf(t *testing.T, p *process, l login) *peer {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	c, err := d.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	if _, err := c.Write(l.packet()); err != nil {
		t.Fatal(err)
	}
	ack := make([]byte, 4)
	if _, err := io.ReadFull(c, ack); err != nil || ack[0]>>4 != tConnack {
		t.Fatalf("CONNACK: % x %v", ack, err)
	}
	return &peer{t: t, Conn: c}
}

// sysFigure waits until a figure under $SYS/broker is what ok asks for.
func sysFigure(t *testing.T, p *process, name string, ok func(n int) bool) {
	t.Helper()
	c := connect(t, p, login{id: "figures-" + strconv.FormatInt(bystanderNumber.Add(1), 10)})
	defer c.Close()
	c.send(subscribe(1, 0, "$SYS/broker/"+name)) // a message may come before SUBACK
	limit := time.Now().Add(patience)
	for time.Now().Before(limit) {
		if n, err := strconv.Atoi(c.message("$SYS/broker/" + name)); err == nil && ok(n) {
			return
		}
	}
	t.Errorf("$SYS/broker/%s never became what it should", name)
}

// A subscriber that does not read costs at most its outbox. What it misses is counted and logged.
func TestSlowConsumerQoS0(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, args: []string{"--sys-interval", "200ms"}})
		check, memory := bystanders(t, p), p.bounded(40*mb)
		slow := deaf(t, p, login{id: "slow"})
		slow.send(subscribe(1, 0, "fast/#"))
		pub := connect(t, p, login{id: "fast"})
		sent := pub.flood(publish("fast/news", 0, 0, make([]byte, 1000)), 2*second)
		t.Logf("published %d MB", sent/mb)
		check()
		memory()
		sysFigure(t, p, "publish/messages/dropped", func(n int) bool { return n > 1000 })
		p.log.await(t, patience, "messages dropped", "client=slow", "outbox full")
	})
}

// A subscriber of QoS 1 that never reads, or reads and never acknowledges, fills its queue. Then its messages are
// dropped and counted; publishers are slowed down, but get all their acknowledgements.
func TestSlowConsumerQoS1(t *testing.T) {
	const window, total = 500, 5000
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprintf("reads=%v", reads), func(t *testing.T) {
			onBoth(t, func(t *testing.T, engine string) {
				p := start(t, options{engine: engine, args: []string{"--sys-interval", "200ms", "--max-queued-messages", "1000"}})
				check, memory := bystanders(t, p), p.bounded(60*mb)
				slow := deaf(t, p, login{id: "slow"})
				slow.send(subscribe(1, 1, "fast/#"))
				if reads {
					go func() { _, _ = io.Copy(io.Discard, slow) }()
				}
				pub := connect(t, p, login{id: "fast"})
				began := time.Now()
				for i := range total {
					pub.send(publish("fast/news", 1, i+1, make([]byte, 1000)))
					if i >= window {
						pub.expect(tPuback)
					}
				}
				for range window {
					pub.expect(tPuback)
				}
				t.Logf("%d acknowledgements in %v", total, time.Since(began).Round(time.Millisecond))
				check()
				memory()
				sysFigure(t, p, "publish/messages/dropped", func(n int) bool { return n >= total-1000-20 })
				p.log.await(t, patience, "messages dropped", "client=slow", "queue full")
			})
		})
	}
}

// A client that sends what has an answer and never reads one. The answers must not pile up.
func TestAnswersNobodyReads(t *testing.T) {
	many := func(packet func(i int) []byte) (all []byte) {
		for i := range 1000 {
			all = append(all, packet(i+1)...)
		}
		return all
	}
	floods := []struct {
		name    string
		packets []byte
	}{
		{"PINGREQ", pingreq},
		{"PUBLISH of QoS 1", many(func(i int) []byte { return publish("a", 1, i, nil) })},
		{"PUBLISH of QoS 2 again and again", many(func(i int) []byte { return publish("a", 2, i, nil) })},
		{"PUBREL of unknown ids", many(func(i int) []byte { return frame(0x62, u16(i)) })},
		{"PUBREC of unknown ids", many(func(i int) []byte { return frame(0x50, u16(i)) })},
		{"SUBSCRIBE", many(func(i int) []byte { return subscribe(i, 0, "a") })},
		{"SUBSCRIBE to retained messages", many(func(i int) []byte { return subscribe(i, 0, "#") })},
		{"UNSUBSCRIBE", many(func(i int) []byte { return frame(0xA2, u16(i), text("a")) })},
		{"PUBLISH to itself", append(subscribe(1, 0, "own"), many(func(int) []byte { return publish("own", 0, 0, []byte("x")) })...)},
	}
	onBoth(t, func(t *testing.T, engine string) {
		for _, f := range floods {
			t.Run(f.name, func(t *testing.T) {
				p := start(t, options{engine: engine, args: []string{"--max-outbox-bytes", "65536", "--max-packet-size", "65536"}})
				pub := connect(t, p, login{id: "keeper"})
				pub.send(frame(0x31, text("kept"), make([]byte, 100)), pingreq)
				pub.expect(tPingresp)
				check, memory := bystanders(t, p), p.bounded(40*mb)
				c := deaf(t, p, login{id: "deaf"})
				sent := c.flood(f.packets, second/2)
				t.Logf("took %d MB", sent/mb)
				check()
				memory()
			})
		}
	})
}

// One that is not read for a while because it did not read itself is served again when it does.
func TestReadsAtLast(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, args: []string{"--max-outbox-bytes", "65536", "--max-packet-size", "65536"}})
		c := connect(t, p, login{id: "late"})
		const pings = 16_000_000
		var batch []byte
		for range 1000 {
			batch = append(batch, pingreq...)
		}
		var sent atomic.Int64
		done := make(chan error, 1)
		go func() {
			for range pings / 1000 {
				if _, err := c.Write(batch); err != nil {
					done <- err
					return
				}
				sent.Add(1000)
			}
			done <- nil
		}()
		// It reads only once its own packets are not taken any more.
		last := int64(-1)
		for now := sent.Load(); now != last; now = sent.Load() {
			last = now
			<-time.After(300 * time.Millisecond)
		}
		t.Logf("after %d of %d PINGREQ without a PINGRESP read, the broker stopped reading", last, pings)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := io.CopyN(io.Discard, c, 2*pings); err != nil {
			t.Errorf("after %d of %d bytes of PINGRESP: %v", n, 2*pings, err)
		}
		if err := <-done; err != nil {
			t.Errorf("writing: %v", err)
		}
	})
}
