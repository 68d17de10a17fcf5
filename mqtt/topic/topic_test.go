package topic

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var long = strings.Repeat("a", MaxLength)

func TestValidName(t *testing.T) {
	for _, c := range []struct {
		name string
		want error
	}{
		{"a", nil}, {"/", nil}, {"//", nil}, {"a/b/c", nil}, {"$SYS/broker", nil}, {"with blanks and !\"%&'()*,-.:;<=>?@[]^_`{|}~", nil},
		{"größe", nil}, {"温度/室内", nil}, {"😀", nil}, {"a/😀/longer than eight bytes", nil}, {"\uFFFD", nil}, {"\u00A0", nil},
		{"$share/g/a", nil}, {long, nil}, {strings.Repeat("/", MaxLevels), nil}, {strings.Repeat("a/", MaxLevels) + "a", nil},
		{"", ErrEmpty},
		{long + "a", ErrTooLong},
		{strings.Repeat("/", MaxLevels+1), ErrLevels}, {strings.Repeat("a/", MaxLevels+1), ErrLevels},
		{"#", ErrWildcard}, {"+", ErrWildcard}, {"a/+/b", ErrWildcard}, {"a/b/c/d/e/f#", ErrWildcard}, {"seven77+", ErrWildcard}, {"nine99999+", ErrWildcard},
		{"\x00", ErrNull}, {"a\x00", ErrNull}, {"longer than eight\x00", ErrNull},
		{"\x01", ErrControl}, {"\x1F", ErrControl}, {"\x7F", ErrControl}, {"a long topic with\ttab", ErrControl}, {"exactly\n", ErrControl},
		{"\u0080", ErrControl}, {"\u009F", ErrControl}, {"a long topic with \u0085", ErrControl},
		{"\uFFFF", ErrNonChar}, {"\uFFFE", ErrNonChar}, {"\uFDD0", ErrNonChar}, {"\uFDEF", ErrNonChar}, {"\U0001FFFF", ErrNonChar}, {"\U0010FFFE", ErrNonChar},
		{"\xED\xA0\x80", ErrUTF8}, {"\xED\xBF\xBF", ErrUTF8}, {"\xC0\x80", ErrUTF8}, {"\xC3", ErrUTF8}, {"\x80", ErrUTF8}, {"\xFF", ErrUTF8},
		{"\xF4\x90\x80\x80", ErrUTF8}, {"a topic that ends badly \xE6\xB8", ErrUTF8},
	} {
		if got := ValidName([]byte(c.name)); !errors.Is(got, c.want) {
			t.Errorf("%.40q: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestValidFilter(t *testing.T) {
	for _, c := range []struct {
		filter string
		want   error
	}{
		{"a", nil}, {"/", nil}, {"#", nil}, {"+", nil}, {"+/+", nil}, {"/+", nil}, {"+/", nil}, {"a/#", nil}, {"/#", nil}, {"+/#", nil},
		{"a/+/b", nil}, {"sport/+/player1/#", nil}, {"$SYS/#", nil}, {"größe/+", nil},
		{"", ErrEmpty}, {long + "a", ErrTooLong}, {strings.Repeat("+/", MaxLevels) + "#", nil}, {strings.Repeat("+/", MaxLevels+1) + "#", ErrLevels},
		{"a#", ErrMultiLevel}, {"#a", ErrMultiLevel}, {"#/", ErrMultiLevel}, {"a/#/b", ErrMultiLevel}, {"##", ErrMultiLevel}, {"+#", ErrSingleLevel}, {"#+", ErrMultiLevel},
		{"a+", ErrSingleLevel}, {"+a", ErrSingleLevel}, {"a/+b", ErrSingleLevel}, {"++", ErrSingleLevel}, {"a/b+/c", ErrSingleLevel},
		{"a\x00/#", ErrNull}, {"\x02/+", ErrControl}, {"+/\uFFFF", ErrNonChar}, {"+/\xC0", ErrUTF8},

		{"$share/g/a", nil}, {"$share/g/#", nil}, {"$share/g/+/a/#", nil}, {"$share/g//", nil}, {"$share/g//a", nil}, {"$share/größe/温度/+", nil},
		{"$share/g/$share/g/a", nil}, {"$share/g/$SYS/#", nil},
		{"$share", ErrShareName}, {"$share/", ErrShareName}, {"$share//", ErrShareName}, {"$share//a", ErrShareName},
		{"$share/+", ErrShareName}, {"$share/#", ErrShareName}, {"$share/+/a", ErrShareName}, {"$share/#/a", ErrShareName}, {"$share/g+/a", ErrShareName}, {"$share/g#x/a", ErrShareName},
		{"$share/g", ErrShareFilter}, {"$share/g/", ErrShareFilter},
		{"$share/g/a#", ErrMultiLevel}, {"$share/g/#/a", ErrMultiLevel}, {"$share/g/a+", ErrSingleLevel},
		// Not shared subscriptions: the first level is another.
		{"$shared/g", nil}, {"$shar", nil}, {"$Share/g", nil}, {"a/$share", nil}, {"/$share//a", nil},
	} {
		if got := ValidFilter([]byte(c.filter)); !errors.Is(got, c.want) {
			t.Errorf("%.40q: %v, want %v", c.filter, got, c.want)
		}
	}
}

func TestValidCharacters(t *testing.T) {
	for s, want := range map[string]error{
		"": nil, "#+/": nil, long + long: nil, "é": nil, "\x00": ErrNull, "\x10": ErrControl, "\uFFFF": ErrNonChar, "\xFF": ErrUTF8,
	} {
		if got := ValidCharacters([]byte(s)); !errors.Is(got, want) {
			t.Errorf("%.20q: %v, want %v", s, got, want)
		}
	}
}

// Every byte at every place of words of every length: the fast path sees what
// the slow one does.
func TestScanEveryByte(t *testing.T) {
	for length := 1; length <= 25; length++ {
		for at := range length {
			b := []byte(strings.Repeat("a", length))
			for c := range 256 {
				b[at] = byte(c)
				odd, wild := scan(b)
				if odd != (c < 0x20 || c >= 0x7F) || wild != (c == '+' || c == '#') {
					t.Fatalf("byte 0x%02X at %d of %d: odd %v, wild %v", c, at, length, odd, wild)
				}
			}
		}
	}
}

// slowName is ValidName as one would say it, without the reason.
func slowName(s string) bool {
	if s == "" || len(s) > MaxLength || strings.Count(s, "/") > MaxLevels || strings.ContainsAny(s, "+#") {
		return false
	}
	return slowCharacters(s)
}

func slowCharacters(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || (r >= 0x7F && r <= 0x9F) || (r >= 0xFDD0 && r <= 0xFDEF) || r&0xFFFF == 0xFFFE || r&0xFFFF == 0xFFFF {
			return false
		}
	}
	return true
}

// slowFilter is ValidFilter by levels.
func slowFilter(s string) bool {
	if s == "" || len(s) > MaxLength || strings.Count(s, "/") > MaxLevels || !slowCharacters(s) {
		return false
	}
	levels := strings.Split(s, "/")
	if levels[0] == "$share" {
		if len(levels) < 3 || levels[1] == "" || strings.ContainsAny(levels[1], "+#") {
			return false
		}
		levels = levels[2:]
		if len(levels) == 1 && levels[0] == "" {
			return false
		}
	}
	for i, l := range levels {
		if strings.Contains(l, "+") && l != "+" || strings.Contains(l, "#") && (l != "#" || i != len(levels)-1) {
			return false
		}
	}
	return true
}

func bytesLikeTopics() *rapid.Generator[string] {
	piece := rapid.SampledFrom([]string{"a", "bb", "longer level", "/", "/", "+", "#", "$share", "$share/g/", "$SYS", "é", "温", "\x00", "\x1f", "\x7f",
		"\u0080", "\u009f", "\u00a0", "\uffff", "\ufdd0", "\U0001fffe", "\xed\xa0\x80", "\xff", "\xc3"})
	usual := rapid.SampledFrom([]string{"a", "bb", "level", "/", "/", "/", "+", "#", "/+", "/#", "$share/g/", "é"})
	return rapid.Custom(func(t *rapid.T) string {
		g := usual
		if rapid.IntRange(0, 3).Draw(t, "odd") == 0 {
			g = piece
		}
		return strings.Join(rapid.SliceOfN(g, 0, 12).Draw(t, "pieces"), "")
	})
}

func TestAgainstSlow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := bytesLikeTopics().Draw(t, "s")
		if err := ValidName([]byte(s)); (err == nil) != slowName(s) {
			t.Fatalf("name %q: %v", s, err)
		}
		if err := ValidFilter([]byte(s)); (err == nil) != slowFilter(s) {
			t.Fatalf("filter %q: %v", s, err)
		}
		if err := ValidCharacters([]byte(s)); (err == nil) != slowCharacters(s) {
			t.Fatalf("characters %q: %v", s, err)
		}
		// What is a name is a filter too, unless it looks like a shared subscription.
		if slowName(s) && !strings.HasPrefix(s, "$share") && ValidFilter([]byte(s)) != nil {
			t.Fatalf("%q is a name, not a filter", s)
		}
	})
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, name string
		want         bool
	}{
		// MQTT 5 §4.7.1.2, §4.7.1.3, §4.7.2.
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true}, {"#", "sport", true}, {"#", "/", true},
		{"sport/tennis/+", "sport/tennis/player1", true}, {"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false}, {"sport/+", "sport/", true},
		{"+/+", "/finance", true}, {"/+", "/finance", true}, {"+", "/finance", false},
		{"#", "$SYS/monitor/Clients", false}, {"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/monitor/Clients", true}, {"$SYS/monitor/+", "$SYS/monitor/Clients", true}, {"a/#", "a/$SYS", true}, {"a/+", "a/$SYS", true},
		{"+", "$SYS", false}, {"#", "$", false}, {"/#", "/$SYS", true},

		{"a", "a", true}, {"a", "b", false}, {"a", "A", false}, {"a", "a/", false}, {"a/", "a", false}, {"a/b", "a", false}, {"a", "a/b", false},
		{"a/+/c", "a/b/c", true}, {"a/+/c", "a//c", true}, {"a/+/c", "a/b/d", false}, {"a/+/+/c", "a/b/c", false},
		{"+/#", "a", true}, {"+/#", "a/b", true}, {"a/+/#", "a", false}, {"a/+/#", "a/b", true},
		{"//", "//", true}, {"+/+/+", "//", true}, {"ab", "a", false}, {"a", "ab", false},
		{"", "a", false}, {"a", "", false}, {"#", "", false}, {"", "", false},
	} {
		if got := Match(c.filter, c.name); got != c.want {
			t.Errorf("Match(%q, %q) is %v", c.filter, c.name, got)
		}
	}
}

