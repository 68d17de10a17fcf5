package pebble

import (
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

// reopened is a store that is closed and opened again when its content is asked for.
type reopened struct {
	*Store
	t   *testing.T
	o   Options
	run uint64
}

// testOptions are for a store in memory that may not fail.
func testOptions(t *testing.T) Options {
	return Options{
		Dir: "store", FS: vfs.NewMem(), MinFree: -1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
}

func openReopened(t *testing.T, o Options) *reopened {
	t.Helper()
	r := &reopened{t: t, o: o}
	r.State()
	return r
}

func (r *reopened) State() *storetest.State {
	r.t.Helper()
	if r.Store != nil {
		if err := r.Store.Close(); err != nil {
			r.t.Fatalf("Close: %v", err)
		}
	}
	s, err := Open(r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	st, err := storetest.Read(s)
	if err != nil {
		r.t.Fatal(err)
	}
	if st.Run <= r.run {
		r.t.Errorf("run %d follows %d", st.Run, r.run)
	}
	r.Store, r.run = s, st.Run
	return st
}

func TestContract(t *testing.T) {
	for _, sync := range []Sync{SyncAlways, SyncInterval, SyncNever} {
		t.Run(sync.String(), func(t *testing.T) {
			storetest.Contract(t, func(t *testing.T) session.Store {
				o := testOptions(t)
				o.Sync = sync
				return openReopened(t, o)
			})
		})
	}
}

func TestContractKept(t *testing.T) {
	storetest.ContractKept(t, func(t *testing.T) storetest.Kept { return openReopened(t, testOptions(t)) })
}
