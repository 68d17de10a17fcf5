//go:build !linux

package bench

import (
	"net"
	"net/netip"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// dial opens a connection on a goroutine of its own.
func dial(to netip.AddrPort, from netip.Addr, engine netloop.Engine, handler func(netloop.Conn) netloop.Handler, failed func(error)) {
	go func() {
		var d net.Dialer
		if from.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		c, err := d.Dial("tcp", to.String())
		if err == nil {
			_, err = engine.Adopt(c, handler)
		}
		if err != nil {
			failed(err)
		}
	}()
}
