// Package password reads and writes Mosquitto's password files and checks passwords against them. Checking takes
// milliseconds to a second on purpose: it is not for an event loop.
package password

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Kind is a way to hash passwords.
type Kind string

// The kinds, by the names that -H of mosquitto_passwd has for them.
const (
	PBKDF2   Kind = "sha512-pbkdf2" // $7$: what Mosquitto 2.0 reads and writes
	Argon2id Kind = "argon2id"      // $argon2id$: Mosquitto 2.1
	SHA512   Kind = "sha512"        // $6$: Mosquitto 1.6; one round, quick to guess
	Bcrypt   Kind = "bcrypt"        // $2a$, $2b$, $2y$: not Mosquitto's
)

// Kinds are all that can be made, the default first.
var Kinds = []Kind{PBKDF2, Argon2id, SHA512, Bcrypt}

// Costs of new hashes. Mosquitto's own default for PBKDF2 is 1000 (101 in 2.0) and what OWASP recommends is 210000, which
// would hold Mosquitto's only thread for a tenth of a second at each login; every version takes the number from the file.
const (
	DefaultIterations = 20000
	saltBytes         = 12 // Mosquitto 2.0 takes no other
	hashBytes         = 64

	argonTime, argonMemory, argonThreads = 1, 47104, 1 // KiB; Mosquitto 2.1's
	argonSalt                            = 64
)

// Limits of what a file may ask for, so that a slip in it does not stop the broker for hours.
const (
	maxIterations  = 50_000_000
	maxArgonMemory = 1 << 20 // KiB
	maxArgonTime   = 1000
	maxArgonLanes  = 64
	maxBcryptCost  = 20
	maxSalt        = 256
)

// Hash is a password's hash as it stands in a file.
type Hash struct {
	kind       Kind
	text       string
	salt, sum  []byte
	iterations int // PBKDF2; argon2id: time
	memory     uint32
	lanes      uint8
}

// String is the hash as it stands in the file.
func (h *Hash) String() string { return h.text }

// Kind is how it was made.
func (h *Hash) Kind() Kind { return h.kind }

var errPlain = errors.New("this is no password hash; if it is the password itself, 'nightjar passwd -U FILE' replaces all of a file's passwords by hashes")

// Parse reads a hash. Its errors do not contain it: it might be a password.
func Parse(text string) (*Hash, error) {
	h := &Hash{text: text}
	var err error
	switch {
	case strings.HasPrefix(text, "$6$"):
		h.kind = SHA512
		err = h.parseSum(text[3:])
	case strings.HasPrefix(text, "$7$"):
		h.kind = PBKDF2
		iterations, rest, _ := strings.Cut(text[3:], "$")
		h.iterations, err = number(iterations, 1, maxIterations, "iterations")
		if err == nil {
			err = h.parseSum(rest)
		}
	case strings.HasPrefix(text, "$argon2id$"):
		h.kind = Argon2id
		err = h.parseArgon(text[len("$argon2id$"):])
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		h.kind = Bcrypt
		err = h.parseBcrypt()
	case strings.HasPrefix(text, "$"):
		return nil, errors.New("this kind of hash is not known; known are $6$, $7$, $argon2id$ and bcrypt's $2a$, $2b$, $2y$")
	default:
		return nil, errPlain
	}
	if err != nil {
		return nil, fmt.Errorf("malformed %s hash: %w", h.kind, err)
	}
	return h, nil
}

// parseSum reads "salt$hash".
func (h *Hash) parseSum(s string) (err error) {
	salt, sum, ok := strings.Cut(s, "$")
	if !ok {
		return errors.New("the salt or the hash is missing")
	}
	if h.salt, err = base64.StdEncoding.Strict().DecodeString(salt); err != nil || len(h.salt) == 0 || len(h.salt) > maxSalt {
		return errors.New("the salt is not in base64, or has a wrong length")
	}
	if h.sum, err = base64.StdEncoding.Strict().DecodeString(sum); err != nil || len(h.sum) != hashBytes {
		return fmt.Errorf("the hash is not %d bytes in base64", hashBytes)
	}
	return nil
}

