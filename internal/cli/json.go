package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nightjar-mqtt/nightjar/client"
)

// jsonMessage prints a message as JSON (%j), with its payload as a string, or
// (%J) as the JSON that it is.
func jsonMessage(m *client.Message, now time.Time, embed, pretty bool) (string, error) {
	root := object{
		{"tst", str(now.Format("2006-01-02T15:04:05.000000-0700"))},
		{"topic", str(m.Topic)},
		{"qos", num(m.QoS)},
		{"retain", literal(fmt.Sprint(m.Retain))},
		{"payloadlen", num(len(m.Payload))},
	}
	if m.QoS > 0 {
		root = append(root, member{"mid", num(m.PacketID)})
	}
	if p := jsonProperties(&m.Properties); len(p) > 0 {
		root = append(root, member{"properties", p})
	}
	payload, err := jsonPayload(m, embed)
	if err != nil {
		return "", err
	}
	root = append(root, member{"payload", payload})
	var b strings.Builder
	root.print(&b, pretty, 0)
	return b.String(), nil
}

func jsonPayload(m *client.Message, embed bool) (jsonValue, error) {
	switch {
	case len(m.Payload) == 0:
		return literal("null"), nil
	case !embed:
		return str(string(m.Payload)), nil
	}
	d := json.NewDecoder(bytes.NewReader(m.Payload))
	d.UseNumber() // numbers stay as the publisher wrote them
	v, err := decodeValue(d, 0)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("Message payload is not valid JSON on topic %s.", m.Topic)
	}
	return v, nil
}

func jsonProperties(p *client.Properties) object {
	var o object
	if p.PayloadFormat != nil {
		o = append(o, member{"payload-format-indicator", num(*p.PayloadFormat)})
	}
	if p.MessageExpiry != nil {
		o = append(o, member{"message-expiry-interval", num(*p.MessageExpiry)})
	}
	if p.ContentType != "" {
		o = append(o, member{"content-type", str(p.ContentType)})
	}
	if p.ResponseTopic != "" {
		o = append(o, member{"response-topic", str(p.ResponseTopic)})
	}
	if p.CorrelationData != nil {
		o = append(o, member{"correlation-data", str(string(p.CorrelationData))})
	}
	for _, id := range p.SubscriptionIDs {
		o = append(o, member{"subscription-identifier", num(id)})
	}
	if p.TopicAlias != 0 {
		o = append(o, member{"topic-alias", num(p.TopicAlias)})
	}
	if len(p.User) > 0 {
		var list array // an array, because names may repeat
		for _, u := range p.User {
			list = append(list, object{{u.Key, str(u.Value)}})
		}
		o = append(o, member{"user-properties", list})
	}
	return o
}

// jsonValue is a value that keeps the order of its members and the text of its
// numbers.
type jsonValue interface {
	print(b *strings.Builder, pretty bool, depth int)
}

type (
	literal string // a number, true, false or null
	str     string
	array   []jsonValue
	member  struct {
		name  string
		value jsonValue
	}
	object []member
)

func num[T byte | uint16 | uint32 | int](n T) literal { return literal(fmt.Sprint(n)) }

func (l literal) print(b *strings.Builder, _ bool, _ int) { b.WriteString(string(l)) }

// print escapes what must be escaped and nothing else, and replaces what is not
// UTF-8, for it could not be read back.
func (s str) print(b *strings.Builder, _ bool, _ int) {
	b.WriteByte('"')
	for _, r := range string(s) {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ':
			fmt.Fprintf(b, `\u%04x`, r)
		case r == utf8.RuneError:
			b.WriteString("\uFFFD")
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

func (a array) print(b *strings.Builder, pretty bool, depth int) {
	b.WriteByte('[')
	for i, v := range a {
		if i > 0 {
			b.WriteByte(',')
			if pretty {
				b.WriteByte(' ')
			}
		}
		v.print(b, pretty, depth+1)
	}
	b.WriteByte(']')
}

func (o object) print(b *strings.Builder, pretty bool, depth int) {
	newline := func(depth int) {
		if pretty {
			b.WriteByte('\n')
			b.WriteString(strings.Repeat("\t", depth))
		}
	}
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		newline(depth + 1)
		str(m.name).print(b, pretty, depth)
		b.WriteByte(':')
		if pretty {
			b.WriteByte('\t')
		}
		m.value.print(b, pretty, depth+1)
	}
	newline(depth)
	b.WriteByte('}')
}

// maxDepth of a payload's JSON keeps a message of brackets from using up the stack.
const maxDepth = 1000

// decodeValue reads one value.
func decodeValue(d *json.Decoder, depth int) (jsonValue, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case string:
		return str(t), nil
	case json.Number:
		return literal(t), nil
	case bool:
		return literal(fmt.Sprint(t)), nil
	case json.Delim:
		if t == '[' {
			a := array{}
			for d.More() {
				v, err := decodeValue(d, depth+1)
				if err != nil {
					return nil, err
				}
				a = append(a, v)
			}
			_, err := d.Token()
			return a, err
		}
		o := object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			o = append(o, member{name.(string), v})
		}
		_, err := d.Token()
		return o, err
	}
	return literal("null"), nil
}
