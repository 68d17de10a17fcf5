package app

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/internal/store/control"
	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
)

// controlled is a store that the tools can have copied and compacted while the broker uses it; see package control.
type controlled struct {
	*pebble.Store
	socket *control.Server
}

// controlStore lets them. Without the socket the broker is none the worse.
func controlStore(store *pebble.Store, dir string, log *slog.Logger) *controlled {
	socket, err := control.Serve(dir, store, log)
	if err != nil {
		log.Warn("'nightjar store' cannot be used while the broker runs", "reason", err)
	}
	return &controlled{store, socket}
}

// Close first waits for the tools that are being served.
func (c *controlled) Close() error {
	var err error
	if c.socket != nil {
		err = c.socket.Close()
	}
	return errors.Join(err, c.Store.Close())
}

// DataDirectory is where 'nightjar serve' keeps what must survive: with that configuration file, or, if it is "", without.
func DataDirectory(configFile string) (string, error) {
	if configFile == "" {
		return defaultDirectory()
	}
	c, problems := config.Load(configFile)
	if err := problems.Err(); err != nil {
		return "", err
	}
	if !c.Store.Persistence {
		return "", fmt.Errorf("%s says persistence false: nothing is kept on disk", configFile)
	}
	return c.Store.Directory(), nil
}
