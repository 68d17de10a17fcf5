package bench

import "sync/atomic"

// publisher sends one client's messages. Its fields belong to the client's shard, except copies and waiting.
type publisher struct {
	client  *client
	batch   *batch // nil: somebody else sends its messages
	qos     int
	open    bool // open loop: the timetable says when
	win     window
	acked   int64
	limit   int64 // QoS 1 and 2: messages without acknowledgement that the broker allows
	pid     uint16
	touched bool // in its own shard's list

	copies   atomic.Int64 // how many of its messages have arrived, each copy counted
	waiting  atomic.Bool  // for room
	posted   func(int, int64)
	deferred []int64 // open loop: writes that were due when the broker owed acknowledgements
	seen     int64   // copies at the last look of unstall
}

func (p *publisher) ackRoom() int64 {
	if p.qos == 0 {
		return int64(p.batch.count)
	}
	return p.limit - (p.win.sent - p.acked)
}

func (p *publisher) room() int64 {
	return min(p.ackRoom(), p.win.room(p.copies.Load()))
}

// pump sends as much as there is room for.
func (p *publisher) pump() {
	s, n := p.client.shard, int64(p.batch.count)
	if !s.running || p.batch == nil || p.client.conn == nil {
		return
	}
	if p.open {
		for len(p.deferred) > 0 && p.ackRoom() >= n {
			at := p.deferred[0]
			p.deferred = p.deferred[1:]
			if !p.write(at) {
				return
			}
		}
		return
	}
	for {
		for p.room() >= n {
			if !p.write(s.run.now()) {
				return
			}
		}
		p.waiting.Store(true)
		if p.room() < n { // looked at after waiting was set: who adds to copies later sees it
			return
		}
		p.waiting.Store(false)
	}
}

// write sends one batch with one system call. false: the connection is closed, which the client is about to be told.
func (p *publisher) write(at int64) bool {
	p.pid = p.batch.stamp(at, p.pid)
	conn, out := p.client.conn, p.client.conn.Out()
	var ok bool
	if p.batch.tail == nil {
		ok, _ = out.Append(p.batch.buf)
	} else {
		ok, _ = out.AppendPublish(p.batch.buf, -1, 0, p.batch.tail, true)
	}
	if !ok {
		return false
	}
	conn.Flush()
	p.win.sent += int64(p.batch.count)
	s := p.client.shard
	s.counters.sent += int64(p.batch.count)
	s.counters.bytesOut += int64(p.batch.size())
	return true
}
