//go:build !linux

package netloop

var engines = []engineKind{}
