// Package workload is the clients of a crash test: publishers that send again what was not acknowledged, subscribers with
// durable sessions, of which some are away, some come and go and some change their subscriptions, shared groups, delayed
// wills, and a probe for retained messages. They go on through any number of deaths of the broker and write down what they
// see in a history.Recorder.
//
// They speak the protocol themselves, on package mqtt: a client library keeps to itself when exactly it saw what.
package workload
