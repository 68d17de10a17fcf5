package config

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

// ownOptions are limits that Mosquitto does not have. Those of `nightjar serve` have the same names, with hyphens.
var ownOptions = []*Option{
	{Name: "data_dir", Own: true, Takes: "DIRECTORY", def: "nightjar.data in persistence_location", About: "Where the store is kept.", bind: func(t *target) any { return &t.s.Store.DataDir }},
	{Name: "sync", Own: true, Takes: "always|interval TIME|never", def: "always", parse: parseSync, About: "When what is acknowledged reaches the disk: always before the acknowledgement; at most TIME later (lost: what was acknowledged since, if the machine stops); when the system likes.",
		bind: func(t *target) any { return &t.s.Store.Sync }},
	{Name: "engine", Own: true, words: []string{"epoll", "goroutine"}, def: "the platform's best", About: "What moves the bytes.", bind: func(t *target) any { return &t.s.Own.Engine }},
	{Name: "loops", Own: true, def: "one per core", check: between("loops", 0, 4096), About: "Event loops.", bind: func(t *target) any { return &t.s.Own.Loops }},
	{Name: "connect_timeout", Own: true, Live: true, check: positive("connect_timeout"), About: "Time a new connection has to send CONNECT.", bind: func(t *target) any { return &t.s.Own.ConnectTimeout }},
	{Name: "max_connect_size", Own: true, Live: true, check: sizeBetween("max_connect_size", 20, 268_435_460), About: "Largest CONNECT packet: what a stranger can make the broker hold.", bind: func(t *target) any { return &t.s.Own.MaxConnect }},
	{Name: "max_opening_connections", Own: true, Live: true, check: between("max_opening_connections", 0, math.MaxInt32), About: "Connections that may be without CONNECT at a time.", bind: func(t *target) any { return &t.s.Own.MaxOpening }},
	{Name: "packet_timeout", Own: true, Live: true, check: positive("packet_timeout"), About: "Time a packet may take to arrive, plus what packet_rate gives.", bind: func(t *target) any { return &t.s.Own.PacketTimeout }},
	{Name: "packet_rate", Own: true, Live: true, check: sizeBetween("packet_rate", 1, math.MaxInt32), About: "Bytes a second at which a large packet must arrive at least.", bind: func(t *target) any { return &t.s.Own.PacketRate }},
	{Name: "receive_maximum", Own: true, Live: true, check: between("receive_maximum", 1, math.MaxUint16), def: "as max_inflight_messages", About: "QoS 1 and 2 messages an MQTT 5 client may have under way towards the broker.", bind: func(t *target) any { return &t.s.Own.ReceiveMaximum }},
	{Name: "max_subscriptions", Own: true, Live: true, check: between("max_subscriptions", 0, math.MaxInt32), About: "Subscriptions per client, of about 150 bytes each; those beyond are refused (MQTT 5: 0x97); 0: any number.", bind: func(t *target) any { return &t.s.Own.MaxSubscriptions }},
	{Name: "max_outbox_bytes", Own: true, Live: true, check: sizeBetween("max_outbox_bytes", 4096, math.MaxInt32), About: "Bytes that wait for a client's socket before QoS 0 is dropped.", bind: func(t *target) any { return &t.s.Own.OutboxBytes }},
	{Name: "max_retained_bytes", Own: true, Live: true, About: "Bytes that the retained messages of all topics take in memory, 128 for each beside topic, payload and properties; beyond it a message is refused (MQTT 5: 0x97; before, acknowledged and dropped), so that one client cannot fill the memory; 0: any number.", bind: func(t *target) any { return &t.s.Own.RetainedBytes }},
	{Name: "match_cache", Own: true, check: between("match_cache", 1, math.MaxInt32), About: "Topics each loop remembers the receivers of.", bind: func(t *target) any { return &t.s.Own.MatchCache }},
	{Name: "shutdown_time", Own: true, Live: true, check: positive("shutdown_time"), About: "How long clients may take to read what they were sent last.", bind: func(t *target) any { return &t.s.Own.ShutdownTime }},
	{Name: "profile", Own: true, Takes: "ADDRESS:PORT", def: "off", About: "A loopback address for Go's profiler.", bind: func(t *target) any { return &t.s.Own.Profile }},

	{Name: "max_publish_rate", Own: true, Live: true, Takes: "messages a second", check: notNegative("max_publish_rate"), About: "Messages that a client may publish; 0: any number.", bind: func(t *target) any { return &t.s.Rate.Publish }},
	{Name: "max_byte_rate", Own: true, Live: true, Takes: "bytes a second", About: "Bytes that a client may send; 0: any number.", bind: func(t *target) any { return &t.s.Rate.Bytes }},
	{Name: "max_subscribe_rate", Own: true, Live: true, Takes: "subscriptions a second", check: notNegative("max_subscribe_rate"), About: "Subscriptions that a client may make; 0: any number.", bind: func(t *target) any { return &t.s.Rate.Subscribe }},
	{Name: "max_connect_rate", Own: true, Live: true, Takes: "connections a minute", check: notNegative("max_connect_rate"), About: "How often a client id may connect, all at once if need be; what is beyond is refused (MQTT 5: 0x9F); 0: any number.", bind: func(t *target) any { return &t.s.Rate.Connect }},
	{Name: "max_user_publish_rate", Own: true, Live: true, Takes: "messages a second", check: notNegative("max_user_publish_rate"), About: "max_publish_rate for all clients of a user together.", bind: func(t *target) any { return &t.s.Rate.UserPublish }},
	{Name: "max_user_byte_rate", Own: true, Live: true, Takes: "bytes a second", About: "max_byte_rate for all clients of a user together.", bind: func(t *target) any { return &t.s.Rate.UserBytes }},
	{Name: "max_user_subscribe_rate", Own: true, Live: true, Takes: "subscriptions a second", check: notNegative("max_user_subscribe_rate"), About: "max_subscribe_rate for all clients of a user together.", bind: func(t *target) any { return &t.s.Rate.UserSubscribe }},
	{Name: "max_user_connect_rate", Own: true, Live: true, Takes: "connections a minute", check: notNegative("max_user_connect_rate"), About: "max_connect_rate for all clients of a user together.", bind: func(t *target) any { return &t.s.Rate.UserConnect }},
	{Name: "rate_limit_action", Own: true, Live: true, words: []string{"slow", "refuse", "disconnect"}, About: "What happens above a rate: the client is read more slowly and nothing is lost; or what it sends is refused (MQTT 5: 0x97; before, a message is acknowledged and dropped); or it is disconnected (MQTT 5: 0x96). The first rate that a reload sets counts for clients that connect from then on.", bind: func(t *target) any { return &t.s.Rate.Action }},

	{Name: "auth_throttle", Own: true, Live: true, About: "Let those wait who guess passwords.", bind: func(t *target) any { return &t.s.Throttle.Throttle }},
	{Name: "auth_throttle_free", Own: true, Live: true, check: between("auth_throttle_free", 1, math.MaxInt32), About: "Failures in a row that have no consequence.", bind: func(t *target) any { return &t.s.Throttle.Free }},
	{Name: "auth_throttle_first", Own: true, Live: true, check: positive("auth_throttle_first"), About: "How long the first delay is; each further one is twice as long.", bind: func(t *target) any { return &t.s.Throttle.First }},
	{Name: "auth_throttle_longest", Own: true, Live: true, check: positive("auth_throttle_longest"), About: "The longest delay.", bind: func(t *target) any { return &t.s.Throttle.Longest }},
	{Name: "auth_throttle_forget", Own: true, Live: true, check: positive("auth_throttle_forget"), About: "When an address and a user are forgotten after their last failure.", bind: func(t *target) any { return &t.s.Throttle.Forget }},
	{Name: "auth_throttle_entries", Own: true, check: between("auth_throttle_entries", 1, math.MaxInt32), About: "Addresses, and apart from them users, that are remembered.", bind: func(t *target) any { return &t.s.Throttle.Entries }},
	{Name: "auth_hashers", Own: true, def: "half the cores", check: between("auth_hashers", 0, 4096), About: "Goroutines that compute password hashes.", bind: func(t *target) any { return &t.s.Throttle.Hashers }},
	{Name: "auth_hash_queue", Own: true, check: between("auth_hash_queue", 1, math.MaxInt32), About: "Logins that may wait for them; those beyond are refused as \"server busy\".", bind: func(t *target) any { return &t.s.Throttle.HashQueue }},
	{Name: "auth_remember_logins", Own: true, check: between("auth_remember_logins", -1, math.MaxInt32), About: "Logins that were right and are not computed again, kept as a keyed digest; -1: none.", bind: func(t *target) any { return &t.s.Throttle.RememberLogins }},
}

