// Package certs makes a server's TLS configuration out of files and keeps it up to date: the files are looked at every
// second, and what has changed holds from the next handshake on. Files that cannot be used are told of in the log, and what
// was there stays.
//
// The files: files.go (what there is to set, and reading it), ciphers.go (names of cipher suites), client.go (checking
// clients' certificates), watch.go.
package certs

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// Source is a TLS configuration that follows its files. It is safe for concurrent use.
type Source struct {
	files Files
	log   *slog.Logger
	now   atomic.Pointer[tls.Config]
	stop  func()
	done  chan struct{}
	keys  *os.File // the key log; nil: none

	mu   sync.Mutex // held while files are read
	seen snapshot   // of what was read last
}

// Load reads the files and watches them until Close. The error names the file or setting that cannot be used. log gets what
// is read anew and what cannot be; nil: slog.Default.
func Load(f Files, log *slog.Logger) (*Source, error) {
	if log == nil {
		log = slog.Default()
	}
	s := &Source{files: f, log: log, done: make(chan struct{})}
	if f.KeyLogFile != "" {
		keys, err := os.OpenFile(f.KeyLogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("TLS key log: %w", err)
		}
		s.keys = keys
	}
	if err := s.Reload(); err != nil {
		s.closeKeys()
		return nil, err
	}
	stop := make(chan struct{})
	s.stop = sync.OnceFunc(func() { close(stop) })
	go s.watch(stop)
	return s, nil
}

// Files are what the source was made of.
func (s *Source) Files() Files { return s.files }

// Reload reads the files now. After an error what was read before stays in use.
func (s *Source) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = s.files.snapshot() // before they are read: what changes meanwhile is seen to have changed
	c, err := s.files.config(s.log)
	if err != nil {
		return err
	}
	if s.keys != nil {
		c.KeyLogWriter = s.keys
	}
	s.now.Store(c)
	return nil
}

// Config is for connections that speak one of the application protocols, the preferred first (ALPN). Clients that name none
// of them, or none at all, are taken too, as Mosquitto has it: there are those that name protocols of other brokers.
func (s *Source) Config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c := s.now.Load()
			if slices.ContainsFunc(h.SupportedProtos, func(p string) bool { return slices.Contains(protocols, p) }) {
				c = c.Clone()
				c.NextProtos = protocols
			}
			return c, nil
		},
	}
}

// Close ends the watching and waits for it. What Config gave stays usable, with what was read last.
func (s *Source) Close() {
	s.stop()
	<-s.done
	s.closeKeys()
}

func (s *Source) closeKeys() {
	if s.keys != nil {
		_ = s.keys.Close()
	}
}