// slowMatch compares levels, recursively.
func slowMatch(filter, name []string) bool {
	switch {
	case len(filter) > 0 && filter[0] == "#":
		return true
	case len(filter) == 0 || len(name) == 0:
		return len(filter) == len(name)
	case filter[0] != "+" && filter[0] != name[0]:
		return false
	}
	return slowMatch(filter[1:], name[1:])
}

func TestMatchAgainstSlow(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "", "$x", "ab"})
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SliceOfN(level, 1, 5).Draw(t, "name")
		filter := slices.Clone(name)
		if rapid.Bool().Draw(t, "other") {
			filter = rapid.SliceOfN(level, 1, 5).Draw(t, "filter")
		}
		for i := range filter {
			if rapid.IntRange(0, 2).Draw(t, "plus") == 0 {
				filter[i] = "+"
			}
		}
		switch rapid.IntRange(0, 3).Draw(t, "hash") {
		case 0:
			filter = append(filter, "#")
		case 1:
			filter[len(filter)-1] = "#"
		}
		f, n := strings.Join(filter, "/"), strings.Join(name, "/")
		if f == "" || n == "" {
			return
		}
		want := slowMatch(filter, name)
		if name[0] != "" && name[0][0] == '$' && (filter[0] == "+" || filter[0] == "#") {
			want = false
		}
		if got := Match(f, n); got != want {
			t.Fatalf("Match(%q, %q) is %v", f, n, got)
		}
	})
}

