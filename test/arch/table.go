// Package arch holds the architecture of Nightjar as a table and checks the
// source tree against it: who may import whom, what the core may not do, and
// how long files and functions may be. It has no code of its own to offer; its
// test is what matters. The picture that belongs to the table is in
// docs/architecture.md.
package arch

// rule says what one package (or one subtree of packages) may import.
type rule struct {
	// pkg is the folder below the module root. A trailing "/..." makes the rule
	// speak for every package below that folder as well; the longest rule wins.
	pkg string
	// imports lists the project's packages that pkg may import, in the same
	// notation. A package may always import what lies below its own rule.
	imports []string
	// tests lists what pkg's _test.go files may import on top of imports.
	tests []string
	// modules lists the import paths of other modules that pkg may import, each
	// as a prefix; nil means the standard library only. Tests are free in this.
	modules []string
	// pure packages hold state and nothing else: no socket, no disk, no
	// goroutine, no clock (time is an argument).
	pure bool
}

const (
	sys    = "golang.org/x/sys"
	crypto = "golang.org/x/crypto"
	jwt    = "github.com/golang-jwt/jwt/v5"
)

// table is the policy. Arrows go one way, from the top of this list to its end:
//
//	cmd → cli → app → (bridge, ops, store engines, broker)
//	broker → edge → core/conn → router → (session, subtree, retained) → message → mqtt
//
// A new package gets a line here, in the same commit, and a word in
// docs/architecture.md. An import that the table refuses is most often a sign
// that an interface belongs to the caller.
var table = []rule{
	// The program.
	{pkg: "cmd/nightjar", imports: []string{"internal/cli"}},
	{pkg: "internal/cli",
		imports: []string{"internal/app", "internal/bench", "internal/config", "internal/access/acl", "internal/access/authority", "internal/access/password", "internal/store/control", "internal/store/mosquittodb", "internal/store/pebble", "internal/strftime", "client", "mqtt", "mqtt/topic"},
		tests:   []string{"test/mosquitto"},
		modules: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/net/proxy", "golang.org/x/term"}},
	{pkg: "internal/app",
		imports: []string{"broker/...", "internal/access/...", "internal/bridge", "internal/config", "internal/ops/...", "internal/store/...", "mqtt", "mqtt/topic"},
		tests:   []string{"client"},
		modules: []string{sys}},

	{pkg: "internal/strftime"},

	// What a package ships besides the program.
	{pkg: "deploy/sbom"},
	{pkg: "docs/man", imports: []string{"internal/cli", "internal/config"}, modules: []string{"github.com/spf13/cobra", "github.com/spf13/pflag"}},

	// What app puts together.
	{pkg: "internal/config", imports: []string{"mqtt", "mqtt/topic"}},
	{pkg: "internal/bridge", imports: []string{"broker", "client", "mqtt", "mqtt/topic"}},
	{pkg: "internal/ops/...", imports: []string{"broker", "internal/strftime", "mqtt", "mqtt/topic"}, tests: []string{"client", "test/mosquitto"},
		modules: []string{"github.com/prometheus/client_golang", "github.com/prometheus/client_model", sys}},
	// access puts together what is below it, as a broker's hooks; what is below it knows no broker.
	{pkg: "internal/access",
		imports: []string{"broker", "internal/access/password", "internal/access/acl", "internal/access/jwt", "internal/access/httphook", "internal/access/throttle", "mqtt", "mqtt/topic"},
		tests:   []string{"client", "internal/ops/logging", "test/mosquitto"}},
	{pkg: "internal/access/password", modules: []string{crypto}, tests: []string{"test/mosquitto"}},
	{pkg: "internal/access/acl", imports: []string{"mqtt/topic"}, tests: []string{"test/mosquitto"}},
	{pkg: "internal/access/jwt", imports: []string{"mqtt/topic"}, modules: []string{jwt}},
	{pkg: "internal/access/httphook", imports: []string{"mqtt/topic"}},
	{pkg: "internal/access/authority"},
	{pkg: "internal/access/throttle", pure: true},
	{pkg: "internal/access/ratelimit", pure: true},
	// The load generator is on the broker's event loops, because it must be cheaper than any broker.
	{pkg: "internal/bench", imports: []string{"internal/core/outbox", "internal/edge/netloop", "mqtt"}, tests: []string{"broker"},
		modules: []string{"github.com/HdrHistogram/hdrhistogram-go", sys}},

	// Public: embedding. broker itself stays light; what is heavy is an opt-in below it.
	{pkg: "broker",
		imports: []string{"internal/core/...", "internal/edge/...", "internal/ops/sys", "internal/store", "internal/store/memory", "mqtt", "mqtt/topic"},
		tests:   []string{"client", "internal/access/authority", "internal/store/...", "test/mosquitto"},
		modules: []string{sys}},
	{pkg: "broker/durable", imports: []string{"broker", "internal/store", "internal/store/pebble"}, tests: []string{"client", "mqtt"}},
	{pkg: "broker/cluster", imports: []string{"broker", "internal/store", "mqtt", "mqtt/topic"}, tests: []string{"client"},
		modules: []string{"github.com/nats-io"}},

	// The edge: bytes in, bytes out.
	{pkg: "internal/edge/netloop", imports: []string{"internal/core/outbox"}, modules: []string{sys}},
	{pkg: "internal/edge/layer", imports: []string{"internal/edge/netloop", "internal/core/outbox"},
		modules: []string{"github.com/gobwas/ws", "github.com/pires/go-proxyproto"}},
	{pkg: "internal/edge/certs", tests: []string{"internal/access/authority"}},
	{pkg: "internal/edge/listener",
		imports: []string{"internal/edge/certs", "internal/edge/netloop", "internal/edge/layer", "internal/core/conn", "internal/core/outbox"},
		tests:   []string{"client", "mqtt"},
		modules: []string{sys}},

	// The core: the broker as state.
	{pkg: "internal/core/conn", pure: true,
		imports: []string{"internal/core/router", "internal/core/session", "internal/core/retained", "internal/core/subtree", "internal/core/message", "internal/core/outbox", "mqtt", "mqtt/topic"},
		tests:   []string{"internal/store/..."}},
	{pkg: "internal/core/router", pure: true,
		imports: []string{"internal/core/session", "internal/core/retained", "internal/core/subtree", "internal/core/message", "internal/core/outbox", "mqtt", "mqtt/topic"},
		tests:   []string{"internal/store/..."}},
	// A session bears the id under which subtree knows its subscriptions.
	{pkg: "internal/core/session", pure: true, imports: []string{"internal/core/subtree", "internal/core/message", "internal/core/outbox", "mqtt", "mqtt/topic"}},
	{pkg: "internal/core/subtree", pure: true, imports: []string{"internal/core/message", "mqtt", "mqtt/topic"}},
	{pkg: "internal/core/retained", pure: true, imports: []string{"internal/core/message", "mqtt", "mqtt/topic"},
		modules: []string{"github.com/tidwall/btree"}},
	{pkg: "internal/core/message", pure: true, imports: []string{"mqtt", "mqtt/topic"}},
	{pkg: "internal/core/outbox", pure: true},

	// What must survive. The store knows no network, and the core does not know the store:
	// router declares what it needs.
	{pkg: "internal/store", imports: []string{"internal/core/message", "mqtt"}},
	{pkg: "internal/store/storetest", imports: []string{"internal/store", "internal/core/session", "internal/core/message", "mqtt"},
		tests: []string{"internal/store/memory"}, modules: []string{"pgregory.net/rapid"}},
	{pkg: "internal/store/memory", imports: []string{"internal/store", "internal/core/session", "internal/core/message", "mqtt"}, tests: []string{"internal/store/storetest"}},
	{pkg: "internal/store/control"},
	{pkg: "internal/store/mosquittodb", imports: []string{"internal/core/session", "internal/core/message", "mqtt", "mqtt/topic"},
		tests: []string{"broker", "internal/store/pebble", "internal/store/storetest", "test/mosquitto"}},
	{pkg: "internal/store/pebble", imports: []string{"internal/store", "internal/core/session", "internal/core/message", "mqtt", "mqtt/topic"}, tests: []string{"internal/store/storetest"},
		modules: []string{"github.com/cockroachdb/pebble", sys}},

	// Public: what other programs import.
	{pkg: "client", imports: []string{"mqtt", "mqtt/topic"}, tests: []string{"test/mosquitto"}, modules: []string{"github.com/gobwas/ws"}},
	{pkg: "mqtt", imports: []string{"mqtt/topic"}},
	{pkg: "mqtt/topic"},

	// Tests and measurements of the whole. conformance speaks raw bytes on purpose:
	// with our own encoder it would share our own mistakes.
	{pkg: "test/arch"},
	{pkg: "test/mosquitto"},
	{pkg: "test/package"},
	{pkg: "test/attack"},
	{pkg: "test/conformance/...", imports: []string{"broker", "internal/store/..."}, modules: []string{sys}},
	{pkg: "test/dropin", tests: []string{"client", "internal/access/authority", "internal/config", "mqtt", "test/conformance"}},
	{pkg: "test/interop/...", imports: []string{"broker"}, modules: []string{"github.com/eclipse-paho", "github.com/eclipse/paho"}},
	{pkg: "test/crash/...", imports: []string{"mqtt", "mqtt/topic"}, tests: []string{"broker/...", "internal/store/...", "test/mosquitto"}},
	{pkg: "test/sim/...", imports: []string{"broker/...", "client", "internal/core/...", "internal/store/...", "mqtt", "mqtt/topic"}},
	{pkg: "bench/million", imports: []string{"bench/record", "bench/subject", "internal/bench", "internal/core/...", "internal/store/memory"}},
	{pkg: "bench/durable", imports: []string{"bench/record", "broker/durable", "internal/core/message", "internal/core/session", "mqtt"},
		modules: []string{"github.com/cockroachdb/pebble", sys}},
	{pkg: "bench/...", imports: []string{"bench/record", "bench/subject", "broker/...", "client", "internal/bench", "internal/edge/netloop", "mqtt", "mqtt/topic"}, modules: []string{"github.com/HdrHistogram/hdrhistogram-go", sys}},
}

// bannedNames are folder names that say nothing about what is inside.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "shared"}

// Lengths in lines. Past them a reader no longer sees the whole at once.
const (
	maxFileLines     = 600
	maxTestFileLines = 1000
	maxFuncLines     = 70
	longMark         = "Long:" // a doc comment that begins so gives the reason for a longer function
)

// impureImports are packages that a pure package's code may not import.
var impureImports = []string{"net", "net/http", "os", "os/exec", "os/signal", "io/fs", "syscall", "log"}

// impureCalls are functions of package time that read the clock or wait.
var impureCalls = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}
