package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/net/proxy"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// connection holds the flags that pub and sub share: whom to connect to, and
// as whom.
type connection struct {
	bind, host, unix, proxy string
	port                    int
	url                     string
	webSocket               bool
	srv, mptcp              bool

	id, idPrefix       string
	username, password string
	disableClean       bool
	sessionExpiry      string
	keepAlive          int
	protocol           string
	qos                int
	maxInFlight        int
	props              properties

	willTopic, willPayload string
	willQoS                int
	willRetain             bool

	tls   tlsFlags
	debug bool
	quiet bool

	urlTopic string // what -L says
	version  mqtt.Version
}

// flags adds the flags to cmd.
func (c *connection) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&c.host, "host", "h", "", "`host` to connect to (localhost)")
	fs.IntVarP(&c.port, "port", "p", 0, "`port` to connect to (1883, or 8883 with TLS)")
	fs.StringVarP(&c.url, "url", "L", "", "host, user, password, port and topic at once, as `URL`: mqtt(s)://[user[:password]@]host[:port]/topic, or with ws(s)://")
	fs.StringVar(&c.unix, "unix", "", "connect to the broker's socket at `path`")
	fs.StringVarP(&c.bind, "bind", "A", "", "connect from this local `address`")
	fs.BoolVarP(&c.srv, "srv", "S", false, "find host and port by a DNS lookup of _mqtt._tcp.HOST")
	fs.StringVar(&c.proxy, "proxy", "", "SOCKS5 proxy, as `URL`: socks5h://[user[:password]@]host[:port]")
	fs.StringVarP(&c.id, "id", "i", "", "client `id` (the broker chooses one)")
	fs.StringVarP(&c.idPrefix, "id-prefix", "I", "", "client id made of this `prefix` and the process id")
	fs.StringVarP(&c.username, "username", "u", "", "`user` name")
	fs.StringVarP(&c.password, "pw", "P", "", "`password`")
	fs.BoolVarP(&c.disableClean, "disable-clean-session", "c", false, "go on with the session that the broker still has, and keep it afterwards; needs -i")
	fs.StringVarP(&c.sessionExpiry, "session-expiry-interval", "x", "", "`seconds` for which the broker keeps the session; -1: for ever. MQTT 5")
	fs.IntVarP(&c.keepAlive, "keepalive", "k", 60, "`seconds` between two pings")
	fs.StringVarP(&c.protocol, "protocol-version", "V", "311", "`version` of the protocol: 5, 311 or 31; also mqttv5, mqttv311, mqttv31")
	fs.IntVarP(&c.qos, "qos", "q", 0, "quality of service: 0, 1 or 2")
	fs.IntVarP(&c.maxInFlight, "max-inflight", "M", 20, "largest `number` of messages on their way to the broker")
	fs.VarP(&c.props, "property", "D", "MQTT 5 property, such as 'publish content-type text/plain' or 'connect user-property name value'; implies -V 5")
	fs.StringVar(&c.willTopic, "will-topic", "", "`topic` of the will")
	fs.StringVar(&c.willPayload, "will-payload", "", "`message` of the will")
	fs.IntVar(&c.willQoS, "will-qos", 0, "quality of service of the will")
	fs.BoolVar(&c.willRetain, "will-retain", false, "the will is retained")
	c.tls.flags(fs)
	fs.BoolVarP(&c.debug, "debug", "d", false, "print the packets that are sent and received")
	fs.BoolVar(&c.quiet, "quiet", false, "print no errors of the connection")
	fs.BoolVar(&c.mptcp, "mptcp", false, "use Multipath TCP where the system has it")
	fs.Bool("nodelay", false, "accepted; small packets are never held back anyway")
	fs.StringP("options-file", "o", "", "read defaults from `file` instead of ~/.config/nightjar_"+cmd.Name()+" or mosquitto_"+cmd.Name())
	fs.BoolVar(&c.webSocket, "ws", false, "connect through a WebSocket, with the path /mqtt")
	setHelp(cmd)
}

