package app

import (
	"log/slog"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// openStore opens what must survive, as the configuration's persistence, data_dir and sync say; nil: nothing does.
func openStore(c *config.Store, _ *slog.Logger) (broker.Store, error) {
	if !c.Persistence {
		return nil, nil //nolint:nilnil // no store is no error
	}
	return nil, errNoStore
}
