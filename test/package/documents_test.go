package packaging

import (
	"regexp"
	"strings"
	"testing"
)

// changeOver does what docs/install.md says to those who come from Mosquitto, word for word.
func changeOver(t *testing.T) {
	must(t, "systemctl", "start", "mosquitto")
	must(t, "mosquitto_pub", "-t", "test/talk", "-r", "-q", "1", "-m", "kept by Mosquitto")
	if out := must(t, "dpkg", "--no-triggers", "--install", "/test/nightjar.deb"); !strings.Contains(out, "systemctl disable --now mosquitto && systemctl enable --now nightjar") {
		t.Errorf("what dpkg says: %s", out)
	}
	if got := property(t, "ActiveState") + " " + property(t, "UnitFileState"); got != "inactive disabled" {
		t.Errorf("the service is %s", got)
	}
	blocks := blocks(section(t, "install.md", "Instead of Mosquitto"))
	if len(blocks) != 2 {
		t.Fatalf("docs/install.md has %d blocks of commands, not two: %q", len(blocks), blocks)
	}
	shell(t, blocks[0])
	// What stands between the two.
	must(t, "sed", "-i", "-e", "s|^persistence_location .*|data_dir /var/lib/nightjar/data|", "-e", "s|/var/log/mosquitto|/var/log/nightjar|",
		"-e", "/^pid_file/d", "-e", "/^user/d", "/etc/nightjar/nightjar.conf")
	shell(t, blocks[1])
	if out := must(t, "nightjar", "sub", "-t", "test/talk", "-C", "1", "-W", "30"); out != "kept by Mosquitto\n" {
		t.Errorf("received: %q", out)
	}
}

// homeAssistant uses the configuration, the access control list and the commands of docs/home-assistant.md.
func homeAssistant(t *testing.T) {
	set := section(t, "home-assistant.md", "Set up")
	files := blocks(set) // users, configuration, access control list
	if len(files) != 3 {
		t.Fatalf("docs/home-assistant.md has %d blocks, not three: %q", len(files), files)
	}
	for _, user := range regexp.MustCompile(`nightjar passwd (\S+) (\S+)`).FindAllStringSubmatch(files[0], -1) {
		must(t, "nightjar", "passwd", "-b", user[1], user[2], "secret-"+user[2])
	}
	must(t, "nightjar", "passwd", "-b", "/etc/nightjar/passwords", "attic", "secret-attic")
	write(t, "/etc/nightjar/nightjar.conf", "persistence true\ndata_dir /var/lib/nightjar/data\n"+files[1])
	write(t, "/etc/nightjar/acl", files[2])
	must(t, "chown", "root:nightjar", "/etc/nightjar/acl")
	must(t, "chmod", "640", "/etc/nightjar/acl")
	must(t, "nightjar", "check", "/etc/nightjar/nightjar.conf")
	must(t, "systemctl", "restart", "nightjar")

	as := func(user string) string { return "-u " + user + " -P secret-" + user + " " }
	// Devices announce themselves once; Home Assistant finds them after a restart of the broker.
	shell(t, "nightjar pub "+as("zigbee2mqtt")+"-q 1 -r -t homeassistant/light/lamp/config -m '{}'")
	shell(t, "nightjar pub "+as("attic")+"-q 1 -r -t homeassistant/sensor/attic/config -m '{}'")
	shell(t, "nightjar pub "+as("attic")+"-q 1 -r -t homeassistant/sensor/cellar/config -m '{}'") // not its own: acknowledged and dropped
	must(t, "systemctl", "restart", "nightjar")
	discovery := blocks(section(t, "home-assistant.md", "Discovery"))
	listed := func() string {
		return try("sh", "-c", strings.Replace(discovery[0], "-P …", "-P secret-homeassistant", 1))
	}
	if got := listed(); !strings.Contains(got, "light/lamp/config {}") || !strings.Contains(got, "sensor/attic/config {}") || strings.Contains(got, "cellar") {
		t.Errorf("announced: %q", got)
	}
	shell(t, strings.Replace(discovery[1], "-P …", "-P secret-homeassistant", 1))
	if got := listed(); strings.Contains(got, "attic") {
		t.Errorf("taken back, and still there: %q", got)
	}
	// A device that is lost: its will is retained.
	shell(t, "nightjar pub "+as("zigbee2mqtt")+"-q 1 -r -t zigbee2mqtt/lamp/availability -m online")
	shell(t, "timeout -s KILL 1 nightjar sub "+as("zigbee2mqtt")+"-t homeassistant/status --will-topic zigbee2mqtt/lamp/availability --will-payload offline --will-retain --will-qos 1 || true")
	eventually(t, "the will is the retained message", func() bool {
		return must(t, "sh", "-c", "nightjar sub "+as("homeassistant")+"-t zigbee2mqtt/lamp/availability -C 1 -W 30") == "offline\n"
	})
	for _, line := range blocks(section(t, "home-assistant.md", "If something does not appear")) {
		t.Errorf("a block that is not tried: %s", line)
	}
	explain := regexp.MustCompile("`(nightjar acl explain [^`]*)`").FindStringSubmatch(section(t, "home-assistant.md", "If something does not appear"))
	if out := must(t, "sh", "-c", explain[1]); !strings.Contains(out, "topic write homeassistant/#") {
		t.Errorf("%s: %s", explain[1], out)
	}
	must(t, "systemctl", "stop", "nightjar")
}

// section is what a document has under a heading.
func section(t *testing.T, document, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(must(t, "cat", "/test/"+document), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/%s has no heading %q", document, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// blocks are the indented ones of a text, commands or files.
func blocks(text string) (out []string) {
	open := false
	list := regexp.MustCompile(`^\d+\. `)
	indent := "    "
	for line := range strings.SplitSeq(text, "\n") {
		if list.MatchString(line) {
			indent = "       " // within a list
		}
		switch inside := strings.HasPrefix(line, indent); {
		case inside && open:
			out[len(out)-1] += strings.TrimPrefix(line, indent) + "\n"
		case inside:
			out, open = append(out, strings.TrimPrefix(line, indent)+"\n"), true
		case line == "" && open:
			out[len(out)-1] += "\n"
		default:
			open = false
		}
	}
	return out
}

// shell runs lines of a document, whose reader is root.
func shell(t *testing.T, lines string) {
	t.Helper()
	must(t, "sh", "-e", "-c", strings.ReplaceAll(lines, "sudo ", ""))
}
