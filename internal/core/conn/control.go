package conn

import (
	"strings"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Control answers what a client publishes to a topic that begins with "$CONTROL/", if it may publish there. The answer is sent
// to that client alone, at QoS 0, on the topic with "/response" behind it; nil: there is none. It is called on the event loops
// and must not block; topic and payload are valid during the call only.
type Control func(who *message.Identity, topic string, payload []byte) (response []byte)

// SetControl has what clients publish to $CONTROL answered, on all listeners; with nil it is refused.
func (sh *Shared) SetControl(fn Control) {
	if fn == nil {
		sh.common.control.Store(nil)
		return
	}
	sh.common.control.Store(&fn)
}

func isControl(topic string) bool { return strings.HasPrefix(topic, "$CONTROL/") }

// command has a PUBLISH to $CONTROL answered. Nobody else gets it, and it is not retained.
func (c *Conn) command(w *router.Worker, p *mqtt.Publish, m *message.Message) {
	c.refusePublish(w, p, mqtt.Success) // acknowledges, and does no more
	fn := c.sh.common.control.Load()
	if fn == nil || c.state != stateOpen {
		return
	}
	response := (*fn)(c.id, m.Topic, m.Payload)
	if response == nil {
		return
	}
	answer := message.Message{Topic: m.Topic + "/response", Payload: response}
	frame, _ := message.AppendHead(nil, &answer, message.Shape{V5: c.version == mqtt.V5})
	if frame = append(frame, response...); c.fits(frame) {
		c.send(w, frame)
	}
}
