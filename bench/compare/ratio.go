//go:build linux

package main

import (
	"maps"
	"math"
	"slices"
)

// interval is a ratio with its 95 % interval.
type interval struct{ median, low, high float64 }

func (i interval) contains(v float64) bool { return i.low <= v && v <= i.high }

// intervalOf takes the ratios of several rounds. Ratios multiply, so the interval is Student's of their logarithms; with a
// single round it is everything.
func intervalOf(ratios []float64) interval {
	n := len(ratios)
	if n == 0 {
		return interval{}
	}
	median := middle(slices.Clone(ratios))
	if n == 1 {
		return interval{median: median, low: 0, high: math.Inf(1)}
	}
	var sum, squares float64
	for _, r := range ratios {
		sum += math.Log(r)
	}
	mean := sum / float64(n)
	for _, r := range ratios {
		squares += (math.Log(r) - mean) * (math.Log(r) - mean)
	}
	half := student95(n-1) * math.Sqrt(squares/float64(n-1)/float64(n))
	return interval{median: median, low: math.Exp(mean - half), high: math.Exp(mean + half)}
}

// student95 is the 97.5 % quantile of Student's distribution.
func student95(degrees int) float64 {
	table := [...]float64{
		12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
		2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
		2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
	}
	if degrees <= len(table) {
		return table[degrees-1]
	}
	return 1.96 + 2.5/float64(degrees) // within 0.2 % of the true value from here on
}

func medianOf(series map[int]float64) float64 {
	if len(series) == 0 {
		return 0
	}
	return middle(slices.Collect(maps.Values(series)))
}

// middle sorts v and returns its median.
func middle(v []float64) float64 {
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
