package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/nightjar-mqtt/nightjar/client"
)

// properties are those given with -D, for each packet that takes some.
type properties struct {
	given bool

	connect struct {
		authMethod                         string
		authData                           []byte
		maximumPacketSize                  uint32
		receiveMaximum, topicAliasMaximum  uint16
		sessionExpiry                      *uint32
		noProblemInfo, requestResponseInfo bool
		user                               []client.UserProperty
	}
	publish, will client.Properties
	willDelay     uint32
	subscribe     client.SubscribeOptions
	unsubscribe   []client.UserProperty
	disconnect    client.Farewell
}

// String and Type make properties a pflag.Value.
func (p *properties) String() string { return "" }
func (p *properties) Type() string   { return "words" }

// Set takes one joined -D.
func (p *properties) Set(joined string) error {
	words := strings.Split(joined, propertySeparator)
	if len(words) < 3 {
		return fmt.Errorf("%q is not 'command identifier value' nor 'command user-property name value'", strings.Join(words, " "))
	}
	command, identifier, value := strings.ToLower(words[0]), words[1], words[2]
	if identifier == "user-property" {
		if len(words) != 4 {
			return fmt.Errorf("user-property needs a name and a value")
		}
		list := p.users(command)
		if list == nil {
			return unsupported(identifier, words[0])
		}
		*list = append(*list, client.UserProperty{Key: words[2], Value: words[3]})
		p.given = true
		return nil
	}
	set := p.setter(command, identifier)
	if set == nil {
		return unsupported(identifier, words[0])
	}
	if err := set(value); err != nil {
		return fmt.Errorf("%s: %w", identifier, err)
	}
	p.given = true
	return nil
}

func unsupported(identifier, command string) error {
	switch strings.ToLower(command) {
	case "connect", "publish", "subscribe", "unsubscribe", "disconnect", "will":
		return fmt.Errorf("%s property not allowed for %s in --property argument", identifier, command)
	case "puback", "pubrec", "pubrel", "pubcomp", "suback", "unsuback", "auth":
		return fmt.Errorf("%s property not supported for %s in --property argument", identifier, command)
	}
	return fmt.Errorf("invalid command %s given in --property argument: use connect, publish, subscribe, unsubscribe, disconnect or will", command)
}

// users is where a command's user properties go.
func (p *properties) users(command string) *[]client.UserProperty {
	switch command {
	case "connect":
		return &p.connect.user
	case "publish":
		return &p.publish.User
	case "will":
		return &p.will.User
	case "subscribe":
		return &p.subscribe.User
	case "unsubscribe":
		return &p.unsubscribe
	case "disconnect":
		return &p.disconnect.User
	}
	return nil
}

// setter finds where a value goes, and how it is read.
func (p *properties) setter(command, identifier string) func(string) error {
	switch command {
	case "connect":
		return p.connectSetter(identifier)
	case "publish":
		if identifier == "topic-alias" {
			return number(&p.publish.TopicAlias, 1, math.MaxUint16)
		}
		return messageSetter(&p.publish, identifier)
	case "will":
		if identifier == "will-delay-interval" {
			return number(&p.willDelay, 0, math.MaxUint32)
		}
		return messageSetter(&p.will, identifier)
	case "subscribe":
		if identifier == "subscription-identifier" {
			return number(&p.subscribe.ID, 1, 268_435_455)
		}
	case "disconnect":
		switch identifier {
		case "session-expiry-interval":
			return optional(&p.disconnect.SessionExpiry, math.MaxUint32)
		case "reason-string":
			return text(&p.disconnect.Reason)
		}
	}
	return nil
}

func (p *properties) connectSetter(identifier string) func(string) error {
	c := &p.connect
	switch identifier {
	case "authentication-method":
		return text(&c.authMethod)
	case "authentication-data":
		return bytesOf(&c.authData)
	case "maximum-packet-size":
		return number(&c.maximumPacketSize, 1, math.MaxUint32)
	case "receive-maximum":
		return number(&c.receiveMaximum, 1, math.MaxUint16)
	case "topic-alias-maximum":
		return number(&c.topicAliasMaximum, 0, math.MaxUint16)
	case "session-expiry-interval":
		return optional(&c.sessionExpiry, math.MaxUint32)
	case "request-problem-information":
		return func(v string) error {
			var n byte
			err := number(&n, 0, 1)(v)
			c.noProblemInfo = n == 0
			return err
		}
	case "request-response-information":
		return func(v string) error {
			var n byte
			err := number(&n, 0, 1)(v)
			c.requestResponseInfo = n == 1
			return err
		}
	}
	return nil
}

func messageSetter(p *client.Properties, identifier string) func(string) error {
	switch identifier {
	case "content-type":
		return text(&p.ContentType)
	case "response-topic":
		return text(&p.ResponseTopic)
	case "correlation-data":
		return bytesOf(&p.CorrelationData)
	case "message-expiry-interval":
		return optional(&p.MessageExpiry, math.MaxUint32)
	case "payload-format-indicator":
		return optional(&p.PayloadFormat, 1)
	}
	return nil
}

type unsigned interface{ ~uint8 | ~uint16 | ~uint32 }

// number reads a decimal, hexadecimal (0x) or octal (0) number.
func number[T unsigned](field *T, low, high uint64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseUint(v, 0, 64)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%q is not a number from %d to %d", v, low, high)
		}
		*field = T(n)
		return nil
	}
}

func optional[T unsigned](field **T, high uint64) func(string) error {
	return func(v string) error {
		n := new(T)
		if err := number(n, 0, high)(v); err != nil {
			return err
		}
		*field = n
		return nil
	}
}

func text(field *string) func(string) error {
	return func(v string) error { *field = v; return nil }
}

func bytesOf(field *[]byte) func(string) error {
	return func(v string) error { *field = []byte(v); return nil }
}
