//go:build !unix

package app

import "os"

var moreSignals = map[os.Signal]meaning{}
