//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const rabbitmqConfig = `listeners.tcp = none
mqtt.allow_anonymous = true
mqtt.prefetch = 10000
vm_memory_high_watermark.absolute = 8GB
disk_free_limit.absolute = 10MB
log.console = false
log.file = false
`

// rabbitmqListeners are by transport.
var rabbitmqListeners = map[string]string{
	"tcp": "mqtt.listeners.tcp.1 = 127.0.0.1:{port}\n",
	"tls": "mqtt.listeners.tcp = none\nmqtt.listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.certfile = {cert}\nssl_options.keyfile = {key}\n",
	"ws":  "mqtt.listeners.tcp = none\nweb_mqtt.tcp.ip = 127.0.0.1\nweb_mqtt.tcp.port = {port}\n",
}

// erlangFlags: no busy waiting, which would be counted as the broker's CPU time and takes it from the generator; and the
// node is not to be reached from elsewhere.
const erlangFlags = "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"

// rabbitmqPeer runs Debian's RabbitMQ as a process of its own, apart from a service that may be there: with its own
// directories, node name, ports, and port mapper (which would otherwise stay behind).
func rabbitmqPeer() *peer {
	found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server") // the pattern is well-formed
	return &peer{
		name: "rabbitmq",
		config: "Debian's package with rabbitmq_mqtt (over WebSocket rabbitmq_web_mqtt), `" + erlangFlags + "`, and `" +
			strings.ReplaceAll(strings.TrimSpace(rabbitmqConfig), "\n", "`, `") + "`.",
		findVersion: func(context.Context) (string, error) {
			if len(found) == 0 {
				return "", errors.New("there is no /usr/lib/rabbitmq/lib/rabbitmq_server-*")
			}
			if _, err := exec.LookPath("epmd"); err != nil {
				return "", err
			}
			_, version, _ := strings.Cut(filepath.Base(filepath.Dir(filepath.Dir(found[0]))), "-")
			return version, nil
		},
		path: "/ws",
		commands: func(dir string, at place) ([]*exec.Cmd, error) {
			return rabbitmqCommands(found[0], dir, at)
		},
	}
}

func rabbitmqCommands(server, dir string, at place) ([]*exec.Cmd, error) {
	mapper, err := freePort()
	if err != nil {
		return nil, err
	}
	node, err := freePort()
	if err != nil {
		return nil, err
	}
	plugins := "[rabbitmq_mqtt].\n"
	if at.transport == "ws" {
		plugins = "[rabbitmq_web_mqtt].\n"
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	err = errors.Join(
		os.MkdirAll(in("db"), 0o700), os.MkdirAll(in("log"), 0o700),
		os.WriteFile(in("rabbitmq.conf"), []byte(at.fill(rabbitmqConfig+rabbitmqListeners[at.transport])), 0o600),
		os.WriteFile(in("plugins"), []byte(plugins), 0o600),
	)
	epmd := exec.Command("epmd", "-port", fmt.Sprint(mapper), "-address", "127.0.0.1")
	broker := exec.Command(server)
	broker.Env = append(os.Environ(),
		"HOME="+dir, "RABBITMQ_NODENAME=peer@localhost",
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", node), fmt.Sprintf("ERL_EPMD_PORT=%d", mapper), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_MNESIA_BASE="+in("db"), "RABBITMQ_LOG_BASE="+in("log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+in("plugins"), "RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"),
		"RABBITMQ_CONF_ENV_FILE="+in("none"), "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+erlangFlags)
	return []*exec.Cmd{epmd, broker}, err
}
