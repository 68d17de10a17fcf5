package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
)

type kind byte

const (
	hmacKey kind = iota + 1
	rsaKey
	ecdsaKey
	ed25519Key
)

// key is one that signatures are checked with.
type key struct {
	kind kind
	id   string // kid; "": none
	alg  string // the only algorithm it is for; "": any of its kind
	key  any
}

// fits tells whether a signature of this algorithm may be checked with the key.
func (k *key) fits(alg string) bool {
	if algorithms[alg] != k.kind || k.alg != "" && k.alg != alg {
		return false
	}
	if e, ok := k.key.(*ecdsa.PublicKey); ok {
		return map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[alg] == e.Curve
	}
	return true
}

// Least strengths.
const (
	minSecret  = 32 // bytes (RFC 7518 §3.2)
	minRSA     = 2048
	maxRSA     = 16384 // checking with longer ones takes long
	maxKeys    = 1000
	maxJWKSize = 1 << 20
)

func readSecret(path string) ([]key, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if len(s) < minSecret {
		return nil, fmt.Errorf("%s: the secret has %d bytes; at least %d are needed, or it can be guessed from any token", path, len(s), minSecret)
	}
	if strings.HasPrefix(s, "-----BEGIN ") {
		return nil, fmt.Errorf("%s: this is a key in PEM, not a secret: whoever knows the public key could sign tokens", path)
	}
	return []key{{kind: hmacKey, key: []byte(s)}}, nil
}

func readPEM(path string) ([]key, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys []key
	for n := 1; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		pub, err := publicKey(block)
		if err == nil {
			var k key
			if k, err = publicAs(pub); err == nil {
				keys = append(keys, k)
				continue
			}
		}
		return nil, fmt.Errorf("%s: block %d, '%s': %w", path, n, block.Type, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: there is no key in it; expected PEM blocks 'PUBLIC KEY' or 'CERTIFICATE'", path)
	}
	return keys, nil
}

func publicKey(b *pem.Block) (any, error) {
	switch {
	case b.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(b.Bytes)
	case b.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(b.Bytes)
	case b.Type == "CERTIFICATE":
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	case strings.HasSuffix(b.Type, "PRIVATE KEY"):
		return nil, errors.New("this is a private key; the broker needs the public one alone: openssl pkey -in FILE -pubout")
	}
	return nil, errors.New("expected 'PUBLIC KEY' or 'CERTIFICATE'")
}

func publicAs(pub any) (key, error) {
	switch p := pub.(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSA || n > maxRSA {
			return key{}, fmt.Errorf("the RSA key has %d bits; %d to %d are accepted", n, minRSA, maxRSA)
		}
		return key{kind: rsaKey, key: p}, nil
	case *ecdsa.PublicKey:
		if p.Curve == elliptic.P224() {
			return key{}, errors.New("the curve P-224 has no algorithm; use P-256, P-384 or P-521")
		}
		return key{kind: ecdsaKey, key: p}, nil
	case ed25519.PublicKey:
		return key{kind: ed25519Key, key: p}, nil
	}
	return key{}, fmt.Errorf("keys of the kind %T are not known; RSA, ECDSA and Ed25519 are", pub)
}

// jwk is a key in a set (RFC 7517).
type jwk struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	Kid    string   `json:"kid"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	Crv    string   `json:"crv"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	K      string   `json:"k"`
}

func readJWKS(path string) ([]key, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := parseJWKS(b, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// parseJWKS reads a set of keys. Those that are for something else, or not understood, are passed over (RFC 7517 §5); a set
// without any that can be used is an error. secrets takes symmetric keys, which no web server should hand out.
func parseJWKS(b []byte, secrets bool) ([]key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("this is no JWKS: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("there are %d keys; at most %d are taken", len(set.Keys), maxKeys)
	}
	var keys []key
	var why error
	for i, j := range set.Keys {
		if j.Use != "" && j.Use != "sig" || j.KeyOps != nil && !slices.Contains(j.KeyOps, "verify") {
			continue
		}
		k, err := j.key(secrets)
		if err != nil {
			why = fmt.Errorf("key %d: %w", i+1, err)
			continue
		}
		if _, known := algorithms[j.Alg]; j.Alg != "" && !known {
			continue
		}
		k.id, k.alg = j.Kid, j.Alg
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.Join(errors.New("there is no key that signatures can be checked with"), why)
	}
	return keys, nil
}

func (j *jwk) key(secrets bool) (key, error) {
	switch j.Kty {
	case "RSA":
		n, err := integer(j.N)
		e, err2 := integer(j.E)
		if err != nil || err2 != nil || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 {
			return key{}, errors.New("n or e is missing or makes no sense")
		}
		return publicAs(&rsa.PublicKey{N: n, E: int(e.Int64())})
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Crv]
		if curve == nil {
			return key{}, fmt.Errorf("the curve %q is not known", j.Crv)
		}
		size := (curve.Params().BitSize + 7) / 8
		x, err := base64.RawURLEncoding.DecodeString(j.X)
		y, err2 := base64.RawURLEncoding.DecodeString(j.Y)
		if err != nil || err2 != nil || len(x) != size || len(y) != size {
			return key{}, errors.New("x or y is missing or has the wrong length")
		}
		p, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return key{}, errors.New("x and y are no point of the curve")
		}
		return publicAs(p)
	case "OKP":
		x, err := base64.RawURLEncoding.DecodeString(j.X)
		if j.Crv != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			return key{}, errors.New("x is no key of Ed25519")
		}
		return publicAs(ed25519.PublicKey(x))
	case "oct":
		k, err := base64.RawURLEncoding.DecodeString(j.K)
		switch {
		case !secrets:
			return key{}, errors.New("a secret from a web server is not believed: everybody could have read it")
		case err != nil || len(k) < minSecret:
			return key{}, fmt.Errorf("k has fewer than %d bytes", minSecret)
		}
		return key{kind: hmacKey, key: k}, nil
	}
	return key{}, fmt.Errorf("the kind %q is not known", j.Kty)
}

func integer(s string) (*big.Int, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 || len(b) > maxRSA/8 {
		return nil, errors.New("no number")
	}
	return new(big.Int).SetBytes(b), nil
}
