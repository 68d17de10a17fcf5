package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/strftime"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// rich is a message with everything that -F can show.
func rich() *client.Message {
	return &client.Message{
		Topic: "a/b", Payload: []byte("abcd"), QoS: 1, Retain: true, PacketID: 7,
		Properties: client.Properties{
			PayloadFormat: new(byte(1)), MessageExpiry: new(uint32(60)), ContentType: "text/plain", ResponseTopic: "r/t",
			CorrelationData: []byte("co\"r"), TopicAlias: 3, SubscriptionIDs: []uint32{9, 10},
			User: []client.UserProperty{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}},
		},
	}
}

var noon = time.Date(2020, 5, 6, 12, 3, 4, 123456789, time.FixedZone("CEST", 2*60*60))

func formatted(t *testing.T, format string, pretty bool, m *client.Message) (string, error) {
	t.Helper()
	f, err := parseFormat(format, pretty)
	if err != nil {
		t.Fatalf("%q: %v", format, err)
	}
	var b bytes.Buffer
	err = f.print(&b, m, noon)
	return b.String(), err
}

// TestFormat goes through section 11 of Mosquitto's formats: each sequence,
// its flags, and what it prints where there is nothing to print.
func TestFormat(t *testing.T) {
	for format, want := range map[string]string{
		"%%": "%", "%t": "a/b", "%p": "abcd", "%q": "1", "%r": "1", "%l": "4", "%m": "7",
		"%x": "61626364", "%X": "61626364", "%A": "3", "%C": "text/plain", "%D": "co\"r", "%E": "60", "%F": "1",
		"%P": "k:v k:w", "%R": "r/t", "%S": "9", "%U": "1588759384.123456789", "%I": "2020-05-06T12:03:04+0200",
		"@@": "@", "@N": "123456789", "@Y-@m-@d @H:@M:@S@z": "2020-05-06 12:03:04+0200",
		`\\|\0|\a|\e|\n|\r|\t|\v`: "\\|\x00|\a|\x1b|\n|\r|\t|\v",
		"one %t, %p; two":         "one a/b, abcd; two", "é%té": "éa/bé",
		// Width, zeros, left.
		"%6l|%-6l|%06l|%-06l": "     4|4     |000004|4     ",
		"%6t|%-6t|%06t":       "   a/b|a/b   |   a/b",
		"%6p|%-6p|%06p":       "  abcd|abcd  |00abcd",
		"%5A|%5E|%5F|%5S|%5m": "    3|   60|    1|    9|    7",
		"%12C|%-12C|%6R":      "  text/plain|text/plain  |   r/t",
		"%12x|%-12x|%012x":    "    61626364|61626364    |000061626364",
		"%5q|%5r|%5%":         "1|1|%",
		// The largest width cuts text; %p is cut by its width.
		"%.2t|%5.2t|%-5.2t": "a/|   a/|a/   ", "%.4C": "text", "%.10I": "2020-05-06", "%2p": "ab",
		// Hexadecimal in groups.
		"%.2:x": "61:62:63:64", "%.4-X": "6162-6364", "%.1 x": "6 1 6 2 6 3 6 4", "%.3.x": "616.263.64", "%012.2:x": "00:00:61:62:63:64",
	} {
		if got, err := formatted(t, format, false, rich()); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", format, got, err, want)
		}
	}
	for format, want := range map[string]string{
		"%A%C%D%E%F%P%R%S": "", "%3A|%03E|%3F|%-3S|%4C|%3R|%3D": "   |000|   |   |    ||", "%m%q%r": "000", "%p|%x|%3p": "||   ",
	} {
		if got, err := formatted(t, format, false, &client.Message{Topic: "a"}); got != want || err != nil {
			t.Errorf("%q of an empty message: %q, %v, want %q", format, got, err, want)
		}
	}
}

