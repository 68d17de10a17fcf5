package mosquitto

import (
	"syscall"
	"testing"
)

// Terminate ends the broker as an administrator does, so that it saves its state, and waits for its end.
func (b *Broker) Terminate(t testing.TB) {
	t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Wait(); err != nil {
		t.Fatalf("mosquitto, told to end: %v", err)
	}
}