// options checks the flags and makes the client's options of them.
func (c *connection) options(fs *pflag.FlagSet) (string, client.Options, error) {
	var o client.Options
	if err := c.readURL(fs); err != nil {
		return "", o, err
	}
	if err := c.readVersion(fs); err != nil {
		return "", o, err
	}
	switch {
	case c.qos < 0 || c.qos > 2:
		return "", o, fmt.Errorf("Invalid QoS given: %d", c.qos)
	case c.keepAlive != 0 && c.keepAlive < 5 || c.keepAlive > 65535:
		return "", o, errors.New("Invalid keepalive given, it must be between 5 and 65535 inclusive, or 0 for none.")
	case c.maxInFlight < 1:
		return "", o, errors.New("Maximum inflight messages must be greater than 0.")
	case c.port < 0 || c.port > 65535:
		return "", o, fmt.Errorf("Invalid port given: %d", c.port)
	case given(fs, "id") && given(fs, "id-prefix"):
		return "", o, errors.New("-i and -I argument cannot be used together.")
	}
	o = client.Options{
		Version: c.version, ClientID: c.id, Username: c.username, KeepSession: c.disableClean,
		KeepAlive: time.Duration(c.keepAlive) * time.Second, MaxInFlight: c.maxInFlight,
		ReceiveMaximum: c.props.connect.receiveMaximum, MaximumPacketSize: c.props.connect.maximumPacketSize,
		TopicAliasMaximum: c.props.connect.topicAliasMaximum, NoProblemInfo: c.props.connect.noProblemInfo,
		RequestResponseInfo: c.props.connect.requestResponseInfo, UserProperties: c.props.connect.user,
	}
	if c.keepAlive == 0 {
		o.KeepAlive = -1
	}
	if c.idPrefix != "" {
		o.ClientID = c.idPrefix + strconv.Itoa(os.Getpid())
	}
	if given(fs, "pw") || c.password != "" {
		o.Password = []byte(c.password)
	}
	if m := c.props.connect.authMethod; m != "" {
		o.Auth = fixedAuth{m, c.props.connect.authData}
	}
	if err := c.setSession(&o); err != nil {
		return "", o, err
	}
	if err := c.setWill(fs, &o); err != nil {
		return "", o, err
	}
	target, err := c.target(&o)
	return target, o, err
}

func given(fs *pflag.FlagSet, name string) bool { return fs.Changed(name) }

// readURL takes -L apart; what other flags say goes before it.
func (c *connection) readURL(fs *pflag.FlagSet) error {
	if c.url == "" {
		return nil
	}
	u, err := url.Parse(c.url)
	if err != nil {
		return errors.New("invalid URL for -L argument: use mqtt(s)://[user[:password]@]host[:port]/topic, or ws(s)://") // err would print the password
	}
	port := 1883
	switch strings.ToLower(u.Scheme) {
	case "mqtt":
	case "mqtts":
		port, c.tls.useOSCerts = 8883, true
	case "ws":
		c.webSocket = true
	case "wss":
		port, c.tls.useOSCerts, c.webSocket = 8883, true, true
	default:
		return errors.New("Unsupported URL scheme.")
	}
	if u.Path == "" {
		return errors.New("Invalid URL for -L argument specified - topic missing.")
	}
	_, rest, _ := strings.Cut(c.url, "://")
	_, c.urlTopic, _ = strings.Cut(rest, "/") // as it is: # and + need no escape there
	if p := u.Port(); p != "" {
		port, _ = strconv.Atoi(p) // url.Parse has checked it
	}
	if !given(fs, "host") {
		c.host = u.Hostname()
	}
	if !given(fs, "port") {
		c.port = port
	}
	if u.User != nil && !given(fs, "username") {
		c.username = u.User.Username()
	}
	if p, ok := u.User.Password(); ok && !given(fs, "pw") {
		c.password = p
	}
	return nil
}