// accessOptions are further ways to log in.
var accessOptions = []*Option{
	{Name: "jwt_secret_file", Own: true, Scope: Securing, Live: true, Takes: "PATH", About: "The secret of tokens signed by HMAC, at least 32 bytes.", bind: func(t *target) any { return &t.sec.JWT.SecretFile }},
	{Name: "jwt_key_file", Own: true, Scope: Securing, Live: true, Takes: "PATH", About: "Public keys or certificates of those who sign tokens, PEM: RSA, ECDSA, Ed25519.", bind: func(t *target) any { return &t.sec.JWT.KeyFile }},
	{Name: "jwt_jwks", Own: true, Scope: Securing, Live: true, Takes: "PATH or URL", About: "A set of keys (RFC 7517).", bind: func(t *target) any { return &t.sec.JWT.JWKS }},
	{Name: "jwt_jwks_refresh", Own: true, Scope: Securing, Live: true, check: positive("jwt_jwks_refresh"), About: "How often a URL is read again.", bind: func(t *target) any { return &t.sec.JWT.JWKSRefresh }},
	{Name: "jwt_jwks_min_refresh", Own: true, Scope: Securing, Live: true, check: positive("jwt_jwks_min_refresh"), About: "How often at most, for tokens that name a key which is not known.", bind: func(t *target) any { return &t.sec.JWT.JWKSMinRefresh }},
	{Name: "jwt_jwks_timeout", Own: true, Scope: Securing, Live: true, check: positive("jwt_jwks_timeout"), About: "How long reading it may take.", bind: func(t *target) any { return &t.sec.JWT.JWKSTimeout }},
	{Name: "jwt_algorithm", Own: true, Scope: Securing, Live: true, def: "what the keys are for", parse: parseAlgorithm, Takes: "NAME", About: "An algorithm that is accepted, such as ES256, repeatable.", bind: func(t *target) any { return &t.sec.JWT.Algorithms }},
	{Name: "jwt_issuer", Own: true, Scope: Securing, Live: true, Takes: "TEXT", About: "What iss must be.", bind: func(t *target) any { return &t.sec.JWT.Issuer }},
	{Name: "jwt_audience", Own: true, Scope: Securing, Live: true, Takes: "TEXT", About: "What aud must have.", bind: func(t *target) any { return &t.sec.JWT.Audience }},
	{Name: "jwt_leeway", Own: true, Scope: Securing, Live: true, About: "By how much clocks may differ.", bind: func(t *target) any { return &t.sec.JWT.Leeway }},
	{Name: "jwt_max_age", Own: true, Scope: Securing, Live: true, About: "How long ago a token may have been issued; 0: any time.", bind: func(t *target) any { return &t.sec.JWT.MaxAge }},
	{Name: "jwt_no_expiry", Own: true, Scope: Securing, Live: true, About: "Take tokens without exp.", bind: func(t *target) any { return &t.sec.JWT.NoExpiry }},
	{Name: "jwt_username_claim", Own: true, Scope: Securing, Live: true, Takes: "NAME", About: "The claim that is the user name.", bind: func(t *target) any { return &t.sec.JWT.UsernameClaim }},
	{Name: "jwt_ignore_username", Own: true, Scope: Securing, Live: true, About: "The user name that the client gives need not be that of the token.", bind: func(t *target) any { return &t.sec.JWT.IgnoreUsername }},
	{Name: "jwt_clientid_claim", Own: true, Scope: Securing, Live: true, Takes: "NAME", About: "The claim that the client id must be.", bind: func(t *target) any { return &t.sec.JWT.ClientIDClaim }},
	{Name: "jwt_publish_claim", Own: true, Scope: Securing, Live: true, Takes: "NAME", About: "The claim that lists what may be published to.", bind: func(t *target) any { return &t.sec.JWT.PublishClaim }},
	{Name: "jwt_subscribe_claim", Own: true, Scope: Securing, Live: true, Takes: "NAME", About: "The claim that lists what may be read.", bind: func(t *target) any { return &t.sec.JWT.SubscribeClaim }},
	{Name: "jwt_required", Own: true, Scope: Securing, Live: true, About: "Refuse clients whose password is no token.", bind: func(t *target) any { return &t.sec.JWT.Required }},

	{Name: "auth_http_url", Own: true, Scope: Securing, Live: true, Takes: "URL", parse: parseHTTPURL, About: "A web service that is asked about those whom neither token nor password file decide on.", bind: func(t *target) any { return &t.sec.HTTP.URL }},
	{Name: "auth_http_header", Own: true, Scope: Securing, Live: true, Takes: "NAME: VALUE", About: "Goes with each request, repeatable.", bind: func(t *target) any { return &t.sec.HTTP.Headers }},
	{Name: "auth_http_cafile", Own: true, Scope: Securing, Live: true, Takes: "PATH", def: "the system's", About: "The authorities of its certificate.", bind: func(t *target) any { return &t.sec.HTTP.CAFile }},
	{Name: "auth_http_timeout", Own: true, Scope: Securing, Live: true, check: positive("auth_http_timeout"), About: "How long an answer may take; without one the client is refused.", bind: func(t *target) any { return &t.sec.HTTP.Timeout }},
	{Name: "auth_http_concurrent", Own: true, Scope: Securing, Live: true, check: between("auth_http_concurrent", 1, 65536), About: "Requests at a time.", bind: func(t *target) any { return &t.sec.HTTP.Concurrent }},
	{Name: "auth_http_waiting", Own: true, Scope: Securing, Live: true, check: between("auth_http_waiting", 1, math.MaxInt32), About: "Logins that may wait for one; those beyond are refused.", bind: func(t *target) any { return &t.sec.HTTP.Waiting }},
	{Name: "auth_http_cache", Own: true, Scope: Securing, Live: true, About: "How long a yes holds; 0: not at all.", bind: func(t *target) any { return &t.sec.HTTP.CacheTime }},
	{Name: "auth_http_cache_refusals", Own: true, Scope: Securing, Live: true, About: "How long a no holds; 0: not at all.", bind: func(t *target) any { return &t.sec.HTTP.CacheRefusals }},
	{Name: "auth_http_cache_entries", Own: true, Scope: Securing, Live: true, check: between("auth_http_cache_entries", 1, math.MaxInt32), About: "Answers that are kept.", bind: func(t *target) any { return &t.sec.HTTP.CacheEntries }},
}

