// Package config reads mosquitto.conf: lines of "option value", in sections that listener, connection and plugin lines open.
// Options in this package's table are Mosquitto's, with Mosquitto 2.1's defaults, and Nightjar's own. What comes out is plain
// data; package app makes a running broker of it.
package config
