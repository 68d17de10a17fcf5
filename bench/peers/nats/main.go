// Command nats runs nats-server with its MQTT listener for bench/compare: nothing is logged, sessions are in memory as far as
// the server can, and the limits that would drop clients under load are high.
package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	port := flag.Int("port", 0, "port to listen on for MQTT, on 127.0.0.1")
	dir := flag.String("dir", "", "directory for JetStream")
	transport := flag.String("transport", "tcp", "tcp, tls or ws")
	cert := flag.String("cert", "", "certificate for tls, PEM")
	key := flag.String("key", "", "its key, PEM")
	flag.Parse()
	if err := run(*port, *dir, *transport, *cert, *key); err != nil {
		fmt.Fprintf(os.Stderr, "nats: %v\n", err)
		os.Exit(1)
	}
}

func run(port int, dir, transport, cert, key string) error {
	if dir == "" {
		return errors.New("--dir is needed: MQTT needs JetStream")
	}
	o := &server.Options{
		ServerName: "peer", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir,
		MaxPending: 1 << 30, WriteDeadline: time.Minute, // a slow consumer is not cut off
		MaxConn: 1 << 20,
		MQTT: server.MQTTOpts{
			Host: "127.0.0.1", Port: port, ConsumerMemoryStorage: true, MaxAckPending: 10000,
		},
	}
	switch transport {
	case "ws":
		o.MQTT.Port = server.RANDOM_PORT
		o.Websocket = server.WebsocketOpts{Host: "127.0.0.1", Port: port, NoTLS: true}
	case "tls":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		o.MQTT.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		o.MQTT.TLSTimeout = 20
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		return errors.New("the server did not come up")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}