// sizeBetween is between for sizes, whose error has no words of Mosquitto's.
func sizeBetween(name string, low, high int64) func(int64) (int64, *fault) {
	return between(name, low, high)
}

func notNegative(name string) func(int64) (int64, *fault) { return between(name, 0, math.MaxInt32) }

func positive(name string) func(int64) (int64, *fault) {
	return func(n int64) (int64, *fault) {
		if n <= 0 {
			return 0, faultf(fmt.Sprintf("Invalid '%s' value (%s).", name, time.Duration(n)), "must be above 0")
		}
		return n, nil
	}
}

func parseSync(p *parser, value string) *fault {
	words := strings.Fields(value)
	st := &p.s.Store
	switch words[0] {
	case "always", "never":
		st.Sync = Sync{Mode: words[0]}
		return nil
	case "interval":
		if len(words) < 2 {
			return faultf("", "interval needs a time behind it: sync interval 100ms")
		}
		d, f := (&Option{Name: "sync", check: positive("sync")}).parseDuration(words[1])
		if f == nil {
			st.Sync = Sync{Mode: "interval", Interval: d}
		}
		return f
	}
	return faultf("", "%q is not one of always, interval TIME, never", words[0])
}

func (p *parser) security() *Security {
	if p.s.PerListener {
		return &p.l.Security
	}
	return &p.s.Security
}

func parseAlgorithm(p *parser, value string) *fault {
	const all = "HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA"
	word := firstWord(value)
	for _, a := range strings.Fields(all) {
		if a == word {
			j := &p.security().JWT
			j.Algorithms = append(j.Algorithms, a)
			return nil
		}
	}
	return faultf("", "%q is not one of %s", word, strings.ReplaceAll(all, " ", ", "))
}

func parseHTTPURL(p *parser, value string) *fault {
	if !strings.HasPrefix(value, "http://") && !strings.HasPrefix(value, "https://") {
		return faultf("", "the value is not a URL that begins with https:// or http://")
	}
	p.security().HTTP.URL = value
	return nil
}

func parseTrusted(p *parser, value string) *fault {
	for _, word := range strings.Fields(value) {
		if word[0] == '#' {
			break
		}
		_, err := netip.ParsePrefix(word)
		if err != nil {
			if _, err = netip.ParseAddr(word); err != nil {
				return faultf("", "%q is no address and no network such as 10.0.0.0/8", word)
			}
		}
		p.l.ProxyTrusted = append(p.l.ProxyTrusted, word)
	}
	return nil
}
