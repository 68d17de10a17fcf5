package throttle

import "time"

// Options are what a Throttle allows. The zero value is the default of every field.
type Options struct {
	// Off switches throttling off.
	Off bool
	// Free is how many failures in a row have no consequence, for people who mistype; 0: 5.
	Free int
	// First is the delay after the first failure beyond Free; each further one doubles it, up to Longest. 0: one second and
	// fifteen minutes.
	First, Longest time.Duration
	// Forget is how long after its last failure an address or a user is forgotten; 0: one hour.
	Forget time.Duration
	// Entries bounds the addresses, and apart from them the users, that are remembered, about 100 bytes each; 0: 65536.
	// When it is reached the oldest are forgotten: an attacker with that many addresses gets tries for them.
	Entries int
}

// complete fills in the defaults.
func (o Options) complete() Options {
	if o.Free <= 0 {
		o.Free = 5
	}
	if o.First <= 0 {
		o.First = time.Second
	}
	if o.Longest <= 0 {
		o.Longest = 15 * time.Minute
	}
	if o.Forget <= 0 {
		o.Forget = time.Hour
	}
	if o.Entries <= 0 {
		o.Entries = 65536
	}
	return o
}
