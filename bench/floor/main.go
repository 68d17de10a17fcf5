// Command floor is what brokers are measured against: a forwarder of bytes on Nightjar's event loops that knows nothing of
// MQTT beyond what it takes to be driven by `nightjar bench`. It answers CONNECT and SUBSCRIBE with canned bytes; when a
// connection sends its first PUBLISH, the topic says who its subscribers are, and every byte from then on is forwarded to
// them. It checks nothing, counts nothing, and takes QoS 0 only. What it costs is what the kernel and Go's runtime cost.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

func main() {
	port := flag.Int("port", 0, "port to listen on, on 127.0.0.1; 0 chooses a free one")
	loops := flag.Int("loops", 0, "event loops; 0: one per core")
	flag.Parse()
	if err := run(*port, *loops); err != nil {
		fmt.Fprintf(os.Stderr, "floor: %v\n", err)
		os.Exit(1)
	}
}

func run(port, loops int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	f, err := newFloor(loops)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- f.serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return f.close()
	}
}

func (f *floor) serve(l net.Listener) error {
	own, err := netloop.Own(l)
	if err != nil {
		return err
	}
	return f.engine.Serve(own, func(c netloop.Conn) netloop.Handler { return &conn{floor: f, c: c} })
}

func (f *floor) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return f.engine.Close(ctx)
}
