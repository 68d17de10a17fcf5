// Command mochi runs mochi-mqtt/server for bench/compare: everybody may connect, nothing is logged, and the limits that would
// drop messages under load are high.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	port := flag.Int("port", 0, "port to listen on, on 127.0.0.1")
	transport := flag.String("transport", "tcp", "tcp, tls or ws")
	cert := flag.String("cert", "", "certificate for tls, PEM")
	key := flag.String("key", "", "its key, PEM")
	flag.Parse()
	if err := run(*port, *transport, *cert, *key); err != nil {
		fmt.Fprintf(os.Stderr, "mochi: %v\n", err)
		os.Exit(1)
	}
}

func run(port int, transport, cert, key string) error {
	limits := mqtt.NewDefaultServerCapabilities()
	limits.MaximumClientWritesPending = 1 << 16
	limits.MaximumInflight = 65535
	limits.ReceiveMaximum = 65535
	s := mqtt.New(&mqtt.Options{Capabilities: limits, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	config := listeners.Config{ID: transport, Address: fmt.Sprintf("127.0.0.1:%d", port)}
	var l listeners.Listener = listeners.NewTCP(config)
	switch transport {
	case "ws":
		l = listeners.NewWebsocket(config)
	case "tls":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		config.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		l = listeners.NewTCP(config)
	}
	if err := s.AddListener(l); err != nil {
		return err
	}
	if err := s.Serve(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	return s.Close()
}
