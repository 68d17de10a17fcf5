//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// peer is a broker. config says in words, for the document, how it runs.
type peer struct {
	name        string
	config      string
	version     string
	findVersion func(ctx context.Context) (string, error)
	// commands are started in this order; the last one is the broker. dir is an empty directory of its own.
	commands func(dir string, at place) ([]*exec.Cmd, error)
	tcpOnly  bool
	path     string // of a WebSocket's URL; empty: /mqtt
}

// place is where a broker is to listen: on a port of 127.0.0.1, for clients that speak tcp, tls or ws.
type place struct {
	port      int
	transport string
	cert, key string // files, PEM
	durable   bool   // with its store open, if it is Nightjar
}

// fill replaces {port}, {cert} and {key}.
func (at *place) fill(text string) string {
	return strings.NewReplacer("{port}", fmt.Sprint(at.port), "{cert}", at.cert, "{key}", at.key).Replace(text)
}

// flags are those that bench/peers understands.
func (at *place) flags() []string {
	return []string{"-port", fmt.Sprint(at.port), "-transport", at.transport, "-cert", at.cert, "-key", at.key}
}

const (
	nightjarName  = "nightjar"
	floorName     = "floor"
	mosquittoName = "mosquitto"
)

// knownPeers lists all brokers, Nightjar first.
func knownPeers(root, work string, extra []string) ([]*peer, error) {
	peers := []*peer{
		nightjarPeer(work), floorPeer(work), mosquittoPeer(), mochiPeer(root, work), natsPeer(root, work), aedesPeer(root), rabbitmqPeer(),
	}
	for _, text := range extra {
		name, command, ok := strings.Cut(text, "=")
		if !ok || !strings.Contains(command, "{port}") {
			return nil, fmt.Errorf("-peer %q: expected NAME=COMMAND with {port} in it", text)
		}
		if slices.ContainsFunc(peers, func(p *peer) bool { return p.name == name }) {
			return nil, fmt.Errorf("-peer %q: there is a broker %s already", text, name)
		}
		peers = append(peers, otherPeer(name, command))
	}
	return peers, nil
}

// one is for brokers that consist of one command.
func one(build func(dir string, at place) (*exec.Cmd, error)) func(string, place) ([]*exec.Cmd, error) {
	return func(dir string, at place) ([]*exec.Cmd, error) {
		cmd, err := build(dir, at)
		return []*exec.Cmd{cmd}, err
	}
}

func nightjarPeer(work string) *peer {
	flags := []string{"serve", "-q", "--data", "none", "--max-inflight-messages", "0", "--max-queued-messages", "0"}
	return &peer{
		name: nightjarName, config: "`nightjar " + strings.Join(flags, " ") + "`: the binary of this commit, memory store.",
		findVersion: func(ctx context.Context) (string, error) {
			out, err := exec.CommandContext(ctx, filepath.Join(work, "nightjar"), "--version").Output()
			return strings.TrimPrefix(strings.TrimSpace(string(out)), "nightjar version "), err
		},
		commands: one(func(dir string, at place) (*exec.Cmd, error) {
			listen := at.fill(map[string]string{
				"tcp": "--listen mqtt://127.0.0.1:{port}",
				"tls": "--listen mqtts://127.0.0.1:{port} --cert {cert} --key {key}",
				"ws":  "--listen ws://127.0.0.1:{port}",
			}[at.transport])
			if listen += " --data none"; at.durable {
				listen = strings.TrimSuffix(listen, "none") + filepath.Join(dir, "data")
			}
			return exec.Command(filepath.Join(work, "nightjar"), append(slices.Clone(flags), strings.Fields(listen)...)...), nil
		}),
	}
}

func floorPeer(work string) *peer {
	return &peer{
		name: floorName, config: "`bench/floor`, the byte forwarder on Nightjar's event loops: no broker, QoS 0 only.",
		findVersion: func(context.Context) (string, error) { return "of this commit", nil },
		tcpOnly:     true,
		commands: one(func(_ string, at place) (*exec.Cmd, error) {
			return exec.Command(filepath.Join(work, "floor"), "-port", fmt.Sprint(at.port)), nil
		}),
	}
}

// mosquittoConfig: no message is dropped for lack of room, nothing is written, and small packets leave at once.
// It runs as whoever starts it, so that it can read the key of the run.
const mosquittoConfig = `user root
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
log_dest none
`

