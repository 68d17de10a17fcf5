package jwt

import "time"

// Options say which tokens are believed and what is read from them.
type Options struct {
	// Algorithms are those that are accepted, of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384,
	// ES512 and EdDSA. Empty: what the keys are for. "none" cannot be had. A key is used with the algorithms of its own
	// kind only, whatever the token says.
	Algorithms []string
	// SecretFile holds the secret of HMAC, the whole file, one line end at its end not counted. At least 32 bytes.
	SecretFile string
	// KeyFile holds public keys or certificates, PEM: RSA, ECDSA, Ed25519.
	KeyFile string
	// JWKS is a set of keys (RFC 7517): a file's path, or an https:// or http:// URL. A URL is read when it is first needed,
	// again every JWKSRefresh, and when a token names a key that is not known, but not more often than every JWKSMinRefresh.
	JWKS           string
	JWKSRefresh    time.Duration // 0: one hour
	JWKSMinRefresh time.Duration // 0: 30 seconds
	JWKSTimeout    time.Duration // 0: 5 seconds
	// Issuer and Audience must be the token's iss and one of its aud; empty: any.
	Issuer   string
	Audience string
	// Leeway is by how much clocks may differ for exp, nbf and iat; 0: none.
	Leeway time.Duration
	// NoExpiry accepts tokens without exp.
	NoExpiry bool
	// MaxAge refuses tokens that were issued (iat) longer ago; 0: any age.
	MaxAge time.Duration
	// UsernameClaim names the claim that becomes the user name; "": "sub". If the client gave a user name, too, it must be the
	// same, unless IgnoreUsername.
	UsernameClaim  string
	IgnoreUsername bool
	// ClientIDClaim names a claim that must be the client id; "": the client id is free.
	ClientIDClaim string
	// PublishClaim and SubscribeClaim name claims with lists of topic filters: what the client may publish to, and what it may
	// subscribe to and receive. %u and %c as whole levels are the user name and the client id. "": no such list, the ACL file
	// alone decides. With a list named here a token without it may do nothing of the kind.
	PublishClaim, SubscribeClaim string
	// Required refuses clients whose password is no token; else they are left to the other ways to log in.
	Required bool
}
