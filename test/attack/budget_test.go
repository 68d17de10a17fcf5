package attack

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The budgets: people run the broker on routers.
const (
	maxBinary = 25 * mb
	maxStart  = 100 * time.Millisecond
	// It was 20 MB before the binary had the store on disk and the configuration language: 10 MB more of code, of which a
	// tenth is resident. An empty store that is open takes another 3 MB; `go run ./bench/durable -only idle` bounds that.
	maxResident = 23 * mb
)

func TestBinaryIsSmall(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the stripped binary has %.1f MB", float64(info.Size())/mb)
	if info.Size() >= maxBinary {
		t.Errorf("the stripped binary has %d bytes; it must stay under %d", info.Size(), maxBinary)
	}
}

// TestStartsQuickly takes the best of several starts: what is measured is the broker, not what else the machine does.
func TestStartsQuickly(t *testing.T) {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	best := time.Hour
	for range 5 {
		cmd := exec.Command(bin, "serve", "--port", "0", "--data", "none")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 200)
		n, err := out.Read(line)
		took := time.Since(began)
		if err != nil {
			t.Fatal(err)
		}
		addr := listening.FindString(string(line[:n]))
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Errorf("it said that it listens on %q: %v", addr, err)
		} else {
			_ = c.Close()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		best = min(best, took)
	}
	t.Logf("listens after %v", best.Round(time.Millisecond/10))
	if best >= maxStart {
		t.Errorf("the broker listens after %v; it must be under %v", best, maxStart)
	}
}

func TestIdleMemory(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine})
		c := connect(t, p, login{id: "only"})
		c.send(subscribe(1, 0, "$SYS/#"))
		c.message("$SYS/broker/uptime") // a first round of $SYS, too, is part of being idle
		t.Logf("%.1f MB resident", float64(p.resident())/mb)
		if r := p.resident(); r >= maxResident {
			t.Errorf("%d bytes resident; an idle broker stays under %d", r, int64(maxResident))
		}
	})
}
