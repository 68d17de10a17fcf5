package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/strftime"
)

// printer writes a message to w. An error is about the message, not about w:
// errors of w show at its Flush.
type printer func(w io.Writer, m *client.Message, now time.Time) error

// printer makes the printer that the flags ask for.
func (s *sub) printer() (printer, error) {
	end := "\n"
	if s.noEOL {
		end = ""
	}
	var show printer
	switch {
	case s.format != "":
		f, err := parseFormat(s.format, s.pretty)
		if err != nil {
			return nil, err
		}
		show = func(w io.Writer, m *client.Message, now time.Time) error {
			err := f.print(w, m, now)
			fmt.Fprint(w, end)
			return err
		}
	case s.verbose:
		show = func(w io.Writer, m *client.Message, _ time.Time) error {
			switch {
			case len(m.Payload) > 0:
				fmt.Fprintf(w, "%s %s%s", m.Topic, m.Payload, end)
			case !s.noEOL:
				fmt.Fprintf(w, "%s (null)\n", m.Topic)
			}
			return nil
		}
	default:
		show = func(w io.Writer, m *client.Message, _ time.Time) error {
			if len(m.Payload) > 0 {
				fmt.Fprintf(w, "%s%s", m.Payload, end)
			}
			return nil
		}
	}
	if s.watch {
		return watching(show), nil
	}
	return show, nil
}

// watching gives each topic a line of the terminal, from the second one on.
func watching(show printer) printer {
	lines := map[string]int{}
	return func(w io.Writer, m *client.Message, now time.Time) error {
		line, ok := lines[m.Topic]
		if !ok {
			line = len(lines) + 2
			lines[m.Topic] = line
		}
		fmt.Fprintf(w, "\x1b[%d;1H\x1b[2K", line)
		err := show(w, m, now)
		fmt.Fprintf(w, "\x1b[%d;1H", len(lines)+2)
		return err
	}
}

// format is the parsed value of -F: pieces that print one after the other.
type format struct {
	pieces []piece
	pretty bool
}

// piece is one part of a format.
type piece struct {
	kind byte // of a % sequence; '@' for strftime, 0 for text
	text string
	field
}

// field is what may stand between % and the letter: %[flags][width][.precision][separator].
type field struct {
	left      bool
	zero      bool
	width     int
	precision int  // -1: not given
	separator byte // between groups of hexadecimal digits; 0: none
}

// hexSeparators are the characters that may separate hexadecimal digits.
const hexSeparators = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~ "

// escapes are what stands for a character after a backslash.
var escapes = map[byte]string{'\\': "\\", '0': "\x00", 'a': "\a", 'e': "\x1b", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}

var errIncompleteFormat = errors.New("Incomplete format specifier.")

func parseFormat(s string, pretty bool) (*format, error) {
	f := &format{pretty: pretty}
	literal := func(text string) {
		if n := len(f.pieces); n > 0 && f.pieces[n-1].kind == 0 {
			f.pieces[n-1].text += text
		} else {
			f.pieces = append(f.pieces, piece{text: text})
		}
	}
	for s != "" {
		c := s[0]
		s = s[1:]
		if s == "" && (c == '%' || c == '@') {
			return nil, errIncompleteFormat
		}
		switch c {
		case '%':
			p, rest, err := parsePercent(s)
			if err != nil {
				return nil, err
			}
			s = rest
			if p.kind == '%' {
				literal("%")
			} else {
				f.pieces = append(f.pieces, p)
			}
		case '@':
			if s[0] == '@' {
				literal("@")
			} else {
				f.pieces = append(f.pieces, piece{kind: '@', text: s[:1]})
			}
			s = s[1:]
		case '\\':
			if s == "" {
				return nil, errors.New("Incomplete escape specifier.")
			}
			text, ok := escapes[s[0]]
			if !ok {
				return nil, fmt.Errorf("Invalid escape specifier '%c'.", s[0])
			}
			literal(text)
			s = s[1:]
		default:
			literal(string([]byte{c}))
		}
	}
	return f, nil
}

// parsePercent parses what follows a %, up to and with its letter.
func parsePercent(s string) (p piece, rest string, err error) {
	p.precision = -1
	if strings.HasPrefix(s, "-") {
		p.left = true
		s = s[1:]
	}
	if strings.HasPrefix(s, "0") {
		p.zero = true
		s = s[1:]
	}
	p.width, s = parseNumber(s)
	if strings.HasPrefix(s, ".") {
		p.precision, s = parseNumber(s[1:])
	}
	if s != "" && strings.IndexByte(hexSeparators, s[0]) >= 0 {
		p.separator = s[0]
		s = s[1:]
	}
	if s == "" {
		return p, "", errIncompleteFormat
	}
	p.kind = s[0]
	if strings.IndexByte("%ACDdEFfIjJlmPpqRrStUxX", p.kind) < 0 {
		return p, "", fmt.Errorf("Invalid format specifier '%c'.", p.kind)
	}
	return p, s[1:], nil
}

// maxWidth keeps a slip of the finger from printing gigabytes of blanks.
const maxWidth = 10_000

func parseNumber(s string) (int, string) {
	n := 0
	for s != "" && s[0] >= '0' && s[0] <= '9' {
		n = min(10*n+int(s[0]-'0'), maxWidth)
		s = s[1:]
	}
	return n, s
}

