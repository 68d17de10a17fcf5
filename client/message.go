package client

import (
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Message is an application message, to be published or received.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte // 0, 1 or 2
	Retain  bool
	// Properties need MQTT 5.
	Properties Properties

	// PacketID and Duplicate are set on received messages only. PacketID is 0
	// with QoS 0.
	PacketID  uint16
	Duplicate bool

	in *inbound // what Ack needs; nil where there is nothing to acknowledge
}

// Properties are those that travel with a message. The zero value has none.
type Properties struct {
	// PayloadFormat is 1 for UTF-8 text, 0 for bytes; nil says nothing.
	PayloadFormat *byte
	// MessageExpiry is the life of the message in seconds; nil is unlimited.
	MessageExpiry *uint32
	ContentType   string
	// ResponseTopic and CorrelationData belong to request and response.
	ResponseTopic   string
	CorrelationData []byte // nil: none
	// TopicAlias stands for the topic on one connection. In a message to be
	// published it asks for that alias: the client sends the topic along where
	// the server does not know the alias yet.
	TopicAlias uint16
	// SubscriptionIDs are those of the subscriptions that matched; set on
	// received messages only.
	SubscriptionIDs []uint32
	User            []UserProperty
}

// UserProperty is one name and value. Names may repeat; the order is kept.
type UserProperty struct{ Key, Value string }

// any tells whether a property is set that needs MQTT 5 to be sent.
func (p *Properties) any() bool {
	return p.PayloadFormat != nil || p.MessageExpiry != nil || p.ContentType != "" || p.ResponseTopic != "" ||
		p.CorrelationData != nil || p.TopicAlias != 0 || len(p.User) > 0
}

// wire fills w with p. Subscription identifiers are not sent by clients
// [MQTT-3.3.4-6], and the alias is the sender's business.
func (p *Properties) wire(w *mqtt.Properties) {
	if p.PayloadFormat != nil {
		w.Has.Set(mqtt.PropPayloadFormat)
		w.PayloadFormat = *p.PayloadFormat
	}
	if p.MessageExpiry != nil {
		w.Has.Set(mqtt.PropMessageExpiry)
		w.MessageExpiry = *p.MessageExpiry
	}
	setString(w, mqtt.PropContentType, &w.ContentType, p.ContentType)
	setString(w, mqtt.PropResponseTopic, &w.ResponseTopic, p.ResponseTopic)
	if p.CorrelationData != nil {
		w.Has.Set(mqtt.PropCorrelationData)
		w.CorrelationData = p.CorrelationData
	}
	w.User = wireUser(p.User)
}

// setString sets a property that is left out when it is empty.
func setString(w *mqtt.Properties, id mqtt.PropertyID, field *[]byte, value string) {
	if value != "" {
		w.Has.Set(id)
		*field = []byte(value)
	}
}

func wireUser(list []UserProperty) []mqtt.UserProperty {
	if len(list) == 0 {
		return nil
	}
	w := make([]mqtt.UserProperty, len(list))
	for i, u := range list {
		w[i] = mqtt.UserProperty{Key: []byte(u.Key), Value: []byte(u.Value)}
	}
	return w
}

func userFrom(w []mqtt.UserProperty) []UserProperty {
	if len(w) == 0 {
		return nil
	}
	list := make([]UserProperty, len(w))
	for i, u := range w {
		list[i] = UserProperty{Key: string(u.Key), Value: string(u.Value)}
	}
	return list
}

// propertiesFrom copies what w holds for a message.
func propertiesFrom(w *mqtt.Properties) (p Properties) {
	if w.Has == 0 {
		return p
	}
	if w.Has.Has(mqtt.PropPayloadFormat) {
		p.PayloadFormat = new(w.PayloadFormat)
	}
	if w.Has.Has(mqtt.PropMessageExpiry) {
		p.MessageExpiry = new(w.MessageExpiry)
	}
	if w.Has.Has(mqtt.PropContentType) {
		p.ContentType = string(w.ContentType)
	}
	if w.Has.Has(mqtt.PropResponseTopic) {
		p.ResponseTopic = string(w.ResponseTopic)
	}
	if w.Has.Has(mqtt.PropCorrelationData) {
		p.CorrelationData = append([]byte{}, w.CorrelationData...)
	}
	if w.Has.Has(mqtt.PropTopicAlias) {
		p.TopicAlias = w.TopicAlias
	}
	if w.Has.Has(mqtt.PropSubscriptionID) {
		p.SubscriptionIDs = append([]uint32(nil), w.SubscriptionIDs...)
	}
	if w.Has.Has(mqtt.PropUser) {
		p.User = userFrom(w.User)
	}
	return p
}

// checkMessage refuses what cannot be sent with version v.
func checkMessage(m *Message, v mqtt.Version) error {
	if m.QoS > 2 {
		return fmt.Errorf("mqtt client: QoS %d: use 0, 1 or 2", m.QoS)
	}
	if err := topic.ValidName([]byte(m.Topic)); err != nil {
		return fmt.Errorf("mqtt client: cannot publish to %q: %w", m.Topic, err)
	}
	if v != mqtt.V5 && m.Properties.any() {
		return fmt.Errorf("%w: properties of a message", ErrNeedsV5)
	}
	return nil
}

// reasonString copies the server's text, if there is one.
func reasonString(w *mqtt.Properties) string {
	if !w.Has.Has(mqtt.PropReasonString) {
		return ""
	}
	return string(w.ReasonString)
}
