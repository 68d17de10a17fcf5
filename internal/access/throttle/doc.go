// Package throttle slows down those who guess passwords: after some failures an address, and a user name, is not listened
// to for a time that doubles with each further failure.
package throttle
