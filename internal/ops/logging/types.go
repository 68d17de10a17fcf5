package logging

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// Types is a set of Mosquitto's log types.
type Types uint16

// The log types of mosquitto.conf.
const (
	TypeError Types = 1 << iota
	TypeWarning
	TypeNotice
	TypeInformation
	TypeDebug
	TypeSubscribe
	TypeUnsubscribe
	TypeWebSockets

	TypesNone    Types = 0
	TypesDefault       = TypeError | TypeWarning | TypeNotice | TypeInformation
	TypesAll           = TypesDefault | TypeDebug | TypeSubscribe | TypeUnsubscribe | TypeWebSockets
)

var typeNames = []struct {
	name string
	t    Types
}{
	{"error", TypeError}, {"warning", TypeWarning}, {"notice", TypeNotice}, {"information", TypeInformation}, {"debug", TypeDebug},
	{"subscribe", TypeSubscribe}, {"unsubscribe", TypeUnsubscribe}, {"websockets", TypeWebSockets},
	{"internal", 0}, // Mosquitto's developers' own: nothing here is of this type
	{"none", TypesNone}, {"all", TypesAll},
}

// ParseType reads the value of a log_type. Several of them add up, but none takes away all that were given.
func ParseType(name string) (Types, error) {
	for _, n := range typeNames {
		if n.name == name {
			return n.t, nil
		}
	}
	names := make([]string, len(typeNames))
	for i, n := range typeNames {
		names[i] = n.name
	}
	return 0, fmt.Errorf("%q is no log type; there are %s", name, strings.Join(names, ", "))
}

// String lists the types as log_type has them.
func (t Types) String() string {
	switch t {
	case TypesNone:
		return "none"
	case TypesAll:
		return "all"
	}
	var names []string
	for _, n := range typeNames[:8] {
		if t&n.t != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, " ")
}

// AtLeast gives the types at or above a level of slog.
func AtLeast(level slog.Level) (t Types) {
	for _, l := range []slog.Level{
		slog.LevelDebug, broker.LevelSubscribe, broker.LevelUnsubscribe, broker.LevelWebSockets, slog.LevelInfo, broker.LevelNotice,
		slog.LevelWarn, slog.LevelError,
	} {
		if l >= level {
			t |= typeOf(l)
		}
	}
	return t
}

// typeOf gives the type of a line by its level.
func typeOf(l slog.Level) Types {
	switch {
	case l >= slog.LevelError:
		return TypeError
	case l >= slog.LevelWarn:
		return TypeWarning
	case l >= broker.LevelNotice:
		return TypeNotice
	case l >= slog.LevelInfo:
		return TypeInformation
	}
	switch l {
	case broker.LevelSubscribe:
		return TypeSubscribe
	case broker.LevelUnsubscribe:
		return TypeUnsubscribe
	case broker.LevelWebSockets:
		return TypeWebSockets
	}
	return TypeDebug
}

// single is the name of one type.
func (t Types) single() string {
	for _, n := range typeNames {
		if n.t == t {
			return n.name
		}
	}
	return "error"
}

// topic is where Mosquitto publishes lines of a type; "": nowhere.
func (t Types) topic() string {
	switch t {
	case TypeError:
		return "$SYS/broker/log/E"
	case TypeWarning:
		return "$SYS/broker/log/W"
	case TypeNotice:
		return "$SYS/broker/log/N"
	case TypeInformation:
		return "$SYS/broker/log/I"
	case TypeSubscribe:
		return "$SYS/broker/log/M/subscribe"
	case TypeUnsubscribe:
		return "$SYS/broker/log/M/unsubscribe"
	case TypeWebSockets:
		return "$SYS/broker/log/WS"
	}
	return "" // debug lines tell of packets: publishing them would make more
}
