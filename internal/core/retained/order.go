package retained

import "math/bits"

// compare orders topics by their bytes, except that '/' comes before every other byte: so a topic is followed at once by
// all topics below it, and what a filter's literal beginning matches is one stretch of the map.
func compare(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 { // topics share long beginnings
		if x := word(a[i:]) ^ word(b[i:]); x != 0 {
			i += bits.TrailingZeros64(x) / 8
			return rank(a[i]) - rank(b[i])
		}
	}
	for ; i < n; i++ {
		if a[i] != b[i] {
			return rank(a[i]) - rank(b[i])
		}
	}
	return len(a) - len(b)
}

// rank is where a byte stands in the order.
func rank(c byte) int {
	switch {
	case c == '/':
		return 0
	case c < '/':
		return int(c) + 1
	}
	return int(c)
}

// word reads the first 8 bytes; the compiler makes one load of it.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

const (
	// pastSubtree follows a topic in the smallest string that is after all topics below it: the lowest byte but '/'.
	pastSubtree = "\x00"
	// pastDollar is the smallest string after all that begin with '$'.
	pastDollar = "%"
)
