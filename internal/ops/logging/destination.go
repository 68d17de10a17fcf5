package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Kind is a kind of destination.
type Kind byte

// The destinations of mosquitto.conf's log_dest.
const (
	Stdout Kind = iota
	Stderr
	File   // Path
	Syslog // the system's log
	Topic  // $SYS/broker/log/…, through Control.PublishTo
)

// Destination is where lines go.
type Destination struct {
	Kind Kind
	Path string // of a file; of syslog's socket, "" for the system's
}

// ParseDestination reads the value of a log_dest. none: the value is "none", which takes away all that were given.
func ParseDestination(value string) (d Destination, none bool, err error) {
	word, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "stdout":
		d.Kind = Stdout
	case "stderr":
		d.Kind = Stderr
	case "syslog":
		d.Kind = Syslog
	case "topic":
		d.Kind = Topic
	case "none":
		none = true
	case "file":
		if rest == "" {
			return d, false, errors.New("log_dest file needs a path behind it")
		}
		return Destination{Kind: File, Path: rest}, false, nil
	case "dlt", "android":
		return d, false, fmt.Errorf("log_dest %s is not supported; use syslog, file, stdout, stderr or topic", word)
	default:
		return d, false, fmt.Errorf("%q is no log destination; there are stdout, stderr, file PATH, syslog, topic, none", word)
	}
	if rest != "" {
		return d, false, fmt.Errorf("log_dest %s takes nothing behind it, but there is %q", word, rest)
	}
	return d, none, nil
}

// sink is an open destination. It is used by the queue's goroutine alone.
type sink interface {
	write(line []byte, t Types) error
	flush() error // writes what write has gathered
	close() error
}

// open opens all destinations, or none. Files that are among those that are open already are taken over.
func open(o *Options, publish func(topic string, payload []byte), there []sink) (sinks []sink, err error) {
	defer func() {
		if err != nil {
			closeAll(sinks, there)
			sinks = nil
		}
	}()
	for _, d := range o.Destinations {
		if f := d.among(there); f != nil {
			sinks = append(sinks, f)
			continue
		}
		s, err := d.open(o, publish)
		if err != nil {
			return sinks, err
		}
		sinks = append(sinks, s)
	}
	return sinks, nil
}

func (d *Destination) open(o *Options, publish func(topic string, payload []byte)) (sink, error) {
	switch d.Kind {
	case Stdout:
		return &streamSink{w: o.Stdout}, nil
	case Stderr:
		return &streamSink{w: o.Stderr}, nil
	case File:
		f := &fileSink{path: d.Path}
		return f, f.reopen()
	case Syslog:
		return openSyslog(o.Facility, d.Path)
	case Topic:
		t := newTopicSink()
		if publish != nil {
			t.publish.Store(&publish)
		}
		return t, nil
	}
	return nil, fmt.Errorf("logging: destination %d does not exist", d.Kind)
}

// among gives the open file of a destination; nil: there is none.
func (d *Destination) among(sinks []sink) sink {
	for _, s := range sinks {
		if f, ok := s.(*fileSink); ok && d.Kind == File && f.path == d.Path {
			return s
		}
	}
	return nil
}

// closeAll closes destinations but those that stay.
func closeAll(sinks, stay []sink) {
	for _, s := range sinks {
		if !slices.Contains(stay, s) {
			_ = s.close()
		}
	}
}

// gatherBytes is how much is written at once while more lines wait.
const gatherBytes = 32 << 10

// streamSink writes lines to a stream that is not its own.
type streamSink struct {
	w   io.Writer
	buf bytes.Buffer
}

func (s *streamSink) write(line []byte, _ Types) error {
	s.buf.Write(line)
	if s.buf.Len() >= gatherBytes {
		return s.flush()
	}
	return nil
}

func (s *streamSink) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	_, err := s.w.Write(s.buf.Bytes())
	s.buf.Reset()
	return err
}

func (s *streamSink) close() error { return s.flush() }

// fileSink appends to a file.
type fileSink struct {
	streamSink
	path string
	f    *os.File
}

// reopen opens the file by its name, which may by now be another file's. Only the owner may read it: it tells who uses the
// broker from where.
func (s *fileSink) reopen() error {
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("unable to open log file %s for writing: %w", s.path, err)
	}
	if s.f != nil {
		_ = s.flush()
		_ = s.f.Close()
	}
	s.f, s.w = f, f
	return nil
}

func (s *fileSink) close() error {
	if s.f == nil {
		return nil
	}
	return errors.Join(s.flush(), s.f.Close())
}

// topicLines bounds the lines that wait to be published.
const topicLines = 1024

// topicSink publishes lines. A goroutine of its own does, because the broker may be busy or end.
type topicSink struct {
	publish atomic.Pointer[func(topic string, payload []byte)]
	ch      chan topicLine
	once    sync.Once
}

type topicLine struct {
	topic   string
	payload []byte
}

func newTopicSink() *topicSink {
	t := &topicSink{ch: make(chan topicLine, topicLines)}
	go func() {
		for l := range t.ch {
			if p := t.publish.Load(); p != nil && *p != nil {
				(*p)(l.topic, l.payload)
			}
		}
	}()
	return t
}

var errTopicSlow = errors.New("logging: the broker does not publish its log as fast as it comes")

func (t *topicSink) write(line []byte, typ Types) error {
	topic := typ.topic()
	if topic == "" {
		return nil
	}
	select {
	case t.ch <- topicLine{topic, bytes.Clone(bytes.TrimSuffix(line, []byte("\n")))}:
		return nil
	default:
		return errTopicSlow
	}
}

func (t *topicSink) flush() error { return nil }

func (t *topicSink) close() error {
	t.once.Do(func() { close(t.ch) })
	return nil
}
