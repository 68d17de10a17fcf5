// Package attack holds tests that attack the broker's process over its sockets: garbage, floods, bombs, clients that
// trickle, that never read, that never acknowledge. Each attack must end within its limit, be named in the log, leave the
// process's memory bounded, and go unnoticed by a pair of bystanders. Shutdown and the budgets of size, start and memory
// are held here too.
//
// The packets are bytes put together here: an attacker does not use our encoder.
package attack
