package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// WriteJSON writes the report as JSON.
func (rep *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(rep)
}

// Size of the plot, and of the frame within it.
const (
	plotWidth, plotHeight   = 900, 400
	plotLeft, plotRight     = 80, 20
	plotTop, plotBottom     = 50, 40
	plotInnerW, plotInnerH  = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
	plotBaseline, plotLines = plotHeight - plotBottom, 4
)

// Plot draws latency over time as SVG: p50, p99 and the maximum of each interval, on a logarithmic scale.
func (rep *Report) Plot(w io.Writer) error {
	lines := []struct {
		name, colour string
		of           func(Interval) float64
	}{
		{"max", "#c0392b", func(i Interval) float64 { return i.Max }},
		{"p99", "#e08e0b", func(i Interval) float64 { return i.P99 }},
		{"p50", "#1f6fb2", func(i Interval) float64 { return i.P50 }},
	}
	low, high := math.Inf(1), 0.0
	for _, i := range rep.Intervals {
		if i.Max > 0 {
			low, high = min(low, i.P50), max(high, i.Max)
		}
	}
	if high == 0 {
		return errors.New("bench: there is nothing to plot: no latency was measured")
	}
	from, to := math.Floor(math.Log10(max(low, 1))), math.Ceil(math.Log10(high))
	to = max(to, from+1)
	x := func(at float64) float64 { return plotLeft + at/rep.Seconds*plotInnerW }
	y := func(us float64) float64 {
		return plotBaseline - (math.Log10(max(us, 1))-from)/(to-from)*plotInnerH
	}
	var b strings.Builder
	o := &rep.Options
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="14">%s</text>`+"\n", plotLeft,
		html.EscapeString("Latency: "+o.describe()))
	for e := from; e <= to; e++ {
		at := y(math.Pow(10, e))
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			plotLeft, at, plotWidth-plotRight, plotLeft-8, at+4, micros(math.Pow(10, e)))
	}
	for k := range plotLines + 1 {
		at := rep.Seconds * float64(k) / plotLines
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%.1f s</text>`+"\n", x(at), plotBaseline+20, at)
	}
	for k, line := range lines {
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="`, line.colour)
		for _, i := range rep.Intervals {
			if v := line.of(i); v > 0 {
				fmt.Fprintf(&b, "%.1f,%.1f ", x(i.At), y(v))
			}
		}
		fmt.Fprintf(&b, `"/><text x="%d" y="40" fill="%s">%s</text>`+"\n", plotLeft+60*k, line.colour, line.name)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
