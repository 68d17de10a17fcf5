package config

import (
	"fmt"
	"slices"
	"strings"
)

func parseLogDest(p *parser, value string) *fault {
	log := &p.s.Log
	if !log.destSet {
		log.destSet, log.Stderr = true, false
	}
	word, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimLeft(rest, " \t")
	switch word {
	case "none":
		*log = Log{None: true, Facility: log.Facility, Timestamp: log.Timestamp, TimestampFormat: log.TimestampFormat, Types: log.Types,
			All: log.All, Format: log.Format, WSLevel: log.WSLevel, destSet: true, typeSet: log.typeSet}
		return nil
	case "stdout":
		log.Stdout, log.Unbuffered = true, log.Unbuffered || rest == "unbuffered"
	case "stderr":
		log.Stderr = true
	case "syslog":
		log.Syslog = true
	case "topic":
		log.Topic = true
	case "file":
		if log.File != "" {
			return faultf(`Duplicate "log_dest file" value.`, "the log has a file already: %s", log.File)
		}
		if rest == "" {
			return faultf(`Empty "log_dest file" value in configuration.`, "the path of the file is missing: log_dest file /var/log/nightjar.log")
		}
		log.File = rest
	case "dlt", "android":
		return &fault{text: fmt.Sprintf("%s cannot be had: it needs a library of the platform; use syslog, file PATH or stderr", word)}
	default:
		return faultf(fmt.Sprintf("Invalid 'log_dest' value (%s).", word), "%q is not one of stdout, stderr, syslog, topic, file PATH, none", word)
	}
	log.None = false
	return nil
}

func parseLogFacility(p *parser, value string) *fault {
	n, f := number("log_facility", firstWord(value))
	if f != nil {
		return f
	}
	if n < 0 || n > 7 {
		return faultf(fmt.Sprintf("Invalid 'log_facility' value (%d).", n), "%d is not between 0 and 7: these are local0 to local7", n)
	}
	p.s.Log.Facility = fmt.Sprintf("local%d", n)
	return nil
}

// LogTypes are the values of log_type beside all and none.
var LogTypes = []string{"error", "warning", "notice", "information", "debug", "subscribe", "unsubscribe", "websockets", "internal"}

func parseLogType(p *parser, value string) *fault {
	log := &p.s.Log
	if !log.typeSet {
		log.typeSet, log.Types = true, nil
	}
	switch word := firstWord(value); {
	case word == "none":
		log.All, log.Types = false, nil
	case word == "all":
		log.All = true
	case slices.Contains(LogTypes, word):
		if !slices.Contains(log.Types, word) {
			log.Types = append(log.Types, word)
		}
	default:
		return faultf(fmt.Sprintf("Invalid 'log_type' value (%s).", word), "%q is not one of %s, all, none", word, strings.Join(LogTypes, ", "))
	}
	return nil
}

// Logs tells whether lines of a type are written.
func (l *Log) Logs(kind string) bool {
	return l.Overruled == "verbose" || l.Overruled != "quiet" && (l.All || slices.Contains(l.Types, kind))
}
