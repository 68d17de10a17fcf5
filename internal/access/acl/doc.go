// Package acl reads Mosquitto's access control lists and decides by them.
package acl
