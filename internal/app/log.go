package app

import (
	"io"

	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/internal/ops/logging"
)

// logOptions say what is logged and where.
func logOptions(c *config.Settings, stdout, stderr io.Writer) logging.Options {
	o := logging.DefaultOptions()
	o.Stdout, o.Stderr = stdout, stderr
	l := &c.Log
	o.Types = logging.TypesNone
	switch {
	case l.Overruled == "verbose", l.Overruled == "" && l.All:
		o.Types = logging.TypesAll
	case l.Overruled == "":
		for _, name := range l.Types {
			if t, err := logging.ParseType(name); err == nil { // config knows the same names
				o.Types |= t
			}
		}
	}
	o.Destinations = nil
	for _, d := range []struct {
		used bool
		logging.Destination
	}{
		{l.Stderr, logging.Destination{Kind: logging.Stderr}},
		{l.Stdout, logging.Destination{Kind: logging.Stdout}},
		{l.Syslog, logging.Destination{Kind: logging.Syslog}},
		{l.Topic, logging.Destination{Kind: logging.Topic}},
		{l.File != "", logging.Destination{Kind: logging.File, Path: l.File}},
	} {
		if d.used {
			o.Destinations = append(o.Destinations, d.Destination)
		}
	}
	if l.Format == "json" {
		o.Format = logging.JSON
	}
	o.Timestamp, o.TimestampFormat, o.Facility = l.Timestamp, l.TimestampFormat, l.Facility
	o.ConnectionMessages = c.ConnectionMessages
	return o
}
