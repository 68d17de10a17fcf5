package mqtt

import (
	"strings"
	"testing"
)

func TestReasonCodes(t *testing.T) {
	named := 0
	for c := range 256 {
		code := ReasonCode(c)
		if !strings.HasPrefix(code.String(), "Reason Code") {
			named++
		}
		if code.IsError() != (c >= 128) {
			t.Errorf("0x%02X: IsError is %v", c, code.IsError())
		}
		if !strings.HasPrefix(code.V3String(), "Connection ") {
			t.Errorf("0x%02X: V3String is %q", c, code.V3String())
		}
	}
	// MQTT 5 table 2-6 has 43 values.
	if named != 43 {
		t.Errorf("%d codes have names, want 43", named)
	}
}

func TestV3Connack(t *testing.T) {
	for c, want := range map[ReasonCode]ReasonCode{
		Success: ConnAccepted, UnsupportedProtocolVersion: ConnRefusedVersion, ClientIdentifierNotValid: ConnRefusedIdentifier,
		ServerUnavailable: ConnRefusedServer, ServerBusy: ConnRefusedServer, QuotaExceeded: ConnRefusedServer,
		BadUserNameOrPassword: ConnRefusedCredentials, NotAuthorized: ConnRefusedNotAuthorized, Banned: ConnRefusedNotAuthorized,
		BadAuthenticationMethod: ConnRefusedNotAuthorized, PacketTooLarge: ConnRefusedNotAuthorized,
	} {
		if got := c.V3Connack(); got != want {
			t.Errorf("%v becomes %v, want %v", c, got.V3String(), want.V3String())
		}
	}
	for c := ConnAccepted; c <= ConnRefusedNotAuthorized; c++ {
		if c.V3Connack() != c {
			t.Errorf("return code %d becomes %d", c, c.V3Connack())
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  Error
		want string
	}{
		{Error{MalformedPacket, PUBLISH, "packet identifier is 0", "MQTT-2.2.1-3"}, "PUBLISH: Malformed Packet: packet identifier is 0 [MQTT-2.2.1-3]"},
		{Error{PacketTooLarge, 0, "d", ""}, "Packet too large: d"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
