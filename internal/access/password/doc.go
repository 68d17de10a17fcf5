// Package password reads and writes Mosquitto's password files and checks passwords against them.
package password