func (c *connection) readVersion(fs *pflag.FlagSet) error {
	switch c.protocol {
	case "5", "mqttv5":
		c.version = mqtt.V5
	case "311", "mqttv311":
		c.version = mqtt.V311
	case "31", "mqttv31":
		c.version = mqtt.V31
	default:
		return fmt.Errorf("Invalid protocol version argument given: %q: use 5, 311 or 31", c.protocol)
	}
	for _, name := range []string{"property", "session-expiry-interval"} {
		if given(fs, name) && c.version != mqtt.V5 {
			if given(fs, "protocol-version") {
				return fmt.Errorf("--%s needs MQTT 5, but -V asks for %s", name, c.protocol)
			}
			c.version = mqtt.V5
		}
	}
	return nil
}

func (c *connection) setSession(o *client.Options) error {
	if o.Version != mqtt.V5 {
		if c.disableClean && c.id == "" {
			return errors.New("You must provide a client id if you are using the -c option.")
		}
		return nil
	}
	switch x := c.sessionExpiry; {
	case x == "-1" || x == "∞":
		o.SessionExpiry = client.SessionNeverExpires
	case x != "":
		n, err := strconv.ParseUint(x, 0, 32)
		if err != nil {
			return fmt.Errorf("session-expiry-interval %q: use a number of seconds up to 4294967294, or -1 for ever", x)
		}
		o.SessionExpiry = uint32(n)
	case c.props.connect.sessionExpiry != nil:
		o.SessionExpiry = *c.props.connect.sessionExpiry
	case c.disableClean:
		o.SessionExpiry = client.SessionNeverExpires
	}
	if o.SessionExpiry == client.SessionNeverExpires && c.id == "" {
		return errors.New("You must provide a client id if you are using an infinite session expiry interval.")
	}
	return nil
}

func (c *connection) setWill(fs *pflag.FlagSet, o *client.Options) error {
	if c.willTopic == "" {
		for _, name := range []string{"will-payload", "will-retain", "will-qos"} {
			if given(fs, name) {
				return fmt.Errorf("--%s given, but no --will-topic", name)
			}
		}
		return nil
	}
	if c.willQoS < 0 || c.willQoS > 2 {
		return fmt.Errorf("Invalid will QoS %d.", c.willQoS)
	}
	if topic.ValidName([]byte(c.willTopic)) != nil {
		return fmt.Errorf("Invalid will topic '%s', does it contain '+' or '#'?", c.willTopic)
	}
	o.Will = &client.Will{Message: client.Message{
		Topic: c.willTopic, Payload: []byte(c.willPayload), QoS: byte(c.willQoS), Retain: c.willRetain, Properties: c.props.will,
	}, Delay: c.props.willDelay}
	return nil
}

