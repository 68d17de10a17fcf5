// Package strftime prints times by the conversions of strftime(3), in the C locale.
package strftime

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// layouts are the conversions of strftime(3) that a layout of package
// time expresses, in the C locale.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'c': "Mon Jan _2 15:04:05 2006",
	'd': "02", 'D': "01/02/06", 'e': "_2", 'F': "2006-01-02", 'H': "15", 'I': "03", 'm': "01", 'M': "04",
	'p': "PM", 'P': "pm", 'r': "03:04:05 PM", 'R': "15:04", 'S': "05", 'T': "15:04:05", 'x': "01/02/06",
	'X': "15:04:05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST",
}

// Format prints t as format says.
func Format(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		b.WriteString(Conversion(format[i], t))
	}
	return b.String()
}

// Conversion returns what strftime(3) prints for %c, and the nanoseconds for N,
// which is Mosquitto's own. What strftime does not know prints as it is.
func Conversion(c byte, t time.Time) string {
	if layout, ok := layouts[c]; ok {
		return t.Format(layout)
	}
	year, week := t.ISOWeek()
	weekday := int(t.Weekday()) // 0 is Sunday
	switch c {
	case 'C':
		return fmt.Sprintf("%02d", t.Year()/100)
	case 'g':
		return fmt.Sprintf("%02d", year%100)
	case 'G':
		return strconv.Itoa(year)
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay())
	case 'k':
		return fmt.Sprintf("%2d", t.Hour())
	case 'l':
		return fmt.Sprintf("%2d", (t.Hour()+11)%12+1)
	case 'n':
		return "\n"
	case 'N':
		return fmt.Sprintf("%09d", t.Nanosecond())
	case 's':
		return strconv.FormatInt(t.Unix(), 10)
	case 't':
		return "\t"
	case 'u':
		return strconv.Itoa((weekday+6)%7 + 1)
	case 'U':
		return fmt.Sprintf("%02d", (t.YearDay()+6-weekday)/7)
	case 'V':
		return fmt.Sprintf("%02d", week)
	case 'w':
		return strconv.Itoa(weekday)
	case 'W':
		return fmt.Sprintf("%02d", (t.YearDay()+6-(weekday+6)%7)/7)
	case '%':
		return "%"
	}
	return "%" + string(rune(c))
}
