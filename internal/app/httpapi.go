package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// httpAPI serves a listener with protocol http_api: Mosquitto's read-only status, and the files of http_dir. Who may ask is
// decided as for MQTT clients, by name and password (RFC 7617); what is asked for counts as a topic to be read.
type httpAPI struct {
	v      *server
	name   string
	site   atomic.Pointer[httpSite] // as the configuration has it now
	server *http.Server
	open   atomic.Int64
}

// httpSite is what a configuration says of it.
type httpSite struct {
	c            *config.Settings
	l            *config.Listener
	certificates *broker.Certificates // nil: no TLS
}

// apiClient is Mosquitto's client id for those who ask.
const apiClient = "http-api"

// maxAPIConnections bounds the connections of a listener that does not say max_connections.
const maxAPIConnections = 100

const (
	apiTimeout  = 10 * time.Second // for a request's header, and its answer
	apiIdle     = 60 * time.Second
	apiMaxBytes = 16 << 10
)

// newHTTPAPI makes one for a socket of a configuration.
func (v *server) newHTTPAPI(s *socket) *httpAPI {
	a := &httpAPI{v: v, name: s.Name}
	a.site.Store(s.site)
	a.server = &http.Server{
		Handler: a, ReadHeaderTimeout: apiTimeout, ReadTimeout: apiTimeout, WriteTimeout: apiTimeout, IdleTimeout: apiIdle,
		MaxHeaderBytes: apiMaxBytes, ConnState: a.count,
		ErrorLog: slog.NewLogLogger(v.log.Handler(), slog.LevelDebug),
	}
	return a
}

// serve answers until the sockets are closed.
func (a *httpAPI) serve(sockets []net.Listener) error {
	results := make(chan error, len(sockets))
	for _, l := range sockets {
		if a.site.Load().certificates != nil {
			l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				return a.site.Load().certificates.Config("http/1.1").GetConfigForClient(h)
			}})
		}
		go func() { results <- a.server.Serve(l) }()
	}
	var failed error
	for range sockets {
		if err := <-results; !errors.Is(err, http.ErrServerClosed) && failed == nil {
			failed = err
			_ = a.server.Close()
		}
	}
	return failed
}

func (a *httpAPI) close() {
	_ = a.server.Close()
	if s := a.site.Load(); s.certificates != nil {
		s.certificates.Close()
	}
}

// update has another configuration hold.
func (a *httpAPI) update(s *httpSite) {
	if old := a.site.Swap(s); old.certificates != nil && old.certificates != s.certificates {
		old.certificates.Close()
	}
}

