package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxStale is how long keys are used that can no longer be fetched. It bounds how long one that the issuer has taken back
// because it was stolen is believed, if an attacker can keep us from reading that.
const maxStale = 24 * time.Hour

func isURL(s string) bool { return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") }

// remote is a set of keys on a web server.
type remote struct {
	url                    string
	refresh, least, within time.Duration
	client                 *http.Client
	log                    *slog.Logger
	now                    func() time.Time

	held atomic.Pointer[held]
	busy atomic.Bool // somebody refreshes in the background
	mu   sync.Mutex  // held while fetching
	last time.Time   // of the last try; guarded by mu
	bad  error       // how it ended
}

// held is what was fetched.
type held struct {
	keys []key
	at   time.Time
}

func newRemote(o *Options, log *slog.Logger, now func() time.Time) *remote {
	r := &remote{url: o.JWKS, refresh: o.JWKSRefresh, least: o.JWKSMinRefresh, within: o.JWKSTimeout, log: log, now: now}
	if r.refresh <= 0 {
		r.refresh = time.Hour
	}
	if r.least <= 0 {
		r.least = 30 * time.Second
	}
	if r.within <= 0 {
		r.within = 5 * time.Second
	}
	r.client = &http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return errors.New("it redirects from https to " + req.URL.Scheme)
		}
		if len(via) > 3 {
			return errors.New("it redirects too often")
		}
		return nil
	}}
	return r
}

// current returns the keys. It waits for the server only if there are none, or if they are too old to be used at all.
func (r *remote) current(ctx context.Context) ([]key, error) {
	h := r.held.Load()
	now := r.now()
	if h == nil || now.Sub(h.at) > max(maxStale, r.refresh) {
		return r.fetch(ctx)
	}
	if now.Sub(h.at) > r.refresh && r.busy.CompareAndSwap(false, true) {
		go func() {
			defer r.busy.Store(false)
			_, _ = r.fetch(context.Background()) // it logs; the old keys do for now
		}()
	}
	return h.keys, nil
}

// renew returns the keys after another look at the server, if the last one is not too recent.
func (r *remote) renew(ctx context.Context) ([]key, error) { return r.fetch(ctx) }

// fetch reads the keys, unless that was tried a moment ago.
func (r *remote) fetch(ctx context.Context) ([]key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); r.last.IsZero() || now.Sub(r.last) >= r.least || now.Before(r.last) {
		r.last = now
		keys, err := r.get(ctx)
		r.bad = err
		if err != nil {
			r.log.Error("the keys for tokens cannot be read", "url", r.url, "error", err)
		} else {
			r.held.Store(&held{keys, now})
		}
	}
	h := r.held.Load()
	if h == nil || r.now().Sub(h.at) > max(maxStale, r.refresh) {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, r.url, r.bad)
	}
	return h.keys, nil
}

func (r *remote) get(ctx context.Context) ([]key, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.within) // others wait for it, too
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxJWKSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxJWKSize {
		return nil, fmt.Errorf("it is larger than %d bytes", maxJWKSize)
	}
	return parseJWKS(b, false)
}
