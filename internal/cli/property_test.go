package cli

import (
	"reflect"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/client"
)

// TestProperties checks where each -D goes.
func TestProperties(t *testing.T) {
	var p properties
	for _, words := range []string{
		"connect authentication-method M", "CONNECT authentication-data D", "connect maximum-packet-size 0x100", "connect receive-maximum 2",
		"connect topic-alias-maximum 3", "connect session-expiry-interval 4", "connect request-problem-information 0", "connect request-response-information 1",
		"connect user-property a b",
		"publish content-type T", "publish correlation-data C", "publish message-expiry-interval 5", "publish payload-format-indicator 1",
		"publish response-topic R", "publish topic-alias 6", "publish user-property c d", "publish user-property c e",
		"will will-delay-interval 7", "will content-type W",
		"subscribe subscription-identifier 8", "subscribe user-property f g", "unsubscribe user-property h i",
		"disconnect session-expiry-interval 9", "disconnect reason-string bye", "disconnect user-property j k",
	} {
		if err := p.Set(strings.ReplaceAll(words, " ", propertySeparator)); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
	user := func(pairs ...string) (list []client.UserProperty) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, client.UserProperty{Key: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	c := p.connect
	if c.authMethod != "M" || string(c.authData) != "D" || c.maximumPacketSize != 256 || c.receiveMaximum != 2 || c.topicAliasMaximum != 3 ||
		*c.sessionExpiry != 4 || !c.noProblemInfo || !c.requestResponseInfo || !reflect.DeepEqual(c.user, user("a", "b")) {
		t.Errorf("connect: %+v", c)
	}
	want := client.Properties{ContentType: "T", CorrelationData: []byte("C"), MessageExpiry: new(uint32(5)), PayloadFormat: new(byte(1)),
		ResponseTopic: "R", TopicAlias: 6, User: user("c", "d", "c", "e")}
	if !reflect.DeepEqual(p.publish, want) {
		t.Errorf("publish: %+v", p.publish)
	}
	if p.willDelay != 7 || p.will.ContentType != "W" || p.subscribe.ID != 8 || !reflect.DeepEqual(p.subscribe.User, user("f", "g")) ||
		!reflect.DeepEqual(p.unsubscribe, user("h", "i")) || *p.disconnect.SessionExpiry != 9 || p.disconnect.Reason != "bye" ||
		!reflect.DeepEqual(p.disconnect.User, user("j", "k")) {
		t.Errorf("%+v", p)
	}
	for _, words := range []string{
		"publish topic-alias 0", "publish topic-alias 65536", "publish payload-format-indicator 2", "connect receive-maximum 0",
		"subscribe subscription-identifier 0", "publish subscription-identifier 1", "connect content-type x", "nonsense content-type x", "publish nonsense 1",
		"puback reason-string x", "publish content-type", "publish user-property name",
	} {
		if err := new(properties).Set(strings.ReplaceAll(words, " ", propertySeparator)); err == nil {
			t.Errorf("%s: accepted", words)
		}
	}
}

// TestJoinProperties checks that only a real -D is joined.
func TestJoinProperties(t *testing.T) {
	flags := pubCommand().Flags()
	for args, want := range map[string]string{
		"-t a -D publish content-type x -m y":     "-t a --property=publish|content-type|x -m y",
		"--property publish user-property a b -n": "--property=publish|user-property|a|b -n",
		"-m -D -t a":        "-m -D -t a",
		"--message -D -t a": "--message -D -t a",
		"--message=x -D connect receive-maximum 1": "--message=x --property=connect|receive-maximum|1",
		"-rm -D -D publish content-type x":         "-rm -D --property=publish|content-type|x",
		"-mx -D publish content-type x":            "-mx --property=publish|content-type|x",
		"-r -D publish content-type -D -- -D a":    "-r --property=publish|content-type|-D -- -D a",
		"-Z -D publish content-type x":             "-Z --property=publish|content-type|x",
	} {
		got, err := joinProperties(flags, strings.Fields(args))
		if err != nil {
			t.Errorf("%s: %v", args, err)
		}
		if joined := strings.ReplaceAll(strings.Join(got, " "), propertySeparator, "|"); joined != want {
			t.Errorf("%s: %s, want %s", args, joined, want)
		}
	}
}

// TestDefaultCommand checks when nightjar is a broker without being told.
func TestDefaultCommand(t *testing.T) {
	for args, want := range map[string]string{
		"": "serve", "-p 1884 -v": "serve -p 1884 -v", "--verbose": "serve --verbose", "-h": "-h", "--help": "--help",
		"--version": "--version", "pub -t a": "pub -t a", "help": "help", "nonsense": "nonsense",
	} {
		if got := strings.Join(withDefaultCommand(strings.Fields(args)), " "); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}
