package app

import (
	"fmt"
	"os"
	"strconv"
)

// BackgroundError is the exit status of a process that was to go into the background and could not start. It has said why.
type BackgroundError int

func (e BackgroundError) Error() string {
	return fmt.Sprintf("the broker in the background ended with status %d", int(e))
}

// writePID writes the process's number into the pid_file, and has it removed at the end.
func (v *server) writePID() error {
	path := v.c.PIDFile
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil { //nolint:gosec // it is for everybody
		return fmt.Errorf("Unable to write pid file: %w", err) // Mosquitto's words
	}
	v.atEnd(func() { _ = os.Remove(path) })
	return nil
}