// count closes connections beyond the bound.
func (a *httpAPI) count(c net.Conn, to http.ConnState) {
	switch to {
	case http.StateNew:
		most := maxAPIConnections
		if n := a.site.Load().l.MaxConnections; n > 0 {
			most = n
		}
		if a.open.Add(1) > int64(most) {
			_ = c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		a.open.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// ServeHTTP answers GET, with Mosquitto's words.
func (a *httpAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	site := a.site.Load()
	if r.Method != http.MethodGet {
		answer(w, http.StatusMethodNotAllowed, "Invalid HTTP Method\n")
		return
	}
	if !a.may(site, r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="Nightjar API"`)
		answer(w, http.StatusUnauthorized, "Not authorised\n")
		return
	}
	switch path := r.URL.Path; {
	case path == "/api/v1/systree":
		a.json(w, r, site, a.v.systree())
	case path == "/api/v1/listeners":
		a.json(w, r, site, map[string]any{"listeners": apiListeners(site.c)})
	case path == "/api/v1/version":
		a.allowPages(w, r, site)
		answer(w, http.StatusOK, a.v.s.Version)
	case strings.HasPrefix(strings.ToLower(path), "/api/"), site.l.HTTPDir == "":
		answer(w, http.StatusNotFound, "Not found.\n")
	default:
		serveFile(w, r, site.l.HTTPDir)
	}
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}

// may tells whether whoever asks may read that.
func (a *httpAPI) may(site *httpSite, r *http.Request) bool {
	l := &broker.Login{ClientID: apiClient, Version: mqtt.V5, RemoteAddr: r.RemoteAddr, Listener: a.name}
	if user, password, ok := r.BasicAuth(); ok {
		l.HasUsername, l.Username, l.HasPassword, l.Password = true, user, true, []byte(password)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && (site.l.TLS.RequireCertificate || len(r.TLS.VerifiedChains) > 0) {
		l.Certificate = r.TLS.PeerCertificates[0]
		l.CommonName = l.Certificate.Subject.CommonName
	}
	answers := make(chan broker.Verdict, 1)
	a.v.access.Authenticate(l, func(v broker.Verdict) { answers <- v })
	ctx, cancel := context.WithTimeout(r.Context(), apiTimeout)
	defer cancel()
	select {
	case v := <-answers:
		who := &broker.Identity{ClientID: apiClient, Username: l.Username, Grant: v.Grant}
		if v.Username != "" {
			who.Username = v.Username
		}
		return v.Code == mqtt.Success && a.v.access.MayReceive(who, r.URL.Path).Allowed
	case <-ctx.Done():
		return false
	}
}

// allowPages lets web pages from elsewhere read the answer: those of websockets_origin, or, as in Mosquitto, any.
func (a *httpAPI) allowPages(w http.ResponseWriter, r *http.Request, site *httpSite) {
	origin := "*"
	if allowed := site.l.Origins; len(allowed) > 0 {
		origin = ""
		for _, o := range allowed {
			if o == r.Header.Get("Origin") {
				origin = o
			}
		}
		w.Header().Set("Vary", "Origin")
	}
	if origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
}

func (a *httpAPI) json(w http.ResponseWriter, r *http.Request, site *httpSite, v any) {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		answer(w, http.StatusInternalServerError, "Internal server error.\n")
		return
	}
	a.allowPages(w, r, site)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// systree are the figures of $SYS that are whole numbers.
func (v *server) systree() map[string]int64 {
	out := make(map[string]int64)
	_ = v.b.Retained("$SYS/broker/#", func(topic string, payload []byte) bool { // the filter is one
		text, _, _ := strings.Cut(string(payload), " seconds")
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			out[topic] = n
		}
		return true
	})
	out["$SYS/broker/uptime"] = int64(v.b.Stats().Uptime.Seconds())
	return out
}

// apiListener is a listener as the API shows it.
type apiListener struct {
	Path           string `json:"path,omitempty"`
	Port           int    `json:"port,omitempty"`
	Protocol       string `json:"protocol"`
	TLS            bool   `json:"tls"`
	MTLS           bool   `json:"mtls"`
	AllowAnonymous bool   `json:"allow_anonymous"`
}

func apiListeners(c *config.Settings) []apiListener {
	out := make([]apiListener, 0, len(c.Listeners))
	for _, l := range c.Listeners {
		protocol := l.Protocol
		if protocol == "http_api" {
			protocol = "httpapi"
		}
		out = append(out, apiListener{Path: l.Path, Port: l.Port, Protocol: protocol, TLS: l.TLS.Used(), MTLS: l.TLS.RequireCertificate,
			AllowAnonymous: l.Security.AllowAnonymous == config.Yes})
	}
	return out
}

// planHTTP is planListeners for one that runs with protocol http_api.
func (v *server) planHTTP(p *plan, c *config.Settings, l *config.Listener, a *httpAPI) error {
	if l.Protocol != "http_api" {
		return fmt.Errorf("%s: %s cannot change from protocol http_api to %s by a reload; restart the broker", l.Position, l.Name(), l.Protocol)
	}
	b, err := v.brokerListener(c, l)
	if err != nil {
		return err
	}
	if (b.Certificates == nil) != (a.site.Load().certificates == nil) {
		closeCertificates(b)
		return fmt.Errorf("%s: TLS of %s, which has protocol http_api, cannot be turned on or off by a reload; restart the broker", l.Position, l.Name())
	}
	p.http = append(p.http, httpChange{a, &httpSite{c, l, b.Certificates}})
	return nil
}

func closeCertificates(l broker.Listener) {
	if l.Certificates != nil {
		l.Certificates.Close()
	}
}

type httpChange struct {
	a  *httpAPI
	to *httpSite
}
