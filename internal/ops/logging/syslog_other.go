//go:build !unix

package logging

import "errors"

func openSyslog(_, _ string) (sink, error) {
	return nil, errors.New("log_dest syslog: this system has no syslog; use file, stdout, stderr or topic")
}
