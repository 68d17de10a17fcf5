package httphook

import "time"

// Options say whom to ask and how.
type Options struct {
	// URL gets a POST for each login: see docs/security.md for what is sent and how it is answered.
	URL string
	// Header are added to each request as they are, for example "Authorization: Bearer ...".
	Header []string
	// CAFile holds the authorities, PEM, that the server's certificate is checked against; "": the system's.
	CAFile string
	// Timeout is for one request with its answer; 0: 5 seconds. No answer in time refuses the client.
	Timeout time.Duration
	// Concurrent bounds the requests under way, Waiting the logins that wait for one; those beyond are refused. 0: 32 and 1024.
	Concurrent, Waiting int
	// CacheTime is how long a yes holds, CacheRefusals how long a no; 0: not at all. CacheEntries bounds both; 0: 10000.
	CacheTime, CacheRefusals time.Duration
	CacheEntries             int
}

// Complete fills in the defaults.
func (o Options) Complete() Options {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Concurrent <= 0 {
		o.Concurrent = 32
	}
	if o.Waiting <= 0 {
		o.Waiting = 1024
	}
	if o.CacheEntries <= 0 {
		o.CacheEntries = 10000
	}
	return o
}
