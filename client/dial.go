package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// address is where to connect, from a URL.
type address struct {
	network, target string // as for net.Dial
	tls             bool
	host            string   // for the certificate
	webSocket       *url.URL // nil: none
}

// parseURL reads a broker URL and fills in user name and password from it
// where o has none.
//
//	mqtt://[user[:password]@]host[:1883]
//	mqtts://[user[:password]@]host[:8883]
//	ws://[user[:password]@]host[:80][/mqtt]
//	wss://[user[:password]@]host[:443][/mqtt]
//	unix:///path/of/the/socket
func parseURL(rawURL string, o *Options) (address, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// url.Error repeats the URL, which may hold a password.
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		return address{}, fmt.Errorf("mqtt client: the broker's URL: %w", err)
	}
	if u.User != nil {
		if o.Username == "" {
			o.Username = u.User.Username()
		}
		if password, ok := u.User.Password(); ok && o.Password == nil {
			o.Password = []byte(password)
		}
	}
	a := address{network: "tcp", host: u.Hostname()}
	var port string
	switch strings.ToLower(u.Scheme) {
	case "mqtt", "tcp":
		port = "1883"
	case "mqtts", "ssl", "tls":
		port, a.tls = "8883", true
	case "ws":
		port, a.webSocket = "80", u
	case "wss":
		port, a.tls, a.webSocket = "443", true, u
	case "unix":
		a.network, a.target = "unix", u.Host+u.Path
		if a.target == "" {
			return address{}, errors.New("mqtt client: the broker's URL names no socket; use unix:///path/of/the/socket")
		}
		return a, nil
	default:
		return address{}, fmt.Errorf("mqtt client: the broker's URL begins with %q; use mqtt://, mqtts://, ws://, wss:// or unix://", u.Scheme+":")
	}
	if a.host == "" {
		return address{}, errors.New("mqtt client: the broker's URL names no host; use mqtt://host:1883")
	}
	if a.webSocket != nil {
		a.webSocket = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
		if u.Path == "" {
			a.webSocket.Path = "/mqtt"
		}
	} else if u.Path != "" && u.Path != "/" {
		return address{}, fmt.Errorf("mqtt client: the broker's URL has a path, %q, which means nothing here", u.Path)
	}
	if p := u.Port(); p != "" {
		port = p
	}
	a.target = net.JoinHostPort(a.host, port)
	return a, nil
}

// open makes the network connection, with TLS and WebSocket where the URL asked
// for them.
func (c *Client) open(ctx context.Context) (net.Conn, error) {
	dial := c.opts.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, c.addr.network, c.addr.target)
	if err == nil && c.addr.tls {
		conn, err = c.secure(ctx, conn)
	}
	if err == nil && c.addr.webSocket != nil {
		conn, err = openWebSocket(ctx, conn, c.addr.webSocket)
	}
	return conn, err
}

func (c *Client) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	config := c.opts.TLS.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	if config.ServerName == "" {
		config.ServerName = c.addr.host
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", c.addr.target, err)
	}
	return secured, nil
}
