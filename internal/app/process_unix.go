//go:build unix

package app

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// account is a user of the system's.
type account struct {
	name     string
	uid, gid int
}

// runAs is whom the process becomes; nil: it stays who it is. PUID and PGID in the environment win, as for Mosquitto in
// containers.
func runAs(c *config.Settings) (*account, error) {
	if os.Geteuid() != 0 || c.User == "" || c.User == "root" {
		return nil, nil //nolint:nilnil // nobody is no error
	}
	u, err := user.Lookup(c.User)
	if err != nil {
		if _, given := c.Where("user", ""); given {
			return nil, fmt.Errorf("user %s: %w; create it, or name another with the option 'user'", c.User, err)
		}
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("user %s: there is neither that nor nobody: %w", c.User, err)
		}
	}
	a := &account{name: u.Username}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	if a.gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	for name, id := range map[string]*int{"PUID": &a.uid, "PGID": &a.gid} {
		if text := os.Getenv(name); text != "" {
			if *id, err = strconv.Atoi(text); err != nil || *id < 0 {
				return nil, fmt.Errorf("%s=%s in the environment is no number of a user or group", name, text)
			}
		}
	}
	return a, nil
}

// dropPrivileges becomes the user that the configuration names, if the process was started as root. Files that are written
// on change hands first.
func (v *server) dropPrivileges() error {
	a, err := runAs(v.c)
	if err != nil || a == nil {
		return err
	}
	for _, path := range []string{v.c.Log.File, v.c.PIDFile} {
		if path == "" {
			continue
		}
		if err := os.Chown(path, a.uid, a.gid); err != nil {
			return fmt.Errorf("give %s to user %s: %w", path, a.name, err)
		}
	}
	if err := syscall.Setgroups([]int{a.gid}); err != nil {
		return fmt.Errorf("become user %s: %w", a.name, err)
	}
	if err := syscall.Setgid(a.gid); err != nil {
		return fmt.Errorf("become user %s: group %d: %w", a.name, a.gid, err)
	}
	if err := syscall.Setuid(a.uid); err != nil {
		return fmt.Errorf("become user %s: %w", a.name, err)
	}
	return nil
}

// backgroundMark is in the environment of a process that was put into the background.
const backgroundMark = "NIGHTJAR_IN_BACKGROUND"

// Background starts the program again in the background, with the same arguments, waits until it serves, and reports whether
// this process is done: the one in the background goes on. What the other says before it serves goes to this one's stderr.
func Background() (done bool, err error) {
	if os.Getenv(backgroundMark) != "" {
		return false, nil
	}
	self, err := os.Executable()
	if err != nil {
		return false, fmt.Errorf("cannot go into the background: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("cannot go into the background: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(self, os.Args[1:]...) //nolint:gosec // it is this program
	cmd.Env = append(os.Environ(), backgroundMark+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("cannot go into the background: %w", err)
	}
	_ = w.Close()
	if n, _ := r.Read(make([]byte, 1)); n == 1 {
		return true, nil
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return true, BackgroundError(exit.ExitCode())
	}
	return true, errors.New("the process in the background ended at once")
}

// tellForeground lets the process go that put this one into the background, and the terminal with it.
func tellForeground() {
	if os.Getenv(backgroundMark) == "" {
		return
	}
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		_ = unix.Dup2(int(null.Fd()), int(os.Stderr.Fd()))
		_ = null.Close()
	}
	const descriptor = 3 // the first of exec.Cmd.ExtraFiles
	w := os.NewFile(descriptor, "foreground")
	_, _ = w.Write([]byte{1})
	_ = w.Close()
}
