// Package bench is the load generator behind `nightjar bench`. It speaks MQTT to any broker.
//
// The generator shares its machine with what it measures, so it has to be much cheaper than a broker: its connections are
// on event loops of internal/edge/netloop, frames are made once and only stamped, and a received PUBLISH is looked at, not
// decoded. Everything of one connection happens on one [shard], a publisher and its subscriber on the same one where there
// are pairs, so that nothing is locked and nobody is woken up.
//
// A payload begins with a header of 16 bytes (see stampSize): the time at which the message was, or should have been, sent,
// who sent it, and in which run. Latency is the time from there to the end of the message's last byte at a subscriber.
package bench
