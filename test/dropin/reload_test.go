//go:build linux

package dropin

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/access/authority"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

var (
	reloads = flag.Int("reloads", 100, "how often TestReloadUnderLoad reloads")
	clients = flag.Int("clients", 200, "how many clients publish meanwhile")
)

// What may remain of all reloads together. Each leaves an access list, a certificate or a listener behind if something is wrong.
const (
	descriptorBound = 4        // beyond those at the same point of an earlier round
	memoryBound     = 48 << 20 // bytes of resident memory: what the garbage collector may not have given back
)

// storm is a broker that is reloaded while clients publish.
type storm struct {
	t         *testing.T
	d         *daemon
	ca        *authority.Authority
	round     int
	keepAlive int  // max_keepalive
	probe     int  // the ACL file lets clients write to probe/N
	extra     bool // there is a listener more
}

// TestReloadUnderLoad: an ACL file, a certificate, a limit and the listeners change in turn, each of which clients see, while
// others publish by TCP, TLS and WebSocket. Nothing is lost, nobody is disconnected, nothing is left behind.
func TestReloadUnderLoad(t *testing.T) {
	d := newDaemon(t, "nightjar", nightjarCommand(t), "")
	ca, err := authority.Load(filepath.Join(d.dir, "tls", "ca.crt"), filepath.Join(d.dir, "tls", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	s := &storm{t: t, d: d, ca: ca, keepAlive: 1000}
	s.writeFiles()
	d.conf = s.conf()
	d.start()
	t.Cleanup(d.kill)
	load := startLoad(s)
	var before usage
	for i := range *reloads {
		s.round = i
		s.change()
		if i == max(8, *reloads/10)/8*8 { // everything has been there once, and there is no listener more, as at the end
			before = s.usage()
		}
	}
	for s.extra {
		s.round++
		s.change()
	}
	sent := load.finish()
	t.Logf("%d reloads, %d messages of %d clients; %s, then %s", *reloads, sent, *clients, before, s.usage())
	settled := d.until(func() bool {
		now := s.usage()
		return now.descriptors <= before.descriptors+descriptorBound && now.memory <= before.memory+memoryBound
	}, patience)
	if !settled {
		t.Errorf("before: %s, now: %s", before, s.usage())
	}
	d.terminate()
	if n := strings.Count(d.out.String(), "is not reloaded"); n > 0 {
		t.Errorf("%d reloads failed:\n%.4000s", n, d.out.String())
	}
}

func (s *storm) conf() string {
	lines := []string{"allow_anonymous true", "acl_file DIR/acl", fmt.Sprintf("max_keepalive %d", s.keepAlive), "max_queued_messages 0",
		"max_inflight_messages 0", "log_type error", "log_type warning", "log_type information", "listener PORT1 127.0.0.1",
		"listener PORT2 127.0.0.1", "certfile DIR/tls/server.crt", "keyfile DIR/tls/server.key",
		"listener PORT3 127.0.0.1", "protocol websockets"}
	if s.extra {
		lines = append(lines, "listener PORT4 127.0.0.1")
	}
	return strings.Join(lines, "\n") + "\n"
}

func (s *storm) writeFiles() {
	s.d.write("mosquitto.conf", s.conf())
	s.d.write("acl", fmt.Sprintf("topic readwrite load/#\ntopic readwrite probe/%d\n", s.probe))
}

// change changes one thing, has the broker read it, and waits until clients see it.
func (s *storm) change() {
	s.t.Helper()
	var seen func() bool
	switch s.round % 4 {
	case 0:
		s.keepAlive++
		seen = func() bool { return s.serverKeepAlive() == s.keepAlive }
	case 1:
		s.probe++
		seen = func() bool { return s.mayWrite(s.probe) && !s.mayWrite(s.probe-1) }
	case 2:
		s.extra = !s.extra
		seen = func() bool { return s.extraListens() == s.extra }
	case 3:
		serial := s.newCertificate()
		seen = func() bool { return s.serverSerial() == serial }
	}
	s.writeFiles()
	if err := s.d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	if !s.d.until(seen, patience) {
		s.t.Fatalf("round %d: clients do not see the change:\n%s", s.round, s.tail())
	}
}

// tail is the end of the broker's log.
func (s *storm) tail() string {
	all := s.d.out.String()
	return all[max(0, len(all)-4000):]
}

func (s *storm) url(scheme string, port int) string {
	return scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.d.ports[port-1]))
}

func (s *storm) connect(ctx context.Context, url string, o client.Options) (*client.Client, error) {
	o.NoReconnect = true
	o.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // its serial number is looked at
	o.ConnectTimeout = patience
	for {
		c, err := client.Connect(ctx, url, o)
		// Who connects in the middle of a reload may be told to begin anew; see docs/configuration.md.
		if refused := (*client.ConnectError)(nil); errors.As(err, &refused) && refused.Code == mqtt.ServerBusy && ctx.Err() == nil {
			continue
		}
		return c, err
	}
}

// visit connects, asks something, and goes.
func (s *storm) visit(o client.Options, ask func(ctx context.Context, c *client.Client)) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.connect(ctx, s.url("mqtt", 1), o)
	if err != nil {
		s.t.Fatalf("round %d: %v\n%s", s.round, err, s.tail())
	}
	ask(ctx, c)
	c.Close()
}

