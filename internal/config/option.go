package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scope says to what an option belongs.
type Scope byte

// The scopes.
const (
	General    Scope = iota
	Securing         // for all listeners, or for one with per_listener_settings
	OfListener       // the listener line above, or the default listener
	OfBridge         // the connection line above
	OfPlugin         // the plugin line above
)

func (s Scope) String() string {
	return [...]string{"general", "security", "listener", "connection", "plugin"}[s]
}

// Option is a row of the table.
type Option struct {
	Name    string
	Aliases []string
	Scope   Scope
	Own     bool   // Nightjar's, not Mosquitto's
	Live    bool   // a reload applies it
	Takes   string // how the value is written; empty: from its type
	About   string
	// Unlike says where Nightjar differs from Mosquitto; empty: it does the same.
	Unlike string
	// Deprecated says what to write instead. The option works.
	Deprecated string
	// Obsolete says why the option has no effect. It is accepted.
	Obsolete string
	// Refused says why the option cannot be, and what to use instead.
	Refused string
	// NotYet options are parsed and checked, and keep a configuration from being used: this version does nothing with them.
	NotYet bool

	bind  func(t *target) any // a pointer to what the option sets
	unit  time.Duration       // of a duration that is written as a number; 0: it has its unit with it
	check func(v int64) (int64, *fault)
	words []string // the values there are
	parse func(p *parser, value string) *fault
	def   string // the default, where it cannot be read from bind
	once  bool   // a second line is an error
	needs need
}

// need says what must stand in front of a listener's option.
type need byte

const (
	anyListener  need = iota // with no listener in front, it is the default listener's
	someListener             // a listener, the default one too
	ownListener              // a listener line
)

// target is what a line sets.
type target struct {
	s   *Settings
	sec *Security
	l   *Listener
	b   *Bridge
}

// fault is what is wrong with a line. words are Mosquitto's for it.
type fault struct {
	text, words string
}

func faultf(words, format string, args ...any) *fault {
	return &fault{text: fmt.Sprintf(format, args...), words: words}
}

// set takes value, which is not empty.
func (o *Option) set(p *parser, t *target, value string) *fault {
	if o.parse != nil {
		return o.parse(p, value)
	}
	word, _, _ := strings.Cut(value, " ")
	switch v := o.bind(t).(type) {
	case *bool:
		b, f := o.parseBool(word)
		if f != nil {
			return f
		}
		*v = b
	case *Tri:
		b, f := o.parseBool(word)
		if f != nil {
			return f
		}
		*v = No
		if b {
			*v = Yes
		}
	case *int:
		n, f := o.parseInt(word)
		if f != nil {
			return f
		}
		*v = int(n)
	case *int64:
		n, f := o.parseInt(word)
		if f != nil {
			return f
		}
		*v = n
	case *Size:
		n, f := o.parseSize(word)
		if f != nil {
			return f
		}
		*v = Size(n)
	case *time.Duration:
		d, f := o.parseDuration(word)
		if f != nil {
			return f
		}
		*v = d
	case *string:
		if o.words == nil {
			*v = value
			break
		}
		if !slices.Contains(o.words, word) {
			return faultf(fmt.Sprintf("Invalid '%s' value (%s).", o.Name, word), "%q is not one of %s", word, strings.Join(o.words, ", "))
		}
		*v = word
	case *[]string:
		*v = append(*v, value)
	default:
		panic("config: option " + o.Name + " has a type that cannot be read")
	}
	return nil
}

