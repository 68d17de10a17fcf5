//go:build !unix

package app

import "errors"

func (v *server) dropPrivileges() error { return nil }

// Background is for Unix systems.
func Background() (done bool, err error) {
	return true, errors.New("-d needs a Unix system; run it as a service")
}

func tellForeground() {}
