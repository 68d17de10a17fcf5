package conn_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// TestScripts runs testdata/*.txt: conversations between clients and the broker. A script shows all that is sent: a packet
// that no line expects is an error, and so is a dropped message that no line counts. Its lines:
//
//	alice -> PACKET           alice sends; CONNECT opens a new connection, with the client id alice unless id= says another
//	alice <- PACKET           the next packet that alice gets
//	alice <- closed           the broker has closed alice's connection
//	alice acks 3              alice sends PUBACK 3; whatever PUBLISH that brings is taken
//	alice hangs up            her socket closes without DISCONNECT
//	alice stops reading       what she is sent waits in the broker
//	alice reads on
//	advance 10s               time passes
//	clock back 1h             the clock is set back
//	dropped 2 queue full      so many messages have been dropped for this reason since the start
//	limits queued=2           settings of the broker; the first line, if any
//	store waits               commits are held back ...
//	store commits             ... until now; or: store fails
//	repeat 3 LINE             three times, with $ as 1, 2, 3
//	turn by turn              the broker does only what "turn" lets it do, one job each, until "go on"
//
// Lines that begin with # are remarks, and so is what follows -- in others. Packets are described in packets_test.go.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d scripts found: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			runScript(t, file, string(text))
		})
	}
}

// script is one that runs. A file may hold several, separated by lines of ---.
type script struct {
	t         *testing.T
	w         *world
	at        string
	clients   map[string]*client
	order     []*client
	unread    map[*client][]string
	dropped   map[string]int
	manual    bool // turn by turn
	repeating bool
}

func runScript(t *testing.T, file, text string) {
	number := 0
	for part := range strings.SplitSeq(text, "\n---\n") {
		s := &script{t: t, clients: map[string]*client{}, unread: map[*client][]string{}, dropped: map[string]int{}}
		for line := range strings.SplitSeq(part, "\n") {
			number++
			s.at = fmt.Sprintf("%s:%d: %s", file, number, line)
			line, _, _ = strings.Cut(line, " -- ")
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				s.line(line)
			}
		}
		number++ // the separator
		s.at = file + ": at the end"
		s.settled()
		s.allDropsNamed()
	}
}

func (s *script) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s\n    %s", s.at, fmt.Sprintf(format, args...))
}

func (s *script) line(line string) {
	if rest, ok := strings.CutPrefix(line, "repeat "); ok {
		n, body, _ := strings.Cut(rest, " ")
		from, to, isRange := strings.Cut(n, "..")
		if !isRange {
			from, to = "1", n
		}
		s.repeating = false
		for i := s.number(from); i <= s.number(to); i++ {
			s.line(strings.ReplaceAll(body, "$", strconv.Itoa(i)))
			s.repeating = true // what the first one brought is expected after the last
		}
		s.repeating = false
		return
	}
	if rest, ok := strings.CutPrefix(line, "limits "); ok {
		if s.w != nil {
			s.fail("limits is not the first line")
		}
		st := defaults()
		for _, l := range strings.Fields(rest) {
			s.limit(&st, l)
		}
		s.w = newWorld(s.t, &st)
		return
	}
	if s.w == nil {
		st := defaults()
		s.w = newWorld(s.t, &st)
	}
	who, what, _ := strings.Cut(line, " ")
	if want, ok := strings.CutPrefix(what, "<- "); ok {
		s.receive(s.client(who), strings.Join(strings.Fields(want), " "))
		return
	}
	if !s.repeating {
		s.settled()
	}
	s.act(who, what)
	if !s.manual {
		s.w.run()
	}
}

func (s *script) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.fail("%q is no number", text)
	}
	return n
}

func (s *script) client(name string) *client {
	c := s.clients[name]
	if c == nil {
		s.fail("%s has not connected", name)
	}
	return c
}

