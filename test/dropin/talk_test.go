//go:build linux

package dropin

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/nightjar-mqtt/nightjar/test/conformance"
)

// conversation is one part of a .talk file.
type conversation struct {
	title string
	lines []string
}

// readTalk reads a .talk file.
func readTalk(t testing.TB, path string) (all []conversation) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		title, begins := strings.CutPrefix(line, "== ")
		switch {
		case begins:
			all = append(all, conversation{title: title})
		case line == "" || line[0] == '#':
		case len(all) == 0:
			t.Fatalf("%s:%d: a line in front of the first conversation", path, i+1)
		default:
			last := &all[len(all)-1]
			last.lines = append(last.lines, line)
		}
	}
	return all
}

// answers is what the clients got for each line: answers[line][client]; the client "" is the broker itself.
type answers []map[string][]string

// speaker holds a conversation with a broker.
type speaker struct {
	t     testing.TB
	d     *daemon
	peers []*peer // in the order in which they came
	got   map[string][]string
	want  map[string]int // how much each gets by what the other broker answered; nil: this one is the first
}

// hold holds the conversation. wanted tells for each line how much each client will get, which is waited for.
func hold(t testing.TB, d *daemon, c conversation, wanted []map[string]int) (all answers) {
	t.Helper()
	s := &speaker{t: t, d: d}
	defer func() {
		for _, p := range s.peers {
			p.close()
		}
	}()
	for i, line := range c.lines {
		s.got, s.want = make(map[string][]string), nil
		if wanted != nil {
			s.want = wanted[i]
		}
		s.do(line)
		s.settle(strings.Fields(line)[0])
		all = append(all, s.got)
	}
	return all
}

// settle has all clients take what they were sent. The one who did something comes first: what it did is done then.
func (s *speaker) settle(first string) {
	if p := s.peer(first); p != nil {
		p.sync(0)
	}
	for _, p := range s.peers {
		p.sync(0)
	}
	// What they acknowledged may bring more, and another event loop may need a moment.
	for _, p := range s.peers {
		p.sync(s.want[p.name])
	}
}

func (s *speaker) note(who, format string, args ...any) {
	s.got[who] = append(s.got[who], fmt.Sprintf(format, args...))
}

// fail is a mistake in the conversation's text, or a broker that does not go on.
func (s *speaker) fail(line, format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s: %q: %s\n%s", s.d.name, line, fmt.Sprintf(format, args...), s.d.out.String())
}

func (s *speaker) do(line string) {
	s.t.Helper()
	w := words(line)
	switch first := w.next(); first {
	case "reload":
		s.d.reload()
	case "restart":
		for _, p := range s.peers {
			p.close()
		}
		s.peers = nil
		s.d.terminate()
		if err := s.d.launch(); err != nil {
			s.fail(line, "%v", err)
		}
	case "file":
		name := w.next()
		s.d.write(name, strings.ReplaceAll(w.rest(), `\n`, "\n")+"\n")
	case "conf":
		s.d.write("mosquitto.conf", strings.ReplaceAll(w.rest(), `\n`, "\n")+"\n")
	case "log":
		s.log(w)
	case "exists":
		_, err := os.Stat(filepath.Join(s.d.dir, w.next()))
		s.note("", "%t", err == nil)
	case "pid":
		b, err := os.ReadFile(filepath.Join(s.d.dir, w.next()))
		s.note("", "%t", err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(s.d.cmd.Process.Pid))
	case "user":
		s.note("", "%s", s.runsAs())
	default:
		p := s.peer(first)
		if p == nil {
			p = &peer{s: s, name: first}
			s.peers = append(s.peers, p)
		}
		p.do(line, w)
	}
}

func (s *speaker) peer(name string) *peer {
	for _, p := range s.peers {
		if p.name == name {
			return p
		}
	}
	return nil
}

