package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/internal/ops/sys"
	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
)

// NoData as Settings.Data keeps everything in memory.
const NoData = "none"

// openStore opens what must survive, as the configuration's persistence, data_dir and sync say; nil: nothing does.
func openStore(c *config.Store, log *slog.Logger) (broker.Store, error) {
	if !c.Persistence {
		return nil, nil //nolint:nilnil // no store is no error
	}
	sync, err := syncMode(c.Sync.Mode)
	if err != nil {
		return nil, err
	}
	return openDirectory(c.Directory(), sync, c.Sync.Interval, log)
}

// openData is openStore for a broker without configuration file.
func (s *Settings) openData(log *slog.Logger) (broker.Store, error) {
	if s.Data == NoData {
		return nil, nil //nolint:nilnil // as above
	}
	if s.Data == "" {
		dir, err := defaultDirectory()
		if err != nil {
			return nil, err
		}
		s.Data = dir
	}
	mode, interval, err := ParseSync(s.Sync)
	if err != nil {
		return nil, err
	}
	return openDirectory(s.Data, mode, interval, log)
}

func openDirectory(dir string, sync pebble.Sync, interval time.Duration, log *slog.Logger) (broker.Store, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { // the store makes the last one, for itself alone
		return nil, fmt.Errorf("the data directory %s cannot be made: %w", dir, err)
	}
	store, err := pebble.Open(pebble.Options{Dir: dir, Sync: sync, Interval: interval, Logger: log})
	if err != nil {
		return nil, err
	}
	log.Info("messages and sessions are kept", "directory", dir, "sync", sync, "meaning", promise(sync, interval))
	return controlStore(store, dir, log), nil
}

// promise says what an acknowledgement is worth.
func promise(sync pebble.Sync, interval time.Duration) string {
	switch sync {
	case pebble.SyncInterval:
		return fmt.Sprintf("what was acknowledged in the last %s is lost in a power cut, nothing when the process is killed", interval)
	case pebble.SyncNever:
		return "what was acknowledged in about the last half minute is lost in a power cut, nothing when the process is killed"
	default:
		return "what was acknowledged is on disk"
	}
}

// ParseSync reads "always", "interval=DURATION" or "never".
func ParseSync(text string) (mode pebble.Sync, interval time.Duration, err error) {
	word, value, _ := strings.Cut(text, "=")
	mode, err = syncMode(word)
	if err == nil && (mode == pebble.SyncInterval) != (value != "") {
		err = errSync
	}
	if err == nil && value != "" {
		if interval, err = time.ParseDuration(value); err != nil || interval <= 0 {
			err = errSync
		}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("sync is %q: %w", text, errSync)
	}
	return mode, interval, nil
}

var errSync = errors.New("it must be always, interval=DURATION (such as interval=1s) or never")

func syncMode(word string) (pebble.Sync, error) {
	for _, m := range []pebble.Sync{pebble.SyncAlways, pebble.SyncInterval, pebble.SyncNever} {
		if word == m.String() {
			return m, nil
		}
	}
	return 0, errSync
}

// defaultDirectory is systemd's state directory if it gives one, the system's for root, else the user's.
func defaultDirectory() (string, error) {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		dir, _, _ = strings.Cut(dir, ":")
		return filepath.Join(dir, "data"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/nightjar/data", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "nightjar", "data"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no place for the data directory: %w; name one with --data, or keep everything in memory with --data %s", err, NoData)
	}
	return filepath.Join(home, ".local", "state", "nightjar", "data"), nil
}

// kept says what survives, for the line at the start.
func (s *Settings) kept() string {
	if s.Data == NoData {
		return "messages are kept in memory only"
	}
	return fmt.Sprintf("messages are kept in %s, sync %s", s.Data, s.Sync)
}

// newBroker is broker.New; the store is closed if there will be no broker that does so.
func newBroker(o broker.Options) (*broker.Broker, error) {
	b, err := broker.New(o)
	if err != nil && o.Store != nil {
		err = errors.Join(err, o.Store.Close())
	}
	return b, err
}

// storeFigures are the store's for $SYS; nil: it has none.
func storeFigures(store broker.Store) func() []sys.Figure {
	p, ok := store.(interface{ Stats() pebble.Stats })
	if !ok {
		return nil
	}
	return func() []sys.Figure {
		s := p.Stats()
		refusing := int64(0)
		if s.Refusing != "" {
			refusing = 1
		}
		return []sys.Figure{
			{Name: "store/bytes/disk", Value: int64(s.DiskBytes)},
			{Name: "store/bytes/free", Value: s.FreeBytes},
			{Name: "store/batches", Value: s.Batches},
			{Name: "store/batches/refused", Value: s.Refused},
			{Name: "store/commits", Value: s.Commits},
			{Name: "store/syncs", Value: s.Syncs},
			{Name: "store/syncs/p50", Value: s.SyncP50.Microseconds()},
			{Name: "store/syncs/p99", Value: s.SyncP99.Microseconds()},
			{Name: "store/refusing", Value: refusing},
			{Name: "store/reads/failed", Value: s.ReadErrors},
		}
	}
}
