package main

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// TestFloor drives it with every scenario that bench/compare does.
func TestFloor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFloor(2)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.serve(l) }()
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil && !errors.Is(err, netloop.ErrEngineClosed) {
			t.Error(err)
		}
	}()
	for name, o := range map[string]bench.Options{
		"pairs":  {Scenario: bench.Pairs, Clients: 5},
		"bursts": {Scenario: bench.Pairs, Burst: 32},
		"fanout": {Scenario: bench.Fanout, Clients: 50},
		"large":  {Scenario: bench.Fanout, Clients: 10, Payload: 64 << 10},
		"fanin":  {Scenario: bench.Fanin, Clients: 50, Rate: 3000},
		"idle":   {Scenario: bench.Idle, Clients: 100},
		"churn":  {Scenario: bench.Connect},
	} {
		t.Run(name, func(t *testing.T) {
			o.Address, o.Duration, o.Warmup = l.Addr().String(), 200*time.Millisecond, 20*time.Millisecond
			rep, err := bench.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if rep.Lost != 0 || rep.Foreign != 0 {
				t.Errorf("%d messages lost, %d not ours", rep.Lost, rep.Foreign)
			}
			if messages := o.Scenario != bench.Idle && o.Scenario != bench.Connect; messages && rep.Delivered == 0 {
				t.Error("nothing arrived")
			}
		})
	}
}
