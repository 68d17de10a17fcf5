package app

import (
	"os"
	"syscall"
)

// handled are the signals that Run gets. moreSignals are the platform's, and what Mosquitto's users send.
func handled() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
	for s := range moreSignals {
		all = append(all, s)
	}
	return all
}

// meaning is what a signal is for, of those that do not end the process.
type meaning byte

const (
	ending meaning = iota
	reloading
	saving
	listing
	rotating
)

func meaningOf(s os.Signal) meaning {
	if s == syscall.SIGHUP {
		return reloading
	}
	return moreSignals[s]
}

// signalled does what a signal asks for that does not end the process.
func (v *server) signalled(what meaning) {
	switch what {
	case reloading:
		v.reload()
	case saving:
		v.log.Info("SIGUSR1: there is nothing to save: what is persistent is stored when it comes")
	case listing:
		s := v.b.Stats()
		v.log.Info("SIGUSR2", "clients", s.Clients, "sessions", s.Sessions, "subscriptions", s.Subscriptions,
			"shared_subscriptions", s.SharedSubscriptions, "retained", s.Retained)
	case rotating:
		v.reopenLog()
	}
}

func (v *server) reopenLog() {
	if v.logs == nil {
		return
	}
	if err := v.logs.Reopen(); err != nil {
		v.log.Error("a log file could not be opened again; the old one is written on", "reason", err)
	}
}
