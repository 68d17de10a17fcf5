// Package storetest tests what goes through the store's interface, from both of its sides.
//
// Late is a hostile store for tests of the broker: it answers commits and pages late, in an order that is random between
// sessions, and can be told to fail some. It records what it was given (State) and what the broker may not do to a store
// (Late.Breaches), so that a test can compare the broker's memory with the store's. Another Late that begins with that
// State is what a restart finds.
//
// Contract and ContractKept hold any implementation of session.Store to what the interface promises; Read loads a store
// into a State, State.Diff compares two.
package storetest
