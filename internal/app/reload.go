package app

import (
	"context"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

var noContext = context.Background()

// reload reads the configuration file again and applies what has changed: all of it or, if anything is wrong, nothing.
func (v *server) reload() {
	if v.c == nil {
		v.log.Info("SIGHUP: there is no configuration file to read again")
		return
	}
	v.log.Info("Reloading config.")
	if err := v.logs.Reopen(); err != nil {
		v.log.Error("a log file could not be opened again; the old one is written on", "reason", err)
	}
	c, problems := v.s.LoadConfig()
	v.tell(problems)
	if err := problems.Err(); err != nil {
		for _, p := range problems.Failures() {
			v.log.Error(p.String())
		}
		v.log.Error("Error found: the configuration is not reloaded; the old one stays in force")
		return
	}
	changes := config.Diff(v.c, c)
	if err := v.apply(c, changes); err != nil {
		v.log.Error("the configuration is not reloaded; the old one stays in force", "reason", err)
		return
	}
	if len(changes) == 0 {
		v.log.Info("the configuration has not changed; files that it names were read again")
	}
	for _, change := range changes {
		if change.Live {
			v.log.Info("changed: " + change.String())
		} else {
			v.log.Warn("changed, but counts only after a restart: " + change.String())
		}
	}
}

// apply makes c the configuration of the running broker.
func (v *server) apply(c *config.Settings, changes []config.Change) error {
	o := brokerOptions(c)
	o.Authenticator, o.Authorizer = v.access, v.access
	o.Engine, o.Loops, o.MatchCache = "", 0, 0
	change, err := v.access.Reload(accessOptions(c))
	if err != nil {
		return err
	}
	if err := v.b.Reload(o); err != nil {
		return err
	}
	if n := v.b.Recheck(change.Revoked); n > 0 {
		v.log.Log(noContext, broker.LevelNotice, "clients were disconnected that may no longer connect", "count", n)
	}
	v.c = c
	return nil
}
