// Package ratelimit counts what clients and users do against what they may do in a time: connections, publishes, bytes,
// subscribes. Time is an argument.
package ratelimit
