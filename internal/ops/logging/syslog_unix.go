//go:build unix

package logging

import (
	"errors"
	"fmt"
	"log/syslog"
	"slices"
	"strings"
	"time"
)

// facilities are syslog(3)'s, by mosquitto.conf's name.
var facilities = map[string]syslog.Priority{
	"kern": syslog.LOG_KERN, "user": syslog.LOG_USER, "mail": syslog.LOG_MAIL, "daemon": syslog.LOG_DAEMON, "auth": syslog.LOG_AUTH,
	"syslog": syslog.LOG_SYSLOG, "lpr": syslog.LOG_LPR, "news": syslog.LOG_NEWS, "uucp": syslog.LOG_UUCP, "cron": syslog.LOG_CRON,
	"authpriv": syslog.LOG_AUTHPRIV, "local0": syslog.LOG_LOCAL0, "local1": syslog.LOG_LOCAL1, "local2": syslog.LOG_LOCAL2,
	"local3": syslog.LOG_LOCAL3, "local4": syslog.LOG_LOCAL4, "local5": syslog.LOG_LOCAL5, "local6": syslog.LOG_LOCAL6,
	"local7": syslog.LOG_LOCAL7,
}

// syslogTag is the program's name in the system's log.
const syslogTag = "nightjar"

// redialEvery is how often a system's log that is not there is looked for.
const redialEvery = 5 * time.Second

// syslogSink writes to the system's log, which may come later than the broker, and go.
type syslogSink struct {
	dial  func() (*syslog.Writer, error)
	w     *syslog.Writer // nil: it was not there
	tried time.Time
}

// writer gives the connection, or why there is none.
func (s *syslogSink) writer() (*syslog.Writer, error) {
	if s.w != nil {
		return s.w, nil
	}
	if time.Since(s.tried) < redialEvery {
		return nil, errNoSyslog
	}
	s.tried = time.Now()
	var err error
	if s.w, err = s.dial(); err != nil {
		s.w = nil
		return nil, fmt.Errorf("%w (%w)", errNoSyslog, err)
	}
	return s.w, nil
}

var errNoSyslog = errors.New("the system's log is not there: does a syslog daemon run?")

func openSyslog(facility, socket string) (sink, error) {
	if facility == "" {
		facility = "daemon"
	}
	p, known := facilities[facility]
	if !known {
		names := make([]string, 0, len(facilities))
		for n := range facilities {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("%q is no syslog facility; there are %s", facility, strings.Join(names, ", "))
	}
	network := ""
	if socket != "" {
		network = "unixgram"
	}
	return &syslogSink{dial: func() (*syslog.Writer, error) { return syslog.Dial(network, socket, p|syslog.LOG_NOTICE, syslogTag) }}, nil
}

func (s *syslogSink) write(line []byte, t Types) error {
	w, err := s.writer()
	if err != nil {
		return err
	}
	text := strings.TrimSuffix(string(line), "\n")
	switch t {
	case TypeError:
		return w.Err(text)
	case TypeWarning:
		return w.Warning(text)
	case TypeNotice, TypeSubscribe, TypeUnsubscribe:
		return w.Notice(text)
	case TypeInformation:
		return w.Info(text)
	}
	return w.Debug(text)
}

func (s *syslogSink) flush() error { return nil }
func (s *syslogSink) close() error {
	if s.w == nil {
		return nil
	}
	return s.w.Close()
}
