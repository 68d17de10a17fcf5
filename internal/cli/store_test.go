package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// kept is a broker with a data directory.
type kept struct {
	port string
	cmd  *exec.Cmd
}

func startKept(t *testing.T, dir string) *kept {
	t.Helper()
	k := new(kept)
	k.port, k.cmd, _ = startServe(t, "", "-p", "0", "--data", dir)
	t.Cleanup(func() { _ = k.cmd.Process.Kill() }) // it may have ended
	return k
}

// stop ends it, so that the store is closed.
func (k *kept) stop(t *testing.T) {
	t.Helper()
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// try runs a command in this process.
func try(args ...string) (status int, out string) {
	var b bytes.Buffer
	status = run(args, strings.NewReader(""), &b, &b)
	return status, b.String()
}

// expect runs one that must end with a status and say certain things.
func expect(t *testing.T, status int, args []string, say ...string) string {
	t.Helper()
	got, out := try(args...)
	if got != status {
		t.Fatalf("nightjar %q: status %d, want %d\n%s", args, got, status, out)
	}
	for _, s := range say {
		if !strings.Contains(out, s) {
			t.Errorf("nightjar %q says\n%s\nwithout %q", args, out, s)
		}
	}
	return out
}

// fill gives a broker a session with two queued messages, and two retained ones.
func fill(t *testing.T, port string) {
	t.Helper()
	output(t, "nightjar", "sub", "-p", port, "-V", "5", "-i", "c", "-c", "-x", "3600", "-t", "a/#", "-q", "1", "-E")
	output(t, "nightjar", "pub", "-p", port, "-t", "a/1", "-m", "first secret", "-q", "1", "-r")
	output(t, "nightjar", "pub", "-p", port, "-t", "a/2", "-m", "second secret", "-q", "1", "-r")
}

// Long: one story: a broker fills a store, which is looked at, copied and brought back, running and not.
func TestStore(t *testing.T) {
	tmp := t.TempDir()
	dir, backup := filepath.Join(tmp, "data"), filepath.Join(tmp, "backup")
	k := startKept(t, dir)
	fill(t, k.port)
	look := func(dir string) {
		t.Helper()
		out := expect(t, 0, []string{"store", "dump", "--data", dir},
			`session "c" expiry 3600 s`, `subscription "c" to "a/#" QoS 1`, `queued "c" QoS 1`, `topic "a/2", 13 bytes`, `retained topic "a/1"`)
		if strings.Contains(out, "secret") {
			t.Errorf("dump shows payloads without being asked:\n%s", out)
		}
		expect(t, 0, []string{"store", "dump", "--data", dir, "--payload", "--client", "c"}, `: "first secret"`)
		expect(t, 0, []string{"store", "check", "--data", dir}, "nothing is wrong")
	}
	look(dir)
	expect(t, 0, []string{"store", "stats", "--data", dir}, "in use                      yes", "queued messages             2,")
	expect(t, 0, []string{"store", "backup", backup, "--data", dir}, "copied by the running broker")
	expect(t, 1, []string{"store", "backup", backup, "--data", dir}, "is there already, and nothing is overwritten")
	expect(t, 0, []string{"store", "compact", "--data", dir}, dir+": ")
	expect(t, 1, []string{"store", "restore", backup, "--data", dir}, "the directory is not empty", "mv "+dir+" "+dir+".old")
	output(t, "nightjar", "pub", "-p", k.port, "-t", "a/3", "-m", "after the backup", "-q", "1")
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("copies that were read are still there: %v, %v", left, err)
	}
	k.stop(t)

	look(dir)
	var stats map[string]any
	if err := json.Unmarshal([]byte(expect(t, 0, []string{"store", "stats", "--json", "--data", dir})), &stats); err != nil ||
		stats["queued"] != 3.0 || stats["in_use"] != false || stats["sessions"] != 1.0 {
		t.Errorf("stats: %v, %v", stats, err)
	}
	expect(t, 0, []string{"store", "compact", "--data", dir}, dir+": ")
	expect(t, 0, []string{"store", "backup", backup + "2", "--data", dir}, "copied in "+dir)

	// The backup is brought back elsewhere, and a broker goes on with it.
	restored := filepath.Join(tmp, "restored")
	expect(t, 0, []string{"store", "restore", backup, "--data", restored}, "restored from "+backup)
	look(restored)
	k = startKept(t, restored)
	got := output(t, "nightjar", "sub", "-p", k.port, "-V", "5", "-i", "c", "-c", "-x", "3600", "-t", "a/#", "-q", "1", "-C", "2", "--retain-handling", "never")
	if got != "first secret\nsecond secret\n" {
		t.Errorf("from the backup comes %q", got)
	}
	k.stop(t)
}

