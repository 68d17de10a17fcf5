//go:build unix

package logging

import (
	"fmt"
	"log/syslog"
	"slices"
	"strings"
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

type syslogSink struct{ w *syslog.Writer }

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
	w, err := syslog.Dial(network, socket, p|syslog.LOG_NOTICE, syslogTag)
	if err != nil {
		return nil, fmt.Errorf("unable to reach the system's log: %w", err)
	}
	return &syslogSink{w}, nil
}

func (s *syslogSink) write(line []byte, t Types) error {
	text := strings.TrimSuffix(string(line), "\n")
	switch t {
	case TypeError:
		return s.w.Err(text)
	case TypeWarning:
		return s.w.Warning(text)
	case TypeNotice, TypeSubscribe, TypeUnsubscribe:
		return s.w.Notice(text)
	case TypeInformation:
		return s.w.Info(text)
	}
	return s.w.Debug(text)
}

func (s *syslogSink) flush() error { return nil }
func (s *syslogSink) close() error { return s.w.Close() }