func (s *storm) serverKeepAlive() (seconds int) {
	s.visit(client.Options{KeepAlive: 60000 * time.Second}, func(_ context.Context, c *client.Client) {
		seconds = int(c.Connack().KeepAlive / time.Second)
	})
	return seconds
}

func (s *storm) mayWrite(n int) (yes bool) {
	s.visit(client.Options{}, func(ctx context.Context, c *client.Client) {
		_, err := c.Publish(ctx, &client.Message{Topic: fmt.Sprintf("probe/%d", n), QoS: 1})
		var refused *client.ReasonError
		if err != nil && (!errors.As(err, &refused) || refused.Code != mqtt.NotAuthorized) {
			s.t.Fatalf("round %d: %v", s.round, err)
		}
		yes = err == nil
	})
	return yes
}

func (s *storm) extraListens() bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.d.ports[3])), patience)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// newCertificate gives the server another certificate, and returns its serial number.
func (s *storm) newCertificate() string {
	s.t.Helper()
	dir := s.t.TempDir()
	cert, key := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	if _, err := s.ca.Server([]string{"localhost"}, time.Now().Add(time.Hour), cert, key); err != nil {
		s.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range []string{cert, key} {
		s.d.write("tls/"+filepath.Base(path), s.d.read(path))
	}
	return pair.Leaf.SerialNumber.String()
}

func (s *storm) serverSerial() string {
	conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.d.ports[1])), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // to look at it
	if err != nil {
		s.t.Fatalf("round %d: %v", s.round, err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// usage is what the broker's process holds.
type usage struct {
	descriptors int
	memory      int
}

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %.1f MiB", u.descriptors, float64(u.memory)/(1<<20))
}

func (s *storm) usage() (u usage) {
	s.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", s.d.cmd.Process.Pid)
	all, err := os.ReadDir(proc + "fd")
	if err != nil {
		s.t.Fatal(err)
	}
	u.descriptors = len(all)
	for _, line := range strings.Split(s.d.read(proc+"status"), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kB, _ := strconv.Atoi(f[1])
			u.memory = kB << 10
		}
	}
	return u
}

// load is clients that publish numbers, and subscribers who count them.
type load struct {
	s          *storm
	stop       chan struct{}
	publishing sync.WaitGroup
	everybody  []*client.Client
	sent, got  []atomic.Int64 // by publisher: the last number acknowledged, the last one received
}

// pause is how long a client waits after each message: two cores have to do it all.
const pause = 100 * time.Millisecond

func startLoad(s *storm) *load {
	s.t.Helper()
	n := *clients
	l := &load{s: s, stop: make(chan struct{}), sent: make([]atomic.Int64, n), got: make([]atomic.Int64, n)}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ways := []string{s.url("mqtt", 1), s.url("mqtts", 2), s.url("mqtt", 1), s.url("ws", 3)}
	add := func(i int, o client.Options) *client.Client {
		c, err := s.connect(ctx, ways[i%len(ways)], o)
		if err != nil {
			s.t.Fatal(err)
		}
		l.everybody = append(l.everybody, c)
		return c
	}
	for i := range len(ways) {
		c := add(i, client.Options{ClientID: fmt.Sprint("subscriber", i), OnMessage: l.receive})
		if _, err := c.Subscribe(ctx, client.Subscription{Filter: fmt.Sprintf("load/%d/+", i), QoS: 1}); err != nil {
			s.t.Fatal(err)
		}
	}
	for i := range n {
		c := add(i, client.Options{ClientID: fmt.Sprint("publisher", i)})
		l.publishing.Go(func() { l.publish(c, i) })
	}
	s.t.Cleanup(func() {
		for _, c := range l.everybody {
			c.Close()
		}
	})
	return l
}

// publish sends 1, 2, 3 … each after the acknowledgement of the one before.
func (l *load) publish(c *client.Client, i int) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	topic := fmt.Sprintf("load/%d/%d", (i/4)%4, i) // by another way than it came
	for number := int64(1); ; number++ {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		_, err := c.Publish(ctx, &client.Message{Topic: topic, Payload: []byte(strconv.FormatInt(number, 10)), QoS: 1})
		cancel()
		if err != nil {
			l.s.t.Errorf("client %d, message %d: %v", i, number, err)
			return
		}
		l.sent[i].Store(number)
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
	}
}

// receive holds each publisher to its order, without a gap and without a copy.
func (l *load) receive(m *client.Message) {
	i, _ := strconv.Atoi(m.Topic[strings.LastIndexByte(m.Topic, '/')+1:])
	number, _ := strconv.ParseInt(string(m.Payload), 10, 64)
	if before := l.got[i].Swap(number); number != before+1 {
		l.s.t.Errorf("of client %d message %d comes after %d", i, number, before)
	}
}

// finish ends the publishing, and waits until all that was acknowledged has come.
func (l *load) finish() (sent int64) {
	l.s.t.Helper()
	close(l.stop)
	l.publishing.Wait()
	all := func() bool {
		for i := range l.sent {
			if l.got[i].Load() != l.sent[i].Load() {
				return false
			}
		}
		return true
	}
	if !l.s.d.until(all, patience) {
		l.s.t.Error("messages that were acknowledged have not come")
	}
	for i := range l.sent {
		sent += l.sent[i].Load()
	}
	for i, c := range l.everybody {
		if !c.Connected() {
			l.s.t.Errorf("client %d was disconnected: %v", i, c.Err())
		}
	}
	return sent
}
