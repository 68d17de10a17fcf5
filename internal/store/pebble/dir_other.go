//go:build !unix

package pebble

import "fmt"

// prepareDirectory makes the directory. Who may read it is left to what it lies in.
func prepareDirectory(o *Options) error {
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("the directory cannot be made: %w", writeError(err))
	}
	return nil
}