// What is wrong is told with what to do, and ends with a status.
func TestStoreRefuses(t *testing.T) {
	tmp := t.TempDir()
	dir := filepath.Join(tmp, "data")
	expect(t, 1, []string{"store", "check", "--data", dir}, "there is no store")
	expect(t, 1, []string{"store", "backup", dir + "2", "--data", dir}, "there is no store")
	expect(t, 1, []string{"store", "compact", "--data", dir}, "there is no store")
	expect(t, 1, []string{"store", "restore", tmp, "--data", dir}, "the backup cannot be used")
	expect(t, 1, []string{"store", "check", "--data", dir, "-c", "x"}, "give one of them")
	if _, err := os.Stat(dir); err == nil {
		t.Error("a directory was made")
	}

	k := startKept(t, dir)
	fill(t, k.port)
	k.stop(t)
	config := filepath.Join(tmp, "mosquitto.conf")
	if err := os.WriteFile(config, []byte("persistence true\ndata_dir "+dir+"\nlistener 1883 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, 0, []string{"store", "compact", "-c", config}, dir+": ") // what is in the log is in a table then
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("%v, %v", tables, err)
	}
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		b[20] ^= 0xFF
		if err := os.WriteFile(table, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, 1, []string{"store", "check", "--data", dir}, "problem: the file "+tables[0]+" is damaged", "restore a backup")
	expect(t, 1, []string{"store", "restore", dir, "--data", dir + "2"}, "the backup in "+dir+" is damaged")
	expect(t, 0, []string{"store", "restore", dir, "--data", dir + "2", "--damaged"}, "restored from")
}

// What Mosquitto keeps is delivered by Nightjar.
func TestImport(t *testing.T) {
	tmp := t.TempDir()
	b := mosquitto.Start(t, "persistence true", "persistence_location "+tmp+"/")
	fill(t, b.Port)
	b.Terminate(t)
	file, dir := filepath.Join(tmp, "mosquitto.db"), filepath.Join(tmp, "data")

	report := []string{"format version 6, written when Mosquitto ended", "sessions                  1", "queued messages           2", "retained messages         2"}
	expect(t, 0, []string{"import", file, "--data", dir, "--dry-run"}, report...)
	if _, err := os.Stat(dir); err == nil {
		t.Error("the dry run has made a directory")
	}
	expect(t, 0, []string{"import", file, "--data", dir}, append(report, "carried over into "+dir)...)
	expect(t, 1, []string{"import", file, "--data", dir}, "the directory is not empty", "--add")
	expect(t, 0, []string{"import", file, "--data", dir, "--add"}, "carried over into "+dir)
	expect(t, 0, []string{"store", "check", "--data", dir}, "nothing is wrong")

	k := startKept(t, dir)
	expect(t, 1, []string{"import", file, "--data", dir, "--add"}, "stop the broker first")
	got := output(t, "nightjar", "sub", "-p", k.port, "-V", "5", "-i", "c", "-c", "-x", "3600", "-t", "a/#", "-q", "1", "-C", "2", "--retain-handling", "never")
	if got != "first secret\nsecond secret\n" {
		t.Errorf("the session gets %q", got)
	}
	got = output(t, "nightjar", "sub", "-p", k.port, "-t", "a/#", "-C", "2", "-F", "%r %t %p")
	if got != "1 a/1 first secret\n1 a/2 second secret\n" {
		t.Errorf("retained: %q", got)
	}
	k.stop(t)

	broken := filepath.Join(tmp, "broken.db")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, data[:len(data)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, 1, []string{"import", broken, "--data", dir + "2"}, broken+" cannot be read, and nothing was changed: at byte ")
	expect(t, 1, []string{"import", tmp, "--data", dir + "2"}, "is not a file: name the file mosquitto.db")
	if _, err := os.Stat(dir + "2"); err == nil {
		t.Error("an import that failed has made a directory")
	}
}
