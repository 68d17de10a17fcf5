// Command nightjar is an MQTT broker with its command-line clients.
package main

import (
	"os"

	"github.com/nightjar-mqtt/nightjar/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args))
}