// act does a line that is not an expectation.
func (s *script) act(who, what string) {
	packet, sends := strings.CutPrefix(what, "-> ")
	switch {
	case strings.HasPrefix(packet, "CONNECT") && sends:
		c := s.w.dialClient(who, 0)
		s.clients[who] = c
		s.order = append(s.order, c)
		if !strings.Contains(packet, " id=") {
			packet += " id=" + who
		}
		c.send(packet)
	case sends:
		s.client(who).send(packet)
	case strings.HasPrefix(what, "acks "):
		s.client(who).send("PUBACK " + strings.TrimPrefix(what, "acks "))
		s.w.run()
		for _, got := range s.client(who).read() {
			if !strings.HasPrefix(got, "PUBLISH ") {
				s.fail("got %s", got)
			}
		}
	case what == "hangs up":
		s.client(who).hangUp()
	case what == "stops reading":
		s.client(who).stick(true)
	case what == "reads on":
		s.client(who).stick(false)
	case who == "advance":
		d, err := time.ParseDuration(what)
		if err != nil {
			s.fail("%v", err)
		}
		s.w.advance(d)
	case who == "clock":
		d, err := time.ParseDuration(strings.TrimPrefix(what, "back "))
		if err != nil {
			s.fail("%v", err)
		}
		s.w.setClock(s.w.clock() - d.Milliseconds())
	case who == "dropped":
		n, reason, _ := strings.Cut(what, " ")
		if got := s.drops()[reason]; got != s.number(n) {
			s.fail("%d messages were dropped for %q; all drops: %v", got, reason, s.drops())
		}
		s.dropped[reason] = s.number(n)
	case who == "store" && what == "waits":
		s.w.store.holdBack()
	case who == "store" && what == "commits":
		s.w.store.answer(nil, nil)
	case who == "store" && what == "fails":
		s.w.store.answer(errDisk, nil)
	case who == "turn" && what == "by turn":
		s.manual = true
	case who == "turn" && what == "":
		if !s.w.turn(0) {
			s.fail("there is nothing to do")
		}
	case who == "go" && what == "on":
		s.manual = false
	default:
		s.fail("no such line: see TestScripts")
	}
}

// receive checks the next packet of a client.
func (s *script) receive(c *client, want string) {
	s.pull()
	got := s.unread[c]
	if len(got) == 0 {
		s.fail("nothing came")
	}
	if got[0] != want {
		s.fail("got: %s", strings.Join(got, "\n         "))
	}
	s.unread[c] = got[1:]
}

func (s *script) pull() {
	for _, c := range s.order {
		s.unread[c] = append(s.unread[c], c.read()...)
	}
}

// settled checks that nobody was sent what no line expects.
func (s *script) settled() {
	if s.w == nil {
		return
	}
	s.pull()
	for _, c := range s.order {
		if got := s.unread[c]; len(got) > 0 {
			s.fail("before this, no line expects %d packets:\n    %s <- %s", len(got), c.name, strings.Join(got[:min(len(got), 5)], "\n    "+c.name+" <- "))
		}
	}
}

func (s *script) drops() map[string]int {
	out := map[string]int{}
	for d := session.Drop(0); d < session.NumDrops; d++ {
		if n := s.w.router.Stats().Dropped(d); n > 0 {
			out[d.String()] = int(n)
		}
	}
	return out
}

func (s *script) allDropsNamed() {
	if s.w == nil {
		return
	}
	for reason, n := range s.drops() {
		if s.dropped[reason] != n {
			s.fail("%d messages were dropped for %q, lines name %d", n, reason, s.dropped[reason])
		}
	}
}

func (s *script) limit(st *settings, text string) {
	name, value, _ := strings.Cut(text, "=")
	on := value == ""
	n := 0
	if !on {
		n = s.number(value)
	}
	set := map[string]func(){
		"inflight":      func() { st.limits.MaxInflight = n },
		"queued":        func() { st.limits.MaxQueued = n },
		"queued-bytes":  func() { st.limits.MaxQueuedBytes = int64(n) },
		"outbox":        func() { st.limits.OutboxBytes = n },
		"memory":        func() { st.limits.MemoryLimit = int64(n) },
		"aliases-out":   func() { st.limits.MaxTopicAlias = uint16(n) },
		"queue-qos0":    func() { st.limits.QueueQoS0 = on },
		"upgrade-qos":   func() { st.limits.UpgradeQoS = on },
		"aliases-in":    func() { st.conn.MaxTopicAlias = uint16(n) },
		"receive-max":   func() { st.conn.ReceiveMaximum = uint16(n) },
		"max-packet":    func() { st.conn.MaxPacket = n },
		"max-payload":   func() { st.conn.MaxPayload = n },
		"max-keepalive": func() { st.conn.MaxKeepAlive = uint16(n) },
		"subscriptions": func() { st.conn.MaxSubscriptions = n },
		"max-expiry":    func() { st.conn.MaxSessionExpiry = uint32(n) },
	}
	if set[name] == nil {
		s.fail("limits has no %s", name)
	}
	set[name]()
}
