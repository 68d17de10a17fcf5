package app

import (
	"encoding/json"
	"strings"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// controlAPI answers on $CONTROL as Mosquitto's broker does (enable_control_api): listListeners and listPlugins.
type controlAPI struct{ listeners atomic.Pointer[[]byte] }

const controlTopic = "$CONTROL/broker/v1"

// set has another configuration shown.
func (a *controlAPI) set(c *config.Settings) {
	type listener struct {
		Port     int    `json:"port"`
		Protocol string `json:"protocol,omitempty"`
		Host     string `json:"bind-address,omitempty"`
		Path     string `json:"socket-path,omitempty"`
		TLS      bool   `json:"tls"`
	}
	all := make([]listener, 0, len(c.Listeners))
	for _, l := range c.Listeners {
		protocol := l.Protocol
		switch protocol {
		case "websockets":
			protocol = "mqtt+websockets" // Mosquitto's word for it there
		case "http_api":
			protocol = ""
		}
		all = append(all, listener{l.Port, protocol, l.Host, l.Path, l.TLS.Used()})
	}
	text, err := json.Marshal(map[string]any{"listeners": all})
	if err != nil {
		text = []byte(`{"listeners":[]}`)
	}
	a.listeners.Store(&text)
}

// of gives the hook of a configuration; nil: nobody may publish to $CONTROL.
func (a *controlAPI) of(c *config.Settings) broker.Control {
	if !c.ControlAPI {
		return nil
	}
	return a.answer
}

type controlCommand struct {
	Command     *string          `json:"command"`
	Correlation *json.RawMessage `json:"correlationData"`
}

type controlResponse struct {
	Command     string          `json:"command"`
	Error       string          `json:"error,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Correlation string          `json:"correlationData,omitempty"`
}

// maxCommands bounds the commands of one message, which are answered on an event loop.
const maxCommands = 64

func (a *controlAPI) answer(_ *broker.Identity, topic string, payload []byte) []byte {
	if topic != controlTopic {
		return []byte(`{"error": "endpoint not available"}`)
	}
	responses := a.responses(payload)
	text, err := json.Marshal(map[string]any{"responses": responses})
	if err != nil {
		return nil
	}
	return text
}

func (a *controlAPI) responses(payload []byte) []controlResponse {
	fail := func(why string) []controlResponse {
		return []controlResponse{{Command: "Unknown command", Error: why}}
	}
	const maxPayload = 64 << 10
	if len(payload) > maxPayload || !json.Valid(payload) {
		return fail("Payload not valid JSON")
	}
	var request struct {
		Commands []json.RawMessage `json:"commands"`
	}
	if err := json.Unmarshal(payload, &request); err != nil || request.Commands == nil || len(request.Commands) > maxCommands {
		return fail("Invalid/missing commands")
	}
	out := make([]controlResponse, 0, len(request.Commands))
	for _, text := range request.Commands {
		var c controlCommand
		if err := json.Unmarshal(text, &c); err != nil {
			return append(out, fail("Command not an object")...)
		}
		if c.Command == nil {
			return append(out, fail("Missing command")...)
		}
		r := controlResponse{Command: *c.Command}
		if c.Correlation != nil && json.Unmarshal(*c.Correlation, &r.Correlation) != nil {
			r.Error = "Invalid correlationData data type."
			return append(out, r)
		}
		switch strings.ToLower(r.Command) {
		case "listlisteners":
			r.Command, r.Data = "listListeners", *a.listeners.Load()
		case "listplugins":
			r.Command, r.Data = "listPlugins", json.RawMessage(`{"plugins":[]}`)
		default:
			r.Error = "Unknown command"
		}
		out = append(out, r)
	}
	return out
}