// target makes the URL to connect to, and how.
func (c *connection) target(o *client.Options) (string, error) {
	config, err := c.tls.config(c.port)
	if err != nil {
		return "", err
	}
	dialer := &net.Dialer{}
	dialer.SetMultipathTCP(c.mptcp)
	o.Dial = dialer.DialContext
	if c.unix != "" {
		path, err := filepath.Abs(c.unix)
		if err != nil {
			return "", err
		}
		return (&url.URL{Scheme: "unix", Path: path}).String(), nil
	}
	if c.bind != "" {
		local, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(c.bind, "0"))
		if err != nil {
			return "", fmt.Errorf("-A %s: %w", c.bind, err)
		}
		dialer.LocalAddr = local
	}
	if c.proxy != "" {
		if o.Dial, err = throughProxy(c.proxy, dialer); err != nil {
			return "", err
		}
	}
	host := c.host
	if host == "" {
		host = "localhost"
	}
	scheme, port := "mqtt", 1883
	if config != nil {
		scheme, port, o.TLS = "mqtts", 8883, config
	}
	if c.port != 0 {
		port = c.port
	}
	if c.srv {
		_, found, err := net.LookupSRV("mqtt", "tcp", host)
		if err != nil || len(found) == 0 {
			return "", exitError{1, fmt.Errorf("no broker found by -S: %w", err)}
		}
		host, port = strings.TrimSuffix(found[0].Target, "."), int(found[0].Port)
	}
	if c.webSocket {
		scheme = map[string]string{"mqtt": "ws", "mqtts": "wss"}[scheme]
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// throughProxy dials through a SOCKS5 proxy, which also resolves the name.
func throughProxy(raw string, dialer *net.Dialer) (func(ctx context.Context, network, address string) (net.Conn, error), error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "socks5h" || u.Hostname() == "" {
		return nil, errors.New("--proxy: use socks5h://[user[:password]@]host[:port]")
	}
	var auth *proxy.Auth
	if u.User != nil {
		password, _ := u.User.Password()
		auth = &proxy.Auth{User: u.User.Username(), Password: password}
	}
	port := u.Port()
	if port == "" {
		port = "1080"
	}
	socks, err := proxy.SOCKS5("tcp", net.JoinHostPort(u.Hostname(), port), auth, dialer)
	if err != nil {
		return nil, fmt.Errorf("--proxy: %w", err)
	}
	return socks.(proxy.ContextDialer).DialContext, nil
}

// fixedAuth is an authentication that one message decides.
type fixedAuth struct {
	method string
	data   []byte
}

func (a fixedAuth) Method() string                        { return a.method }
func (a fixedAuth) Start(context.Context) ([]byte, error) { return a.data, nil }
func (a fixedAuth) Finish(context.Context, []byte) error  { return nil }
func (a fixedAuth) Continue(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("the server asks for another step, which this program cannot answer")
}

// connect connects and puts errors into words.
func (c *connection) connect(ctx context.Context, target string, o client.Options) (*client.Client, error) {
	if c.debug {
		o.Trace = (&tracer{version: o.Version, id: o.ClientID}).packet
	}
	conn, err := client.Connect(ctx, target, o)
	if err != nil {
		return nil, c.failure(connectFailure(err))
	}
	return conn, nil
}

// failure keeps an error's status, and with --quiet only that.
func (c *connection) failure(err error) error {
	var exit exitError
	if !errors.As(err, &exit) {
		exit = exitError{1, err}
	}
	if c.quiet {
		exit.err = nil
	}
	return exit
}

// The exit statuses of libmosquitto that scripts may look for.
const (
	statusConnectionLost = 7
	statusTimeout        = 27
)

// connectFailure says what is wrong and what to do about it. The status is that
// of Mosquitto's clients: the CONNACK's code, or 1.
func connectFailure(err error) error {
	var refused *client.ConnectError
	if errors.As(err, &refused) {
		return exitError{int(refused.Code), verbatim(refusal(refused))}
	}
	var dial *net.OpError
	if errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &dial) && dial.Addr != nil {
		text := fmt.Sprintf("connection refused: nothing listens on %s", dial.Addr)
		if a, ok := dial.Addr.(*net.TCPAddr); !ok || a.IP.IsLoopback() {
			text += "; start one with 'nightjar serve'"
		}
		return exitError{1, errors.New(text)}
	}
	var lookup *net.DNSError
	if errors.As(err, &lookup) {
		return exitError{1, fmt.Errorf("cannot find the host %q: %s", lookup.Name, lookup.Err)}
	}
	return exitError{1, err}
}

// refusal is a refused connection in Mosquitto's words.
func refusal(e *client.ConnectError) string {
	text := e.Code.String()
	if e.Version != mqtt.V5 {
		switch e.Code {
		case mqtt.ConnRefusedVersion:
			text = "Connection Refused: unacceptable protocol version."
		case mqtt.ConnRefusedIdentifier:
			text = "Connection Refused: identifier rejected."
		case mqtt.ConnRefusedServer:
			text = "Connection Refused: broker unavailable."
		case mqtt.ConnRefusedCredentials:
			text = "Connection Refused: bad user name or password."
		case mqtt.ConnRefusedNotAuthorized:
			text = "Connection Refused: not authorised."
		default:
			text = "Connection Refused: unknown reason."
		}
	}
	if e.Code == mqtt.UnsupportedProtocolVersion {
		text += ". Try connecting to an MQTT v5 broker, or use MQTT v3.x mode (-V 311)."
	}
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	if e.ServerReference != "" {
		text += " Use another server: " + e.ServerReference
	}
	return "Connection error: " + text
}
