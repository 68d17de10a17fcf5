// Package jwt checks JSON Web Tokens (RFC 7519) that clients send as their password, and fetches the keys they are signed
// with. The signatures are github.com/golang-jwt/jwt's work; which key may be used with which algorithm is decided here.
package jwt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Claims are what a token says that matters here.
type Claims struct {
	Username string
	// ClientID is the client id that the client must have; "": any.
	ClientID string
	// Publish and Subscribe are the topic filters for it, if Lists says that there are such lists.
	Publish, Subscribe           []string
	ListsPublish, ListsSubscribe bool
	// Expires is when the token does; the zero time: never.
	Expires time.Time
}

// ErrNoToken is a password that does not look like a token.
var ErrNoToken = errors.New("the password is no token")

// ErrUnavailable is a set of keys that cannot be had now: it says nothing about the token.
var ErrUnavailable = errors.New("the keys for tokens cannot be had")

// Verifier checks tokens. It may be used by several goroutines.
type Verifier struct {
	o       Options
	keys    []key // of SecretFile and KeyFile
	remote  *remote
	methods []string
	now     func() time.Time
}

var algorithms = map[string]kind{
	"HS256": hmacKey, "HS384": hmacKey, "HS512": hmacKey,
	"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
	"ES256": ecdsaKey, "ES384": ecdsaKey, "ES512": ecdsaKey, "EdDSA": ed25519Key,
}

// New reads the keys that are in files. now nil: time.Now.
func New(o Options, log *slog.Logger, now func() time.Time) (*Verifier, error) {
	if now == nil {
		now = time.Now
	}
	v := &Verifier{o: o, now: now}
	for _, a := range o.Algorithms {
		if _, ok := algorithms[a]; !ok {
			return nil, fmt.Errorf("jwt: algorithm '%s' is not known; known are HS256, RS256, PS256, ES256, the same with 384 and 512, and EdDSA", a)
		}
	}
	if err := v.load(log); err != nil {
		return nil, err
	}
	v.methods = o.Algorithms
	if len(v.methods) == 0 {
		for name, kind := range algorithms {
			if v.remote != nil && kind != hmacKey || slices.ContainsFunc(v.keys, func(k key) bool { return k.kind == kind }) {
				v.methods = append(v.methods, name)
			}
		}
	}
	if v.o.UsernameClaim == "" {
		v.o.UsernameClaim = "sub"
	}
	return v, nil
}

func (v *Verifier) load(log *slog.Logger) error {
	o := &v.o
	if o.SecretFile == "" && o.KeyFile == "" && o.JWKS == "" {
		return errors.New("jwt: there is no key: give a secret file, a key file or a JWKS")
	}
	for _, from := range []struct {
		path string
		read func(string) ([]key, error)
	}{{o.SecretFile, readSecret}, {o.KeyFile, readPEM}} {
		if from.path == "" {
			continue
		}
		keys, err := from.read(from.path)
		if err != nil {
			return fmt.Errorf("jwt: %w", err)
		}
		v.keys = append(v.keys, keys...)
	}
	switch {
	case o.JWKS == "":
	case isURL(o.JWKS):
		v.remote = newRemote(o, log, v.now)
	default:
		keys, err := readJWKS(o.JWKS)
		if err != nil {
			return fmt.Errorf("jwt: %w", err)
		}
		v.keys = append(v.keys, keys...)
	}
	return nil
}

// Looks tells whether a password has the form of a token: three parts, of which the first begins like {" in base64.
func Looks(password []byte) bool {
	return strings.HasPrefix(string(password[:min(len(password), 3)]), "eyJ") && strings.Count(string(password), ".") == 2
}

// Remote tells whether Verify may have to wait for a web server.
func (v *Verifier) Remote() bool { return v.remote != nil }

// Required tells whether every client has to have a token.
func (v *Verifier) Required() bool { return v.o.Required }

// Verify checks a token and reads it. username is what the client calls itself, "" for nothing.
func (v *Verifier) Verify(ctx context.Context, token []byte, username string) (*Claims, error) {
	if !Looks(token) {
		return nil, ErrNoToken
	}
	text := string(token)
	keys := v.keys
	if v.remote != nil {
		more, err := v.remote.current(ctx)
		if err != nil && len(keys) == 0 {
			return nil, err
		}
		keys = append(keys[:len(keys):len(keys)], more...)
	}
	claims, err := v.parse(text, keys)
	if v.remote != nil && errors.Is(err, errNoKey) {
		// The issuer may have a new key.
		more, refreshErr := v.remote.renew(ctx)
		if refreshErr != nil {
			return nil, refreshErr
		}
		claims, err = v.parse(text, append(v.keys[:len(v.keys):len(v.keys)], more...))
	}
	if err != nil {
		return nil, short(err)
	}
	return v.read(claims, username)
}

var errNoKey = errors.New("no key fits the token")

