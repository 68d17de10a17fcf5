// Package httphook asks a web service who may connect. Whatever goes wrong refuses the client.
package httphook

import (
	"bytes"
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Request is what the service is told, as JSON.
type Request struct {
	ClientID string `json:"client_id"`
	Username string `json:"username"`
	Password string `json:"password"`
	// PasswordBytes is the password in base64 if it is not UTF-8; Password is empty then.
	PasswordBytes []byte `json:"password_base64,omitempty"`
	Address       string `json:"address"`  // without the port
	Listener      string `json:"listener"` // its name
	Protocol      string `json:"protocol"` // "3.1", "3.1.1", "5"
	CommonName    string `json:"common_name,omitempty"`
}

// Answer is what it says.
type Answer struct {
	// Result is "allow" or "deny"; anything else is an error.
	Result string `json:"result"`
	// Reason is for the broker's log.
	Reason string `json:"reason"`
	// Username replaces the client's; "": it stays.
	Username string `json:"username"`
	// Publish and Subscribe are the topic filters that the client is kept to; missing: only the ACL file decides.
	Publish   *[]string `json:"publish"`
	Subscribe *[]string `json:"subscribe"`
}

// Allowed tells whether the client may connect.
func (a *Answer) Allowed() bool { return a.Result == "allow" }

// ErrUnavailable is a service that gives no answer, or none that can be understood: it says nothing about the client.
var ErrUnavailable = errors.New("the HTTP hook gives no answer")

// maxAnswer bounds what is read of an answer, bytes.
const maxAnswer = 64 << 10

// Hook asks. It may be used by several goroutines; how many at a time is for the caller to bound.
type Hook struct {
	o      Options
	header http.Header
	client *http.Client
	now    func() time.Time
	cache  cache
}

// New checks the options. It does not ask yet. now nil: time.Now.
func New(o Options, now func() time.Time) (*Hook, error) {
	o = o.Complete()
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("HTTP hook: %q is no http:// or https:// URL", o.URL)
	}
	if now == nil {
		now = time.Now
	}
	h := &Hook{o: o, header: http.Header{}, now: now}
	for _, line := range o.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, errors.New("HTTP hook: a header is not of the form 'Name: value'")
		}
		h.header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: o.Concurrent, MaxConnsPerHost: o.Concurrent, IdleConnTimeout: 90 * time.Second,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, MaxResponseHeaderBytes: maxAnswer, ForceAttemptHTTP2: true,
	}
	if o.CAFile != "" {
		text, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("HTTP hook: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("HTTP hook: %s: there is no certificate in it", o.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	h.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("it redirects, and a password is not sent on") // whoever answers for the URL must answer
	}}
	h.cache.init(o.CacheEntries)
	return h, nil
}

// Bounds are how many requests may be under way, and how many logins may wait for one.
func (h *Hook) Bounds() (concurrent, waiting int) { return h.o.Concurrent, h.o.Waiting }

// Close gives the connections back.
func (h *Hook) Close() { h.client.CloseIdleConnections() }

// Remembered returns the answer to the same question if it still holds.
func (h *Hook) Remembered(r *Request) *Answer {
	if h.o.CacheTime <= 0 && h.o.CacheRefusals <= 0 {
		return nil
	}
	return h.cache.get(h.cache.digest(r), h.now())
}

// Ask asks, and waits for the answer. An error is no answer; errors.Is(err, ErrUnavailable).
func (h *Hook) Ask(ctx context.Context, r *Request) (*Answer, error) {
	a, err := h.ask(ctx, r)
	if err != nil {
		// The client's error has the URL in it, which may hold a password of its own.
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	hold := h.o.CacheTime
	if !a.Allowed() {
		hold = h.o.CacheRefusals
	}
	if hold > 0 {
		h.cache.put(h.cache.digest(r), a, h.now().Add(hold))
	}
	return a, nil
}

func (h *Hook) ask(ctx context.Context, r *Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.o.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range h.header {
		req.Header[k] = v
	}
	if host := h.header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	res, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return &Answer{Result: "deny", Reason: "the HTTP hook answers " + res.Status}, nil
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, errors.New("it answers " + res.Status)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("its answer is longer than %d bytes", maxAnswer)
	}
	var a Answer
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("its answer is no JSON: %w", err)
	}
	if a.Result != "allow" && a.Result != "deny" {
		return nil, errors.New(`its answer has no "result" that is "allow" or "deny"`)
	}
	if err := a.valid(); err != nil {
		return nil, err
	}
	return &a, nil
}

// maxFilters bounds what an answer can make the broker keep.
const maxFilters = 1000

func (a *Answer) valid() error {
	if len(a.Username) > 65535 || topic.ValidCharacters([]byte(a.Username)) != nil {
		return errors.New("the user name in its answer is too long or has characters that MQTT does not allow")
	}
	for _, list := range []*[]string{a.Publish, a.Subscribe} {
		if list == nil {
			continue
		}
		if len(*list) > maxFilters {
			return fmt.Errorf("its answer has more than %d topic filters", maxFilters)
		}
		for _, f := range *list {
			if topic.ValidFilter([]byte(f)) != nil {
				return fmt.Errorf("its answer has %q for a topic filter", f)
			}
		}
	}
	return nil
}

// cache holds answers by a keyed digest of the question, so that it holds no password.
type cache struct {
	key   [32]byte
	limit int

	mu      sync.Mutex
	entries map[[32]byte]*list.Element
	order   list.List // of *cached, the last used in front
}

type cached struct {
	digest [32]byte
	answer *Answer
	until  time.Time
}

func (c *cache) init(limit int) {
	_, _ = rand.Read(c.key[:]) // never fails
	c.limit, c.entries = limit, map[[32]byte]*list.Element{}
}

// digest tells any two questions apart: each field goes in with its length.
func (c *cache) digest(r *Request) (d [32]byte) {
	h := hmac.New(sha256.New, c.key[:])
	for _, s := range []string{r.ClientID, r.Username, r.Password, string(r.PasswordBytes), r.Address, r.Listener, r.Protocol, r.CommonName} {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	h.Sum(d[:0])
	return d
}

func (c *cache) get(d [32]byte, now time.Time) *Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[d]
	if e == nil {
		return nil
	}
	x := e.Value.(*cached) //nolint:forcetypeassert // it holds nothing else
	if !now.Before(x.until) {
		c.remove(e)
		return nil
	}
	c.order.MoveToFront(e)
	return x.answer
}

func (c *cache) put(d [32]byte, a *Answer, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[d]; e != nil {
		c.remove(e)
	}
	for len(c.entries) >= c.limit {
		c.remove(c.order.Back())
	}
	c.entries[d] = c.order.PushFront(&cached{d, a, until})
}

func (c *cache) remove(e *list.Element) {
	delete(c.entries, e.Value.(*cached).digest) //nolint:forcetypeassert // it holds nothing else
	c.order.Remove(e)
}
