package conformance

// Statement is one numbered normative statement of a version of MQTT. Every statement of the two standards stands in
// one of the tables (statements_v311.go, statements_v5.go); a test holds that each has a Case or a reason for none.
type Statement struct {
	ID         string // "MQTT-3.1.2-24", as printed in the standard, without brackets
	Text       string // what it asks, in our own words, one line
	Subject    string // Server, Client or Both: whom it binds
	Untestable string // why no case can hold a server to it; empty when a case exists
}

// The values of Statement.Subject.
const (
	Server = "Server"
	Client = "Client"
	Both   = "Both"
)
