package password

import (
	"fmt"
	"hash/maphash"
	"os"
	"strings"
)

// File is a password file in memory. It does not change.
type File struct {
	path  string
	users map[string]*Hash
	// decoys are hashed against for users that are not there, chosen by the user's name, so that neither the time nor its
	// spread tells who is.
	decoys []*Hash
	seed   maphash.Seed
}

// Problem is a line that cannot be used. Its user cannot log in.
type Problem struct {
	Path string
	Line int
	Text string
}

func (p Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Text) }

// maxName is the longest user name of the protocol.
const maxName = 65535

// Load reads a file. As with Mosquitto, a line that makes no sense takes away its user and not the file.
func Load(path string) (*File, []Problem, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("password file: %w", err)
	}
	f, problems := parse(path, string(text))
	return f, problems, nil
}

func parse(path, text string) (*File, []Problem) {
	f := &File{path: path, users: map[string]*Hash{}, seed: maphash.MakeSeed()}
	var problems []Problem
	n := 0
	bad := func(format string, args ...any) {
		problems = append(problems, Problem{path, n, fmt.Sprintf(format, args...)})
	}
	for line := range strings.Lines(text) {
		n++
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		hash, _, _ = strings.Cut(hash, ":") // what follows a second one was never read
		name, hash = strings.TrimSpace(name), strings.TrimSpace(hash)
		switch {
		case !ok:
			bad("the line is ignored: expected 'user:hash'")
			continue
		case name == "":
			bad("the line is ignored: there is no user name before the ':'")
			continue
		case len(name) > maxName:
			bad("the line is ignored: the user name is longer than %d bytes", maxName)
			continue
		case f.users[name] != nil:
			bad("user '%s' is there a second time: the line is ignored", name)
			continue
		}
		h, err := Parse(hash)
		if err != nil {
			bad("user '%s' cannot log in: %v", name, err)
			continue
		}
		f.users[name] = h
		f.decoys = append(f.decoys, h)
	}
	return f, problems
}

// Path is where it was read from.
func (f *File) Path() string { return f.path }

// Len is the number of users.
func (f *File) Len() int { return len(f.users) }

// Has tells whether the user is in the file.
func (f *File) Has(user string) bool { return f.users[user] != nil }

// Check tells whether the user is there with this password. It takes as long for one who is not.
func (f *File) Check(user string, password []byte) bool {
	if h := f.users[user]; h != nil {
		return h.Verify(password)
	}
	if h := f.decoy(user); h != nil {
		h.Verify(password)
	}
	return false
}

// decoy is the hash that stands in for a user who is not there; nil if nobody is.
func (f *File) decoy(user string) *Hash {
	if len(f.decoys) == 0 {
		return nil
	}
	return f.decoys[maphash.String(f.seed, user)%uint64(len(f.decoys))]
}

// Same tells whether the user has the same hash in both files; nil is a file without users.
func Same(a, b *File, user string) bool {
	var x, y string
	if a != nil && a.users[user] != nil {
		x = a.users[user].text
	}
	if b != nil && b.users[user] != nil {
		y = b.users[user].text
	}
	return x == y
}