func (o *Option) parseBool(word string) (bool, *fault) {
	switch word {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, faultf(fmt.Sprintf("Invalid '%s' value (%s).", o.Name, word), "%q is neither true nor false", word)
}

// parseInt reads a number as strtol does: 0x begins hexadecimal ones and 0 octal ones.
func (o *Option) parseInt(word string) (int64, *fault) {
	n, err := strconv.ParseInt(word, 0, 64)
	if err != nil || strings.Contains(word, "_") {
		return 0, faultf(fmt.Sprintf("'%s' value not a number.", o.Name), "%q is not a whole number", word)
	}
	if n > math.MaxInt32 || n < math.MinInt32 {
		return 0, faultf(fmt.Sprintf("'%s' value out of range.", o.Name), "%s is out of range", word)
	}
	if o.check != nil {
		return o.check(n)
	}
	return n, nil
}

func (o *Option) parseSize(word string) (int64, *fault) {
	digits, shift := word, 0
	if i := strings.IndexAny("KMG", word[len(word)-1:]); i >= 0 {
		digits, shift = word[:len(word)-1], 10*(i+1)
	}
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil || strings.Contains(word, "_") || n > math.MaxInt64>>shift {
		return 0, faultf(fmt.Sprintf("'%s' value not a number.", o.Name), "%q is not a number of bytes, such as 65536, 64K, 16M or 1G", word)
	}
	if n < 0 {
		return 0, faultf(fmt.Sprintf("Invalid '%s' value (%s).", o.Name, word), "%s is negative", word)
	}
	n <<= shift
	if o.check != nil {
		return o.check(n)
	}
	return n, nil
}

// parseDuration reads a number of units, or for Nightjar's options a number with its unit (500ms, 10s, 5m, 1h), or of seconds.
func (o *Option) parseDuration(word string) (time.Duration, *fault) {
	if o.unit != 0 {
		n, f := o.parseInt(word)
		return time.Duration(n) * o.unit, f
	}
	d, err := time.ParseDuration(word)
	if n, e := strconv.ParseInt(word, 10, 32); e == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 {
		return 0, faultf(fmt.Sprintf("Invalid '%s' value (%s).", o.Name, word), "%q is not a time, such as 500ms, 10s, 5m or 1h", word)
	}
	if o.check != nil {
		n, f := o.check(int64(d))
		return time.Duration(n), f
	}
	return d, nil
}

// between has numbers outside of low and high refused.
func between(name string, low, high int64) func(int64) (int64, *fault) {
	return func(n int64) (int64, *fault) {
		if n < low || n > high {
			return 0, faultf(fmt.Sprintf("Invalid '%s' value (%d).", name, n), "%d is not between %d and %d", n, low, high)
		}
		return n, nil
	}
}

// negativeIs has negative numbers mean one, as Mosquitto does.
func negativeIs(value int64) func(int64) (int64, *fault) {
	return func(n int64) (int64, *fault) {
		if n < 0 {
			return value, nil
		}
		return n, nil
	}
}

// Usage is how the option's value is written.
func (o *Option) Usage() string {
	if o.Takes != "" {
		return o.Takes
	}
	if o.words != nil {
		return strings.Join(o.words, "|")
	}
	if o.bind == nil {
		return "value"
	}
	switch o.bind(blankTarget()).(type) {
	case *bool, *Tri:
		return "true|false"
	case *Size:
		return "bytes"
	case *int, *int64:
		return "number"
	case *time.Duration:
		switch o.unit {
		case time.Second:
			return "seconds"
		case time.Minute:
			return "minutes"
		}
		return "time"
	}
	return "text"
}

// Default is the value that a configuration without the option has, as it would be written; "": none.
func (o *Option) Default() string {
	if o.def != "" || o.bind == nil {
		return o.def
	}
	d := format(o.bind(blankTarget()), o.unit)
	if strings.HasPrefix(d, "&") { // a list or a table that is empty
		return ""
	}
	return d
}

// blankTarget has the defaults of everything.
func blankTarget() *target {
	s := Defaults()
	return &target{s: s, sec: &s.Security, l: newListener(Position{}), b: newBridge(Position{}, "")}
}

// format writes a value as it stands in a file.
func format(v any, unit time.Duration) string {
	switch v := v.(type) {
	case *bool:
		return strconv.FormatBool(*v)
	case *Tri:
		return [...]string{"", "false", "true"}[*v]
	case *int:
		return strconv.Itoa(*v)
	case *int64:
		return strconv.FormatInt(*v, 10)
	case *Size:
		for i, suffix := range "GMK" {
			if shift := 30 - 10*i; *v != 0 && *v%(1<<shift) == 0 {
				return strconv.FormatInt(int64(*v>>shift), 10) + string(suffix)
			}
		}
		return strconv.FormatInt(int64(*v), 10)
	case *time.Duration:
		if unit != 0 {
			return strconv.FormatInt(int64(*v/unit), 10)
		}
		return shortDuration(*v)
	case *string:
		return *v
	case *[]string:
		return strings.Join(*v, " ")
	}
	return fmt.Sprint(v)
}

// shortDuration is d without the zeros that Duration.String ends with.
func shortDuration(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	case d%time.Minute == 0:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	}
	return d.String()
}