// TestFormatFloat reads payloads as IEEE numbers.
func TestFormatFloat(t *testing.T) {
	double := binary.LittleEndian.AppendUint64(nil, math.Float64bits(-3.25))
	single := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.5))
	for format, tt := range map[string]struct {
		payload []byte
		want    string
	}{
		"%d": {double, "-3.250000"}, "%.1d|": {double, "-3.2|"}, "%8.2d": {double, "   -3.25"}, "%-8.2d|": {double, "-3.25   |"},
		"%f": {single, "1.500000"}, "%07.2f": {single, "0001.50"},
	} {
		if got, err := formatted(t, format, false, &client.Message{Payload: tt.payload}); got != tt.want || err != nil {
			t.Errorf("%q: %q, %v, want %q", format, got, err, tt.want)
		}
	}
	if got, err := formatted(t, "<%f>", false, &client.Message{Payload: double}); got != "<>" || err == nil {
		t.Errorf("%%f of 8 bytes: %q, %v", got, err)
	}
}

// TestFormatJSON checks %j and %J, in one line and in several.
func TestFormatJSON(t *testing.T) {
	for _, tt := range []struct {
		format string
		pretty bool
		m      *client.Message
		want   string
	}{
		{"%j", false, rich(), `{"tst":"2020-05-06T12:03:04.123456+0200","topic":"a/b","qos":1,"retain":true,"payloadlen":4,"mid":7,` +
			`"properties":{"payload-format-indicator":1,"message-expiry-interval":60,"content-type":"text/plain","response-topic":"r/t",` +
			`"correlation-data":"co\"r","subscription-identifier":9,"subscription-identifier":10,"topic-alias":3,"user-properties":[{"k":"v"},{"k":"w"}]},"payload":"abcd"}`},
		{"%j", false, &client.Message{Topic: "q\"\\"}, `{"tst":"2020-05-06T12:03:04.123456+0200","topic":"q\"\\","qos":0,"retain":false,"payloadlen":0,"payload":null}`},
		{"%j", true, &client.Message{Topic: "a", Payload: []byte("\x01\x80é\t/")},
			"{\n\t\"tst\":\t\"2020-05-06T12:03:04.123456+0200\",\n\t\"topic\":\t\"a\",\n\t\"qos\":\t0,\n\t\"retain\":\tfalse,\n\t\"payloadlen\":\t6,\n\t\"payload\":\t\"\\u0001\uFFFDé\\t/\"\n}"},
		{"%J", true, &client.Message{Topic: "a", Payload: []byte(`{"a":1.50,"b":[1,{"c":null}],"d":"é"}`)},
			"{\n\t\"tst\":\t\"2020-05-06T12:03:04.123456+0200\",\n\t\"topic\":\t\"a\",\n\t\"qos\":\t0,\n\t\"retain\":\tfalse,\n\t\"payloadlen\":\t38,\n\t\"payload\":\t{\n\t\t\"a\":\t1.50,\n\t\t\"b\":\t[1, {\n\t\t\t\t\"c\":\tnull\n\t\t\t}],\n\t\t\"d\":\t\"é\"\n\t}\n}"},
		{"%J", false, &client.Message{Topic: "a", Payload: []byte(` [true , "x"] `)}, `{"tst":"2020-05-06T12:03:04.123456+0200","topic":"a","qos":0,"retain":false,"payloadlen":14,"payload":[true,"x"]}`},
	} {
		got, err := formatted(t, tt.format, tt.pretty, tt.m)
		if got != tt.want || err != nil {
			t.Errorf("%s:\n%s\n%v, want\n%s", tt.format, got, err, tt.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: not JSON: %s", tt.format, got)
		}
	}
	for _, payload := range []string{"{", "1 2", "nope", strings.Repeat("[", 2000) + strings.Repeat("]", 2000)} {
		_, err := formatted(t, "%J", false, &client.Message{Topic: "a/b", Payload: []byte(payload)})
		if err == nil || err.Error() != "Message payload is not valid JSON on topic a/b." {
			t.Errorf("%.10q: %v", payload, err)
		}
	}
}

func TestBadFormats(t *testing.T) {
	for format, want := range map[string]string{
		"%": "Incomplete format specifier.", "%5": "Incomplete format specifier.", "%-": "Incomplete format specifier.", "%.": "Incomplete format specifier.",
		"x@": "Incomplete format specifier.", `x\`: "Incomplete escape specifier.", `\q`: "Invalid escape specifier 'q'.", "%z": "Invalid format specifier 'z'.",
	} {
		if _, err := parseFormat(format, false); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %q", format, err, want)
		}
	}
}

// TestStrftime compares with date(1), which uses the C library's strftime.
func TestStrftime(t *testing.T) {
	for _, when := range []time.Time{
		time.Date(2020, 5, 6, 0, 3, 4, 0, time.UTC), time.Date(2021, 1, 3, 13, 59, 59, 0, time.UTC),
		time.Date(2024, 12, 30, 23, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
	} {
		for _, c := range "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%" {
			cmd := exec.Command("date", "-u", "-d", when.Format(time.RFC3339), "+%"+string(c))
			cmd.Env = []string{"LC_ALL=C"}
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strftime.Conversion(byte(c), when), strings.TrimSuffix(string(out), "\n"); got != want {
				t.Errorf("@%c at %v: %q, want %q", c, when, got, want)
			}
		}
	}
}

// TestFormatAsMosquitto prints one retained message with mosquitto_sub and with
// ours, and expects the same bytes.
func TestFormatAsMosquitto(t *testing.T) {
	broker := mosquitto.Start(t)
	output(t, mosquitto.Command(t, "mosquitto_pub"), "-p", broker.Port, "-V", "5", "-t", "f/é", "-m", "abcd", "-r", "-q", "1",
		"-D", "publish", "content-type", "text/plain", "-D", "publish", "user-property", "k", "v", "-D", "publish", "user-property", "k", "w",
		"-D", "publish", "correlation-data", `co"r`, "-D", "publish", "response-topic", "r/t", "-D", "publish", "payload-format-indicator", "1")
	both := func(args ...string) (theirs, ours string) {
		args = append([]string{"-p", broker.Port, "-V", "5", "-t", "f/#", "-C", "1", "-W", "20", "-q", "1"}, args...)
		return output(t, mosquitto.Command(t, "mosquitto_sub"), args...), output(t, "nightjar", append([]string{"sub"}, args...)...)
	}
	for _, args := range [][]string{
		{}, {"-v"}, {"-N"}, {"-v", "-N"},
		{"-F", "%t|%p|%q|%r|%l|%m|%x|%X|%A|%C|%D|%E|%F|%P|%R|%S|%%"},
		{"-F", "%10t|%-10t|%010t|%.3t|%10.3t|%-10.3t"}, {"-F", "%10p|%-10p|%2p|%010p"}, {"-F", "%05l|%-5l|%-05l|%5m|%5q"},
		{"-F", "%20C|%-20C|%.4C|%20R|%20P|%5A|%05A|%3F|%5S|%-5S"}, {"-F", `\a\e\n\r\t\v\\\0@@%5%`}, {"-F", "%t %p", "-N"},
	} {
		if theirs, ours := both(args...); theirs != ours {
			t.Errorf("%q: ours %q, mosquitto_sub %q", args, ours, theirs)
		}
	}
	// JSON: the same but for the time, and for what 2.1 changed: user properties
	// are an array, for names may repeat, and retain is a boolean.
	theirs, ours := both("-F", "%j")
	var a, b map[string]any
	if err := json.Unmarshal([]byte(theirs), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(ours), &b); err != nil {
		t.Fatal(err)
	}
	for _, m := range []map[string]any{a, b} {
		delete(m, "tst")
		delete(m, "retain")
		delete(m["properties"].(map[string]any), "user-properties")
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("JSON: ours %v, mosquitto_sub %v", b, a)
	}
}

// TestWatch checks that each topic keeps its line of the terminal.
func TestWatch(t *testing.T) {
	show, err := (&sub{watch: true, verbose: true}).printer()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, m := range []client.Message{{Topic: "a", Payload: []byte("1")}, {Topic: "b", Payload: []byte("2")}, {Topic: "a", Payload: []byte("3")}} {
		if err := show(&b, &m, noon); err != nil {
			t.Fatal(err)
		}
	}
	want := "\x1b[2;1H\x1b[2Ka 1\n\x1b[3;1H" + "\x1b[3;1H\x1b[2Kb 2\n\x1b[4;1H" + "\x1b[2;1H\x1b[2Ka 3\n\x1b[4;1H"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestMessageRate checks the count of each second.
func TestMessageRate(t *testing.T) {
	var b bytes.Buffer
	var c rateCounter
	for _, ms := range []int{0, 10, 20, 900, 1000, 3000, 3001, 4000} {
		c.add(noon.Truncate(time.Second).Add(time.Duration(ms)*time.Millisecond), &b)
	}
	if b.String() != "4\n1\n2\n" {
		t.Errorf("%q", b.String())
	}
}