// log looks for a line, and waits for it a while.
func (s *speaker) log(w *lineWords) {
	text := s.d.out.String
	if w.peek() == "file" {
		w.next()
		path := filepath.Join(s.d.dir, w.next())
		text = func() string {
			b, _ := os.ReadFile(path) // a file that is not there has no such line
			return string(b)
		}
	}
	within := 2 * time.Second
	if w.peek() == "no" || s.want != nil && s.want[""] == 0 {
		within = 0 // none is waited for that will not come
	}
	if w.peek() == "no" {
		w.next()
	}
	re, err := regexp.Compile("(?m)" + s.d.fill(w.rest()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.note("", "%t", s.d.until(func() bool { return re.MatchString(text()) }, within))
}

// runsAs is the name of the user as whom the broker runs.
func (s *speaker) runsAs() string {
	info, err := os.Stat(fmt.Sprintf("/proc/%d", s.d.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	uid := strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Uid), 10)
	u, err := user.LookupId(uid)
	if err != nil {
		return uid
	}
	return u.Username
}

// lineWords are the words of a line: KEY=VALUE, KEY alone, or what stands by its place.
type lineWords struct {
	left   []string
	values map[string]string
}

func words(line string) *lineWords {
	return &lineWords{left: strings.Fields(line), values: map[string]string{}}
}

func (w *lineWords) peek() string {
	if len(w.left) == 0 {
		return ""
	}
	return w.left[0]
}

func (w *lineWords) next() string {
	first := w.peek()
	if first != "" {
		w.left = w.left[1:]
	}
	return first
}

func (w *lineWords) rest() string {
	all := strings.Join(w.left, " ")
	w.left = nil
	return all
}

// options takes the words that remain as KEY=VALUE, of the keys that are allowed.
func (w *lineWords) options(allowed string) error {
	for _, word := range w.left {
		key, value, _ := strings.Cut(word, "=")
		if !strings.Contains(" "+allowed+" ", " "+key+" ") {
			return fmt.Errorf("there is no %q here, but %s", key, allowed)
		}
		w.values[key] = value
	}
	w.left = nil
	return nil
}

func (w *lineWords) has(key string) bool { _, ok := w.values[key]; return ok }

func (w *lineWords) number(key string, otherwise int) int {
	n, err := strconv.Atoi(w.values[key])
	if err != nil {
		return otherwise
	}
	return n
}

// What the words of each command may be.
const (
	connectWords = "id v clean user pass keepalive expiry receive alias packet port unix host ws tls cert noname " +
		"max min will willdelay noproblem bit"
	subscribeWords   = "qos nolocal rap rh id"
	publishWords     = "qos retain dup size alias expiry format type user id corr response"
	unsubscribeWords = ""
)

func (p *peer) do(line string, w *lineWords) {
	p.s.t.Helper()
	verb := w.next()
	if verb != "connect" && verb != "await" && p.conn == nil {
		p.s.note(p.name, "is not connected")
		return
	}
	switch verb {
	case "connect":
		p.must(line, w.options(connectWords))
		p.connect(line, w)
	case "subscribe":
		filters := strings.Split(w.next(), ",")
		p.must(line, w.options(subscribeWords))
		p.subscribe(filters, w)
	case "unsubscribe":
		p.send(mqtt.Unsubscribe(p.version, p.id(), nil, strings.Split(w.next(), ",")...))
	case "publish":
		topic, payload := w.next(), w.next()
		p.must(line, w.options(publishWords))
		p.publish(topic, payload, w)
	case "hold":
		p.holds = true
	case "ack":
		p.holds = false
		p.acknowledgeHeld()
	case "disconnect":
		if code := w.next(); code != "" {
			n, err := strconv.ParseUint(code, 0, 8)
			p.must(line, err)
			p.send(mqtt.DisconnectReason(byte(n)))
		} else {
			p.send(mqtt.Disconnect)
		}
		p.untilClosed()
	case "drop":
		p.drop()
	case "quiet":
		p.quiet = true
	case "until":
		re, err := regexp.Compile(w.rest())
		p.must(line, err)
		p.until(re)
	case "raw":
		b, err := hex.DecodeString(strings.ReplaceAll(w.rest(), " ", ""))
		p.must(line, err)
		p.send(b)
	case "await":
		n, err := strconv.Atoi(w.next())
		p.must(line, err)
		p.waitFor(n, patience)
	default:
		p.s.fail(line, "nothing is called %q", verb)
	}
}

func (p *peer) must(line string, err error) {
	p.s.t.Helper()
	if err != nil {
		p.s.fail(line, "%v", err)
	}
}

func (p *peer) subscribe(filters []string, w *lineWords) {
	options := byte(w.number("qos", 0)) | byte(w.number("rh", 0))<<4
	if w.has("nolocal") {
		options |= 4
	}
	if w.has("rap") {
		options |= 8
	}
	var props []mqtt.Prop
	if n := w.number("id", 0); n > 0 {
		props = append(props, mqtt.Prop{ID: mqtt.PropSubscriptionID, Int: uint32(n)})
	}
	var subs []mqtt.Sub
	for _, f := range filters {
		subs = append(subs, mqtt.Sub{Filter: f, Options: options})
	}
	p.send(mqtt.Subscribe(p.version, p.id(), props, subs...))
}

func (p *peer) publish(topic, payload string, w *lineWords) {
	m := mqtt.Publish{Topic: topic, Payload: payload, QoS: byte(w.number("qos", 0)), Retain: w.has("retain"), Dup: w.has("dup")}
	switch {
	case payload == "-":
		m.Payload = ""
	case w.has("size"):
		m.Payload = strings.Repeat(payload, 1+w.number("size", 0)/len(payload))[:w.number("size", 0)]
	}
	if topic == "-" {
		m.Topic = ""
	}
	if m.QoS > 0 {
		m.ID = p.id()
		if n := w.number("id", 0); n > 0 {
			m.ID = uint16(n)
		}
	}
	for key, id := range map[string]byte{"alias": mqtt.PropTopicAlias, "expiry": mqtt.PropMessageExpiry, "format": mqtt.PropPayloadFormat} {
		if w.has(key) {
			m.Props = append(m.Props, mqtt.Prop{ID: id, Int: uint32(w.number(key, 0))})
		}
	}
	for key, id := range map[string]byte{"type": mqtt.PropContentType, "corr": mqtt.PropCorrelationData, "response": mqtt.PropResponseTopic} {
		if w.has(key) {
			m.Props = append(m.Props, mqtt.Prop{ID: id, Str: w.values[key]})
		}
	}
	if w.has("user") {
		m.Props = append(m.Props, mqtt.Prop{ID: mqtt.PropUser, Key: "user", Str: w.values["user"]})
	}
	p.send(m.Bytes(p.version))
}
