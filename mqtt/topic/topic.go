// Package topic holds the rules of topic names, topic filters and shared
// subscriptions (MQTT 5 §4.7 and §4.8): what is well formed, and what matches.
// Nothing in it allocates.
package topic

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

const (
	// MaxLevels is the largest number of level separators ("/") in a name or
	// filter, counted as Mosquitto does. It bounds the work and memory that one
	// 64 kB topic made of separators can cost a tree of topics.
	MaxLevels = 200

	// MaxLength is the largest length in bytes [MQTT-4.7.3-3].
	MaxLength = 65535

	sharePrefix = "$share/"
)

// Error is why a name or filter is refused. Every refusal is one of the Err
// variables.
type Error struct {
	Detail    string // what is wrong, in words
	Statement string // the normative statement or section; empty for Nightjar's own limits
}

func (e *Error) Error() string {
	if e.Statement == "" {
		return e.Detail
	}
	return e.Detail + " [" + e.Statement + "]"
}

// The refusals.
var (
	ErrEmpty       = &Error{"is empty", "MQTT-4.7.3-1"}
	ErrTooLong     = &Error{"is longer than 65535 bytes", "MQTT-4.7.3-3"}
	ErrLevels      = &Error{"has more than 200 level separators", ""}
	ErrUTF8        = &Error{"is not well-formed UTF-8", "MQTT-1.5.4-1"}
	ErrNull        = &Error{"contains U+0000", "MQTT-1.5.4-2"}
	ErrControl     = &Error{"contains a control character", "MQTT 5 §1.5.4"}
	ErrNonChar     = &Error{"contains a Unicode non-character", "MQTT 5 §1.5.4"}
	ErrWildcard    = &Error{"contains a wildcard, which only filters may", "MQTT-4.7.0-1"}
	ErrMultiLevel  = &Error{"has a # that is not a whole level at the end", "MQTT-4.7.1-1"}
	ErrSingleLevel = &Error{"has a + that is not a whole level", "MQTT-4.7.1-2"}
	ErrShareName   = &Error{"has an empty share name, or one with a wildcard", "MQTT-4.8.2-1"}
	ErrShareFilter = &Error{"has no topic filter behind the share name", "MQTT-4.8.2-2"}
)

// ValidName tells whether b is a topic name that may be published to. The
// error is nil or one of the Err variables.
func ValidName(b []byte) error {
	if err := checkLength(b); err != nil {
		return err
	}
	odd, wild := scan(b)
	if odd {
		if err := checkCharacters(b); err != nil {
			return err
		}
	}
	if wild {
		return ErrWildcard
	}
	return nil
}

// ValidFilter tells whether b is a topic filter that may be subscribed to,
// $share/name/filter included. The error is nil or one of the Err variables.
func ValidFilter(b []byte) error {
	if err := checkLength(b); err != nil {
		return err
	}
	odd, wild := scan(b)
	if odd {
		if err := checkCharacters(b); err != nil {
			return err
		}
	}
	if b[0] == '$' && len(b) >= len(sharePrefix)-1 && string(b[:len(sharePrefix)-1]) == sharePrefix[:len(sharePrefix)-1] {
		if len(b) == len(sharePrefix)-1 {
			return ErrShareName
		}
		if b[len(sharePrefix)-1] == '/' {
			name := b[len(sharePrefix):]
			end := bytes.IndexByte(name, '/')
			if end < 0 {
				end = len(name)
			}
			if end == 0 || bytes.IndexByte(name[:end], '+') >= 0 || bytes.IndexByte(name[:end], '#') >= 0 {
				return ErrShareName
			}
			if end+1 >= len(name) {
				return ErrShareFilter
			}
			b = name[end+1:]
		}
	}
	if wild {
		return checkWildcards(b)
	}
	return nil
}

// ValidCharacters tells whether b is well-formed UTF-8 without control
// characters and non-characters: what names, filters, client identifiers and
// user names have in common (MQTT 5 §1.5.4; refusing them is the receiver's
// choice, and Mosquitto's). Empty is valid.
func ValidCharacters(b []byte) error {
	if odd, _ := scan(b); odd {
		return checkCharacters(b)
	}
	return nil
}

