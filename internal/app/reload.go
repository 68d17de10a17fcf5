package app

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	v.reopenLog()
	v.log.Info("Reloading config.")
	v.notify(v.systemd.Reloading())
	defer func() { v.notify(v.systemd.Ready("serving clients")) }()
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
	config.Keep(v.c, c)
	if err := v.apply(c); err != nil {
		v.logEach(err)
		v.log.Error("Error found: the configuration is not reloaded; the old one stays in force")
		return
	}
	v.c = c
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

// apply makes c the configuration of the running broker. What may fail comes first, and is taken back then.
func (v *server) apply(c *config.Settings) error {
	p, err := v.planListeners(c)
	if err != nil {
		return err
	}
	if err := v.logs.Reload(logOptions(c, v.s.Stdout, v.s.Stderr)); err != nil {
		p.abandon()
		return err
	}
	change, err := v.access.Reload(accessOptions(c))
	if err != nil {
		p.abandon()
		return errors.Join(err, v.logs.Reload(logOptions(v.c, v.s.Stdout, v.s.Stderr)))
	}
	o := brokerOptions(c)
	o.Authenticator, o.Authorizer, o.Control = v.gate, v.access, v.control.of(c)
	o.Engine, o.Loops, o.MatchCache = "", 0, 0 // they stay
	if err := v.b.Reload(o); err != nil {
		p.abandon()
		_, back := v.access.Reload(accessOptions(v.c))
		return errors.Join(err, back, v.logs.Reload(logOptions(v.c, v.s.Stdout, v.s.Stderr)))
	}
	v.gate.set(c)
	v.control.set(c)
	v.followListeners(p)
	if n := v.b.Recheck(change.Revoked); n > 0 {
		v.log.Log(noContext, broker.LevelNotice, "clients were disconnected that may no longer connect", "count", n)
	}
	if c.SysInterval != v.c.SysInterval {
		if err := v.publishSys(c.SysInterval); err != nil {
			v.log.Error("$SYS is not published any more", "reason", err)
		}
	}
	return nil
}

// plan is what a new configuration does to the listeners.
type plan struct {
	opened  []*socket
	changed []broker.Listener // all that stay
	http    []httpChange      // those with protocol http_api that stay
	gone    []string
}

// planListeners opens sockets that are new, and reads certificates, so that the rest cannot fail.
func (v *server) planListeners(c *config.Settings) (p plan, err error) {
	running := make(map[string]bool)
	for _, l := range v.b.Listeners() {
		running[l.Name] = true
	}
	for name := range v.http {
		running[name] = true
	}
	var opening []*config.Listener
	for _, l := range c.Listeners {
		if !running[l.Name()] {
			opening = append(opening, l)
			continue
		}
		delete(running, l.Name())
		if a := v.http[l.Name()]; a != nil {
			if err := v.planHTTP(&p, c, l, a); err != nil {
				p.abandon()
				return p, err
			}
			continue
		}
		if l.Protocol == "http_api" {
			p.abandon()
			return p, fmt.Errorf("%s: %s cannot change to protocol http_api by a reload; restart the broker", l.Position, l.Name())
		}
		b, err := v.brokerListener(c, l)
		if err != nil {
			p.abandon()
			return p, err
		}
		p.changed = append(p.changed, b)
	}
	for name := range running {
		p.gone = append(p.gone, name)
	}
	if p.opened, err = v.openSockets(c, opening); err != nil {
		p.abandon()
	}
	return p, err
}

// abandon closes what was opened for a plan.
func (p *plan) abandon() {
	closeAll(p.opened)
	for _, l := range p.changed {
		closeCertificates(l)
	}
	for _, change := range p.http {
		if change.to.certificates != nil {
			change.to.certificates.Close()
		}
	}
}

var errListenerGone = errors.New("the listener is no longer in the configuration")

func (v *server) followListeners(p plan) {
	for _, l := range p.changed {
		if err := v.b.UpdateListener(l); err != nil {
			v.log.Error("a listener could not be changed", "listener", l.Name, "reason", err)
		}
	}
	for _, change := range p.http {
		change.a.update(change.to)
	}
	for _, name := range p.gone {
		if a := v.http[name]; a != nil {
			a.close()
			delete(v.http, name)
			continue
		}
		ctx, cancel := context.WithTimeout(noContext, stopTime)
		if err := v.b.StopListener(ctx, name, errListenerGone); err != nil {
			v.log.Error("a listener could not be stopped", "listener", name, "reason", err)
		}
		cancel()
	}
	for _, l := range p.opened {
		v.serve(l)
	}
}

// stopTime bounds how long the clients of a listener that goes may take to be told.
const stopTime = 5 * time.Second
