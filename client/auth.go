package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// answerAuth makes the answer to the server's AUTH (MQTT 5 §4.12).
func (c *Client) answerAuth(ctx context.Context, f mqtt.Frame) ([]byte, error) {
	var p mqtt.Auth
	if err := p.Decode(f, c.opts.Version); err != nil {
		return nil, err
	}
	auth := c.opts.Auth
	if string(p.Props.AuthMethod) != auth.Method() {
		return nil, fmt.Errorf("the server went on with authentication method %q instead of %q [MQTT-4.12.0-5]", p.Props.AuthMethod, auth.Method())
	}
	if p.Code != mqtt.ContinueAuthentication {
		return nil, fmt.Errorf("the server sent AUTH with %v where only Continue authentication can follow", p.Code)
	}
	data, err := auth.Continue(ctx, p.Props.AuthData)
	if err != nil {
		return nil, fmt.Errorf("authentication %s: %w", auth.Method(), err)
	}
	answer := mqtt.Auth{Code: mqtt.ContinueAuthentication}
	setAuth(&answer.Props, auth.Method(), data)
	return answer.Append(nil, c.opts.Version)
}

// Reauthenticate repeats the authentication on the connection that stands, for
// credentials that have been renewed. It returns when the server has accepted;
// a server that does not accept ends the connection.
func (c *Client) Reauthenticate(ctx context.Context) error {
	auth := c.opts.Auth
	if auth == nil {
		return errors.New("mqtt client: Reauthenticate needs Options.Auth")
	}
	c.inbox.begin()
	defer c.inbox.end()
	data, err := auth.Start(ctx)
	if err != nil {
		return fmt.Errorf("authentication %s: %w", auth.Method(), err)
	}
	done := make(chan error, 1)
	c.mu.Lock()
	l := c.link
	switch {
	case l == nil:
		err = errors.New("mqtt client: not connected; the next connection authenticates anyway")
	case c.reauth != nil:
		err = errors.New("mqtt client: an authentication is under way")
	default:
		p := mqtt.Auth{Code: mqtt.ReAuthenticate}
		setAuth(&p.Props, auth.Method(), data)
		if err = l.send(func(dst []byte) ([]byte, error) { return p.Append(dst, c.opts.Version) }); err == nil {
			c.reauth = done
		}
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handleAuth is the part of the reading goroutine in Reauthenticate.
func (c *Client) handleAuth(l *link, f mqtt.Frame) error {
	c.mu.Lock()
	done := c.reauth
	c.mu.Unlock()
	if c.opts.Auth == nil || done == nil {
		return &mqtt.Error{Code: mqtt.ProtocolError, Packet: mqtt.AUTH, Detail: "the client did not ask for an authentication"}
	}
	var p mqtt.Auth
	if err := p.Decode(f, l.version); err != nil {
		return err
	}
	if p.Code != mqtt.Success {
		answer, err := c.answerAuth(c.ctx, f)
		if err != nil {
			return err
		}
		return l.sendRaw(answer)
	}
	if err := c.opts.Auth.Finish(c.ctx, p.Props.AuthData); err != nil {
		return fmt.Errorf("authentication %s: %w", c.opts.Auth.Method(), err)
	}
	c.endReauth(nil)
	return nil
}

// endReauth tells a waiting Reauthenticate how it went.
func (c *Client) endReauth(err error) {
	c.mu.Lock()
	done := c.reauth
	c.reauth = nil
	c.mu.Unlock()
	if done != nil {
		done <- err
	}
}
