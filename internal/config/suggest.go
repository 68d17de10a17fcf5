package config

import "strings"

// suggest finds the option whose name is nearest to a misspelt one; "": none is near.
func suggest(name string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	best, least := "", 1+len(name)/3
	if least > 4 {
		least = 4
	}
	for _, o := range Options {
		for _, n := range append([]string{o.Name}, o.Aliases...) {
			if d := distance(name, n); d < least {
				best, least = n, d
			}
		}
	}
	return best
}

// distance is how many letters have to be put in, taken out, changed or swapped with their neighbour.
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	older := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, before, row = before, row, older
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(before[j]+1, row[j-1]+1, before[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
