//go:build unix

package pebble

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// prepareDirectory makes the directory and sees to it that it is ours alone.
func prepareDirectory(o *Options) error {
	if o.FS != vfs.Default {
		return makeDirectory(o)
	}
	if err := makeDirectory(o); err != nil {
		return err
	}
	info, err := os.Stat(o.Dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("this is not a directory")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("the directory belongs to user %d, this process runs as user %d: give it to the one that runs the broker (chown)", st.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	// Only a store's, or one that becomes a store's: a directory with something else in it is refused, and not changed.
	if _, err := readFormat(o.FS, o.Dir); err != nil {
		return err
	}
	o.Logger.Warn("the store's directory could be read by others; it is closed to them", "directory", o.Dir, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	return os.Chmod(o.Dir, 0o700) //nolint:gosec // a directory needs the x
}
