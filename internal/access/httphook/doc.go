// Package httphook asks a web service who may connect.
package httphook