func (v *Verifier) parse(text string, keys []key) (jwt.MapClaims, error) {
	o := []jwt.ParserOption{jwt.WithValidMethods(v.methods), jwt.WithTimeFunc(v.now), jwt.WithLeeway(v.o.Leeway), jwt.WithIssuedAt(), jwt.WithStrictDecoding()}
	if !v.o.NoExpiry {
		o = append(o, jwt.WithExpirationRequired())
	}
	if v.o.Issuer != "" {
		o = append(o, jwt.WithIssuer(v.o.Issuer))
	}
	if v.o.Audience != "" {
		o = append(o, jwt.WithAudience(v.o.Audience))
	}
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(o...).ParseWithClaims(text, claims, func(t *jwt.Token) (any, error) { return choose(t, keys) })
	return claims, err
}

// choose finds the keys that a token may be signed with: of the kind that its algorithm is for, and with the id it names.
// The token's word on its algorithm never changes what a key is used for.
func choose(t *jwt.Token, keys []key) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("the token has critical headers, which are not known here (RFC 7515 §4.1.11)")
	}
	name := t.Method.Alg()
	id, named := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, k := range keys {
		if !k.fits(name) || named && k.id != "" && k.id != id {
			continue
		}
		set.Keys = append(set.Keys, k.key)
	}
	if len(set.Keys) == 0 {
		return nil, errNoKey
	}
	return set, nil
}

// read takes what matters out of the claims.
func (v *Verifier) read(c jwt.MapClaims, username string) (*Claims, error) {
	out := &Claims{}
	if exp, err := c.GetExpirationTime(); err == nil && exp != nil {
		out.Expires = exp.Add(v.o.Leeway)
	}
	if v.o.MaxAge > 0 {
		iat, err := c.GetIssuedAt()
		if err != nil || iat == nil {
			return nil, errors.New("the token does not say when it was issued (iat)")
		}
		if v.now().Sub(iat.Time) > v.o.MaxAge+v.o.Leeway {
			return nil, errors.New("the token was issued too long ago")
		}
	}
	var err error
	if out.Username, err = text(c, v.o.UsernameClaim); err != nil {
		return nil, err
	}
	if username != "" && username != out.Username && !v.o.IgnoreUsername {
		return nil, errors.New("the client's user name is not the token's")
	}
	if v.o.ClientIDClaim != "" {
		if out.ClientID, err = text(c, v.o.ClientIDClaim); err != nil {
			return nil, err
		}
	}
	if out.Publish, err = filters(c, v.o.PublishClaim); err != nil {
		return nil, err
	}
	if out.Subscribe, err = filters(c, v.o.SubscribeClaim); err != nil {
		return nil, err
	}
	out.ListsPublish, out.ListsSubscribe = v.o.PublishClaim != "", v.o.SubscribeClaim != ""
	return out, nil
}

// text reads a claim that must be there and be a string that MQTT can carry.
func text(c jwt.MapClaims, name string) (string, error) {
	s, ok := c[name].(string)
	if !ok || s == "" {
		return "", fmt.Errorf("the token has no claim '%s' that is a text", name)
	}
	if len(s) > 65535 || topic.ValidCharacters([]byte(s)) != nil {
		return "", fmt.Errorf("the token's claim '%s' is too long or has characters that MQTT does not allow", name)
	}
	return s, nil
}

// maxFilters bounds what a token can make the broker keep.
const maxFilters = 1000

// filters reads a list of topic filters; a text is a list of one.
func filters(c jwt.MapClaims, name string) ([]string, error) {
	if name == "" {
		return nil, nil
	}
	var list []any
	switch x := c[name].(type) {
	case nil:
		return nil, nil
	case string:
		list = []any{x}
	case []any:
		list = x
	default:
		return nil, fmt.Errorf("the token's claim '%s' is no list of topic filters", name)
	}
	if len(list) > maxFilters {
		return nil, fmt.Errorf("the token's claim '%s' has more than %d topic filters", name, maxFilters)
	}
	out := make([]string, 0, len(list))
	for _, x := range list {
		s, _ := x.(string)
		if topic.ValidFilter([]byte(s)) != nil {
			return nil, fmt.Errorf("the token's claim '%s' has an entry that is no topic filter", name)
		}
		out = append(out, s)
	}
	return out, nil
}

// short says the library's errors in few words, none of them the token's own.
func short(err error) error {
	for _, e := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenExpired, "the token has expired"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "the token was issued in the future"},
		{jwt.ErrTokenInvalidIssuer, "the token is from another issuer"},
		{jwt.ErrTokenInvalidAudience, "the token is for another audience"},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks a claim that is required"},
		{errNoKey, "the token is signed with a key that is not known here"},
		{jwt.ErrTokenSignatureInvalid, "the token's signature is wrong, or its algorithm is not accepted"},
		{jwt.ErrTokenUnverifiable, "the token cannot be verified"},
		{jwt.ErrTokenMalformed, "the token is malformed"},
	} {
		if errors.Is(err, e.is) {
			return errors.New(e.text)
		}
	}
	return errors.New("the token is not valid")
}

// Adopt takes over the keys that another Verifier with the same options has fetched.
func (v *Verifier) Adopt(old *Verifier) {
	if v.remote != nil && old.remote != nil {
		v.remote = old.remote
	}
}