// print writes m. A part that does not fit the message is left out, and is the
// error.
func (f *format) print(w io.Writer, m *client.Message, now time.Time) error {
	var failed error
	for i := range f.pieces {
		p := &f.pieces[i]
		switch p.kind {
		case 0:
			fmt.Fprint(w, p.text)
		case '@':
			fmt.Fprint(w, strftime.Conversion(p.text[0], now))
		default:
			text, err := f.value(p, m, now)
			fmt.Fprint(w, text)
			if err != nil && failed == nil {
				failed = err
			}
		}
	}
	return failed
}

// value is what a % sequence prints.
func (f *format) value(p *piece, m *client.Message, now time.Time) (string, error) {
	props := &m.Properties
	switch p.kind {
	case 'A':
		return p.optional(uint32(props.TopicAlias), props.TopicAlias != 0), nil
	case 'C':
		return p.str(props.ContentType), nil
	case 'D':
		return string(props.CorrelationData), nil
	case 'E':
		return p.optional(deref(props.MessageExpiry), props.MessageExpiry != nil), nil
	case 'F':
		return p.optional(uint32(deref(props.PayloadFormat)), props.PayloadFormat != nil), nil
	case 'f', 'd':
		return p.float(m.Payload)
	case 'I':
		return p.str(now.Format("2006-01-02T15:04:05-0700")), nil
	case 'j', 'J':
		return jsonMessage(m, now, p.kind == 'J', f.pretty)
	case 'l':
		return p.number(uint32(len(m.Payload))), nil
	case 'm':
		return p.number(uint32(m.PacketID)), nil
	case 'P':
		pairs := make([]string, len(props.User))
		for i, u := range props.User {
			pairs[i] = u.Key + ":" + u.Value
		}
		return strings.Join(pairs, " "), nil
	case 'p':
		return p.payload(m.Payload), nil
	case 'q':
		return strconv.Itoa(int(m.QoS)), nil
	case 'R':
		if props.ResponseTopic == "" {
			return "", nil
		}
		return p.str(props.ResponseTopic), nil
	case 'r':
		return strconv.Itoa(digit(m.Retain)), nil
	case 'S':
		if len(props.SubscriptionIDs) == 0 {
			return p.optional(0, false), nil
		}
		return p.number(props.SubscriptionIDs[0]), nil
	case 't':
		return p.str(m.Topic), nil
	case 'U':
		return fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()), nil
	}
	return p.hex(m.Payload, p.kind == 'X'), nil
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// number pads like printf's %d.
func (f *field) number(n uint32) string {
	switch {
	case f.left:
		return fmt.Sprintf("%-*d", f.width, n)
	case f.zero:
		return fmt.Sprintf("%0*d", f.width, n)
	}
	return fmt.Sprintf("%*d", f.width, n)
}

// optional is a number, or as much padding where there is none.
func (f *field) optional(n uint32, there bool) string {
	if there {
		return f.number(n)
	}
	return strings.Repeat(f.pad(), f.width)
}

func (f *field) pad() string {
	if f.zero {
		return "0"
	}
	return " "
}

// str pads and cuts like printf's %s, which counts bytes.
func (f *field) str(s string) string {
	if f.precision >= 0 && len(s) > f.precision {
		s = s[:f.precision]
	}
	blanks := strings.Repeat(" ", max(f.width-len(s), 0))
	if f.left {
		return s + blanks
	}
	return blanks + s
}

// payload is cut to the width as well as padded to it.
func (f *field) payload(b []byte) string {
	if f.width > 0 && len(b) > f.width {
		b = b[:f.width]
	}
	n := max(f.width-len(b), 0)
	if f.left {
		return string(b) + strings.Repeat(" ", n)
	}
	return strings.Repeat(f.pad(), n) + string(b)
}

// hex prints two digits for each byte. With a precision and a separator, the
// separator stands after every so many characters, padding included.
func (f *field) hex(b []byte, upper bool) string {
	if f.width > 0 && len(b) > f.width {
		b = b[:f.width]
	}
	digits := "0123456789abcdef"
	if upper {
		digits = "0123456789ABCDEF"
	}
	var out strings.Builder
	at := 0
	put := func(c byte, last bool) {
		out.WriteByte(c)
		if f.separator != 0 && f.precision > 0 && at%f.precision == f.precision-1 && !last {
			out.WriteByte(f.separator)
		}
		at++
	}
	blanks := max(f.width-2*len(b), 0)
	if !f.left {
		for range blanks {
			put(f.pad()[0], false)
		}
	}
	for i, c := range b {
		put(digits[c>>4], false)
		put(digits[c&15], i == len(b)-1)
	}
	if f.left {
		out.WriteString(strings.Repeat(" ", blanks))
	}
	return out.String()
}

// float reads the payload as an IEEE number of 4 (%f) or 8 (%d) bytes, in the
// order of bytes of most machines, which is what Mosquitto's client prints there.
func (p *piece) float(b []byte) (string, error) {
	var v float64
	switch {
	case p.kind == 'f' && len(b) == 4:
		v = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case p.kind == 'd' && len(b) == 8:
		v = math.Float64frombits(binary.LittleEndian.Uint64(b))
	default:
		return "", fmt.Errorf("%%%c: the payload has %d bytes, not those of a floating point number", p.kind, len(b))
	}
	precision := p.precision
	if precision < 0 {
		precision = 6
	}
	switch {
	case p.left:
		return fmt.Sprintf("%-*.*f", p.width, precision, v), nil
	case p.zero:
		return fmt.Sprintf("%0*.*f", p.width, precision, v), nil
	}
	return fmt.Sprintf("%*.*f", p.width, precision, v), nil
}
