package sys

import (
	"fmt"
	"math"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// The loads are averages per minute, over one, five and fifteen minutes, that forget exponentially, as those of Unix do:
// after a time d the old average counts e^(-d/period), and what happened since the rest.

// loadPeriods are the times that an average speaks of.
var loadPeriods = []struct {
	name    string
	minutes float64
}{{"1min", 1}, {"5min", 5}, {"15min", 15}}

// counters are what there are loads of.
var counters = []struct {
	name string
	of   func(s *broker.Stats) int64
}{
	{"messages/received", func(s *broker.Stats) int64 { return s.MessagesReceived }},
	{"messages/sent", func(s *broker.Stats) int64 { return s.MessagesSent }},
	{"publish/dropped", func(s *broker.Stats) int64 { return s.DroppedTotal }},
	{"publish/received", func(s *broker.Stats) int64 { return s.PublishReceived }},
	{"publish/sent", func(s *broker.Stats) int64 { return s.PublishSent }},
	{"bytes/received", func(s *broker.Stats) int64 { return s.BytesReceived }},
	{"bytes/sent", func(s *broker.Stats) int64 { return s.BytesSent }},
	{"sockets", func(s *broker.Stats) int64 { return s.Accepted }},
	{"connections", func(s *broker.Stats) int64 { return s.Connects }},
}

type loads []load

type load struct {
	count   int64
	average [3]float64
	told    [3]float64
}

// start begins with averages of 0. What is in s does not count.
func (l *loads) start(s *broker.Stats) {
	*l = make(loads, len(counters))
	for i := range counters {
		(*l)[i].count = counters[i].of(s)
	}
}

// update brings in what happened in the time since.
func (l loads) update(s *broker.Stats, since time.Duration) {
	minutes := since.Minutes()
	for i := range l {
		n := counters[i].of(s)
		rate := float64(n-l[i].count) / minutes
		l[i].count = n
		for p := range loadPeriods {
			old := math.Exp(-minutes / loadPeriods[p].minutes)
			l[i].average[p] = rate + old*(l[i].average[p]-rate)
		}
	}
}

// publish tells the averages that differ by a hundredth from what was told; all: the others too.
func (l loads) publish(set func(name, value string) error, all bool) error {
	for i := range l {
		for p := range loadPeriods {
			v := l[i].average[p]
			const little = 0.005 // which prints as 0.00
			if ended := v < little && l[i].told[p] >= little; !all && !ended && math.Abs(v-l[i].told[p]) < 0.01 {
				continue
			}
			l[i].told[p] = v
			if err := set("load/"+counters[i].name+"/"+loadPeriods[p].name, fmt.Sprintf("%.2f", v)); err != nil {
				return err
			}
		}
	}
	return nil
}
