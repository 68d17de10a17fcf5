//go:build !unix

package pebble

// prepareDirectory makes the directory. Who may read it is left to what it lies in.
func prepareDirectory(o *Options) error { return makeDirectory(o) }