// mosquittoListeners are by transport. For WebSocket it takes the name of an interface, and starts only if there is another
// listener.
var mosquittoListeners = map[string]string{
	"tcp": "listener {port} 127.0.0.1\n",
	"tls": "listener {port} 127.0.0.1\ncertfile {cert}\nkeyfile {key}\n",
	"ws":  "listener 0 {dir}/socket\nlistener {port} lo\nprotocol websockets\n",
}

func mosquittoPeer() *peer {
	path := lookPath("mosquitto", "/usr/sbin/mosquitto")
	return &peer{
		name: mosquittoName, config: "Debian's package, with `" + strings.ReplaceAll(strings.TrimSpace(mosquittoConfig), "\n", "`, `") + "`.",
		findVersion: func(ctx context.Context) (string, error) {
			out, err := exec.CommandContext(ctx, path, "-h").Output()
			if len(out) == 0 { // it exits with a status of its own after help
				return "", err
			}
			line, _, _ := strings.Cut(string(out), "\n")
			return strings.TrimPrefix(line, "mosquitto version "), nil
		},
		commands: one(func(dir string, at place) (*exec.Cmd, error) {
			file := filepath.Join(dir, "mosquitto.conf")
			text := strings.ReplaceAll(at.fill(mosquittoConfig+mosquittoListeners[at.transport]), "{dir}", dir)
			return exec.Command(path, "-c", file), os.WriteFile(file, []byte(text), 0o600)
		}),
	}
}

func mochiPeer(root, work string) *peer {
	return &peer{
		name: "mochi", config: "`bench/peers/mochi`: mochi-mqtt/server with AllowHook, 65,536 pending writes per client, receive maximum and in-flight 65,535, buffers as they come.",
		findVersion: moduleVersion(root, "github.com/mochi-mqtt/server/v2"),
		commands: one(func(_ string, at place) (*exec.Cmd, error) {
			return exec.Command(filepath.Join(work, "mochi"), at.flags()...), nil
		}),
	}
}

func natsPeer(root, work string) *peer {
	return &peer{
		name: "nats", config: "`bench/peers/nats`: nats-server with its MQTT listener, JetStream in a fresh directory, consumers in memory, max_ack_pending 10,000, max_pending 1 GiB, no log.",
		findVersion: moduleVersion(root, "github.com/nats-io/nats-server/v2"),
		commands: one(func(dir string, at place) (*exec.Cmd, error) {
			return exec.Command(filepath.Join(work, "nats"), append(at.flags(), "-dir", dir)...), nil
		}),
	}
}

func aedesPeer(root string) *peer {
	dir := filepath.Join(root, "bench", "peers", "aedes")
	return &peer{
		name: "aedes", config: "`bench/peers/aedes/aedes.js`: in memory, one process, concurrency 10,000, TCP_NODELAY; WebSocket with ws, uncompressed.",
		findVersion: func(ctx context.Context) (string, error) {
			cmd := exec.CommandContext(ctx, "node", "-p", `JSON.parse(fs.readFileSync("node_modules/aedes/package.json")).version + " on node " + process.version`)
			cmd.Dir = dir
			out, err := cmd.Output()
			return strings.TrimSpace(string(out)), err
		},
		commands: one(func(_ string, at place) (*exec.Cmd, error) {
			return exec.Command("node", filepath.Join(dir, "aedes.js"), fmt.Sprint(at.port), at.transport, at.cert, at.key), nil
		}),
	}
}

// otherPeer is one that the command line gives.
func otherPeer(name, command string) *peer {
	fields := strings.Fields(command)
	return &peer{
		name: name, config: "`" + command + "`.",
		findVersion: func(context.Context) (string, error) {
			_, err := exec.LookPath(fields[0])
			return "unknown", err
		},
		tcpOnly: true,
		commands: one(func(dir string, at place) (*exec.Cmd, error) {
			args := slices.Clone(fields)
			for i := range args {
				args[i] = strings.ReplaceAll(at.fill(args[i]), "{dir}", dir)
			}
			return exec.Command(args[0], args[1:]...), nil
		}),
	}
}

// lookPath finds a program that may not be in the PATH of an ordinary user.
func lookPath(name, otherwise string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return otherwise
}

// moduleVersion is what bench/peers requires.
func moduleVersion(root, module string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module)
		cmd.Dir = filepath.Join(root, "bench", "peers")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)) + " with " + runtime.Version(), err
	}
}