func TestParseShare(t *testing.T) {
	for _, c := range []struct {
		filter, group, rest string
		shared              bool
	}{
		{"$share/g/a/#", "g", "a/#", true}, {"$share/g/a", "g", "a", true}, {"$share/g//", "g", "/", true}, {"$share/g//a", "g", "/a", true},
		{"$share/g/$share/h/a", "g", "$share/h/a", true},
		{"a/b", "", "a/b", false}, {"$SYS/#", "", "$SYS/#", false}, {"$share", "", "$share", false}, {"$share/", "", "$share/", false},
		{"$share/g", "", "$share/g", false}, {"$share/g/", "", "$share/g/", false}, {"$share//a", "", "$share//a", false}, {"$shared/g/a", "", "$shared/g/a", false},
	} {
		group, rest, shared := ParseShare(c.filter)
		if group != c.group || rest != c.rest || shared != c.shared {
			t.Errorf("%q: %q, %q, %v", c.filter, group, rest, shared)
		}
	}
}

func TestErrorText(t *testing.T) {
	if got := ErrWildcard.Error(); got != "contains a wildcard, which only filters may [MQTT-4.7.0-1]" {
		t.Error(got)
	}
	if got := ErrLevels.Error(); got != "has more than 200 level separators" {
		t.Error(got)
	}
}

func TestNoAllocations(t *testing.T) {
	name, filter, odd := []byte("home/ground floor/kitchen/temperature"), []byte("$share/group/home/+/kitchen/#"), []byte("größe/温度/very long")
	f, n := string("home/+/kitchen/#"), string(name)
	if got := testing.AllocsPerRun(100, func() {
		if ValidName(name) != nil || ValidFilter(filter) != nil || ValidName(odd) != nil || ValidName(filter) == nil || !Match(f, n) {
			t.Fatal("wrong answer")
		}
		if _, _, shared := ParseShare("$share/g/a"); !shared {
			t.Fatal("wrong answer")
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkValidName(b *testing.B) {
	for name, s := range map[string]string{
		"short": "a/b", "usual": "home/ground/kitchen/temperature", "utf8": "haus/küche/temperatur/größe", "64kB": long,
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(s)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if ValidName(in) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkValidFilter(b *testing.B) {
	in := []byte("$share/group/home/+/kitchen/#")
	b.ReportAllocs()
	for b.Loop() {
		if ValidFilter(in) != nil {
			b.Fatal("refused")
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		if !Match("home/+/kitchen/#", "home/ground/kitchen/temperature/now") {
			b.Fatal("no match")
		}
	}
}