// parseArgon reads "v=19$m=47104,t=1,p=1$salt$hash".
func (h *Hash) parseArgon(s string) (err error) {
	f := strings.Split(s, "$")
	if len(f) != 4 || f[0] != "v=19" {
		return errors.New("expected v=19$m=...,t=...,p=...$salt$hash")
	}
	cost := strings.Split(f[1], ",")
	if len(cost) != 3 {
		return errors.New("expected m=...,t=...,p=...")
	}
	lanes, err := number(strings.TrimPrefix(cost[2], "p="), 1, maxArgonLanes, "p")
	if err != nil {
		return err
	}
	memory, err := number(strings.TrimPrefix(cost[0], "m="), 8*lanes, maxArgonMemory, "m")
	if err != nil {
		return err
	}
	if h.iterations, err = number(strings.TrimPrefix(cost[1], "t="), 1, maxArgonTime, "t"); err != nil {
		return err
	}
	h.memory, h.lanes = uint32(memory), uint8(lanes)
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(f[2]); err != nil || len(h.salt) < 8 || len(h.salt) > maxSalt {
		return errors.New("the salt is not in base64 without padding, or has a wrong length")
	}
	if h.sum, err = base64.RawStdEncoding.Strict().DecodeString(f[3]); err != nil || len(h.sum) < 12 || len(h.sum) > maxSalt {
		return errors.New("the hash is not in base64 without padding, or has a wrong length")
	}
	return nil
}

func (h *Hash) parseBcrypt() error {
	cost, err := bcrypt.Cost([]byte(h.text))
	switch {
	case err != nil:
		return errors.New("it does not parse")
	case len(h.text) != 60:
		return errors.New("it is not 60 characters long")
	case cost > maxBcryptCost:
		return fmt.Errorf("its cost is %d; at most %d is allowed", cost, maxBcryptCost)
	}
	for _, c := range []byte(h.text[7:]) {
		if c != '.' && c != '/' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return errors.New("it does not parse")
		}
	}
	return nil
}

func number(s string, low, high int, what string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s must be a number from %d to %d", what, low, high)
	}
	return n, nil
}

// Verify tells whether password is the one. How long it takes does not depend on how much of it is right.
func (h *Hash) Verify(password []byte) bool {
	switch h.kind {
	case SHA512:
		return subtle.ConstantTimeCompare(sum512(password, h.salt), h.sum) == 1
	case PBKDF2:
		sum, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.iterations, len(h.sum))
		return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
	case Argon2id:
		sum := argon2.IDKey(password, h.salt, uint32(h.iterations), h.memory, h.lanes, uint32(len(h.sum)))
		return subtle.ConstantTimeCompare(sum, h.sum) == 1
	case Bcrypt:
		return bcrypt.CompareHashAndPassword([]byte(h.text), password) == nil
	}
	return false
}

func sum512(password, salt []byte) []byte {
	d := sha512.New()
	d.Write(password)
	d.Write(salt)
	return d.Sum(nil)
}

// Make hashes a password for a file. iterations are PBKDF2's; 0: DefaultIterations.
func Make(kind Kind, iterations int, password []byte) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	enc := base64.StdEncoding.EncodeToString
	switch kind {
	case SHA512:
		return "$6$" + enc(salt) + "$" + enc(sum512(password, salt)), nil
	case PBKDF2:
		if iterations == 0 {
			iterations = DefaultIterations
		}
		if iterations < 1 || iterations > maxIterations {
			return "", fmt.Errorf("the iterations must be from 1 to %d", maxIterations)
		}
		sum, err := pbkdf2.Key(sha512.New, string(password), salt, iterations, hashBytes)
		if err != nil {
			return "", err
		}
		return "$7$" + strconv.Itoa(iterations) + "$" + enc(salt) + "$" + enc(sum), nil
	case Argon2id:
		salt = make([]byte, argonSalt)
		_, _ = rand.Read(salt)
		sum := argon2.IDKey(password, salt, argonTime, argonMemory, argonThreads, hashBytes)
		raw := base64.RawStdEncoding.EncodeToString
		return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, raw(salt), raw(sum)), nil
	case Bcrypt:
		sum, err := bcrypt.GenerateFromPassword(password, bcrypt.DefaultCost)
		if errors.Is(err, bcrypt.ErrPasswordTooLong) {
			return "", errors.New("bcrypt takes passwords up to 72 bytes; use argon2id")
		}
		return string(sum), err
	}
	return "", fmt.Errorf("unknown kind of hash %q", kind)
}
