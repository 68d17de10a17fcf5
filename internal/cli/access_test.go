package cli

import (
	"testing"

	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// TestScriptsAccess runs the scripts about password files and access control lists. They need no broker.
func TestScriptsAccess(t *testing.T) {
	mosquitto.Command(t, "mosquitto_passwd")
	runScripts(t, "testdata/access", "")
}