// Match tells whether a message published to name is one that filter asks for.
// Both must be valid; of a shared subscription, pass what ParseShare returns.
// A wildcard at the start does not match names that start with $ [MQTT-4.7.2-1].
func Match(filter, name string) bool {
	if filter == "" || name == "" {
		return false
	}
	if name[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		flevel, frest, fmore := strings.Cut(filter, "/")
		if flevel == "#" {
			return true
		}
		nlevel, nrest, nmore := strings.Cut(name, "/")
		if flevel != "+" && flevel != nlevel {
			return false
		}
		if !nmore {
			// "sport/#" matches its parent "sport" too (MQTT 5 §4.7.1.2).
			return !fmore || frest == "#"
		}
		if !fmore {
			return false
		}
		filter, name = frest, nrest
	}
}

// ParseShare takes a shared subscription apart: "$share/g/a/#" is group "g" and
// filter "a/#". For any other filter, and for a malformed $share, it returns
// the filter as it is and shared false.
func ParseShare(filter string) (group, rest string, shared bool) {
	tail, ok := strings.CutPrefix(filter, sharePrefix)
	if !ok {
		return "", filter, false
	}
	group, rest, ok = strings.Cut(tail, "/")
	if !ok || group == "" || rest == "" {
		return "", filter, false
	}
	return group, rest, true
}

func checkLength(b []byte) error {
	if len(b) == 0 {
		return ErrEmpty
	}
	// Only a string longer than MaxLevels can have more separators than that.
	if len(b) > MaxLevels {
		if len(b) > MaxLength {
			return ErrTooLong
		}
		if bytes.Count(b, []byte{'/'}) > MaxLevels {
			return ErrLevels
		}
	}
	return nil
}

// checkWildcards tells whether every wildcard of a filter is a whole level, and
// # the last.
func checkWildcards(b []byte) error {
	for i, c := range b {
		switch c {
		case '#':
			if i != len(b)-1 || (i > 0 && b[i-1] != '/') {
				return ErrMultiLevel
			}
		case '+':
			if (i > 0 && b[i-1] != '/') || (i < len(b)-1 && b[i+1] != '/') {
				return ErrSingleLevel
			}
		}
	}
	return nil
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// scan looks at eight bytes at a time. odd: some byte is not printable ASCII,
// checkCharacters must look. wild: there is a + or a #.
func scan(b []byte) (odd, wild bool) {
	if len(b) < 8 {
		var o, w bool
		for _, c := range b {
			o = o || c < 0x20 || c >= 0x7F
			w = w || c == '+' || c == '#'
		}
		return o, w
	}
	var o, w uint64
	for i := 0; ; i += 8 {
		if i > len(b)-8 {
			if i == len(b) {
				break
			}
			i = len(b) - 8 // the last word overlaps the one before
		}
		x := binary.LittleEndian.Uint64(b[i:])
		// The high bit of a byte: not ASCII; < 0x20 (borrows); 0x7F (carries).
		o |= x | (x-ones*0x20)&^x | (x&^highs + ones)
		// '#' (0x23) and '+' (0x2B) differ in one bit: set it, then look for
		// a zero byte.
		y := (x | ones*0x08) ^ ones*0x2B
		w |= (y - ones) &^ y
	}
	return o&highs != 0, w&highs != 0
}

// checkCharacters names what scan found odd, if it is wrong at all.
func checkCharacters(b []byte) error {
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			if c == 0 {
				return ErrNull
			}
			if c < 0x20 || c == 0x7F {
				return ErrControl
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return ErrUTF8
		}
		if r <= 0x9F {
			return ErrControl
		}
		if r&0xFFFE == 0xFFFE || (r >= 0xFDD0 && r <= 0xFDEF) {
			return ErrNonChar
		}
		i += n
	}
	return nil
}
