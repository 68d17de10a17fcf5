// Package dropin shows that Nightjar takes Mosquitto's place: Debian's mosquitto and `nightjar serve` are started on the same
// configuration files, hold the same conversations, and what they answer is compared packet by packet.
//
// testdata has a configuration NAME.conf and its conversations NAME.talk; files has what several configurations name. In all
// of them DIR stands for a directory that each broker has for itself, and PORT1, PORT2 … for free ports. The directory holds
// copies of files, and tls with certificates (see makeCertificates).
//
// A conversation is a list of lines; "== TITLE" begins a new one, whose clients are others. Each line is done by one client:
//
//	a connect id=x v=5 clean=0 …   opens a connection and sends CONNECT; see connectWords
//	a subscribe FILTER qos=1 …     several filters are separated by commas
//	a unsubscribe FILTER
//	a publish TOPIC PAYLOAD qos=1 retain …
//	a hold                         receives without acknowledging from now on
//	a ack                          acknowledges what it holds, and from now on
//	a disconnect [CODE]
//	a drop                         closes its socket
//	a raw HEX                      sends bytes
//	a await N                      waits for N packets, which time brings
//	a quiet                        keeps what it gets from now on for itself
//	a until REGEXP                 waits for a packet that matches, apart from others
//
// or changes the broker:
//
//	reload                         SIGHUP
//	restart                        SIGTERM, and a new start
//	file NAME LINES                writes a file in DIR; \n ends a line
//	log REGEXP                     tells whether the log has such a line
//	log no REGEXP                  likewise, where none is waited for
//	log file NAME REGEXP           likewise for a file in DIR
//	conf LINES                     writes another configuration
//	exists NAME                    tells whether there is such a file in DIR
//	pid NAME                       tells whether the file has the broker's number
//	user                           tells as whom the broker runs
//
// After each line all clients are asked by PINGREQ for what they were sent, so that everything that a line causes stands with
// it. What the two brokers may differ in by right (packet identifiers, the order of properties, identifiers made up by the
// server, the order of retained messages of one SUBSCRIBE) is taken out. Every other difference is in differences_test.go
// with its defence, from where docs/mosquitto.md has it.
package dropin
