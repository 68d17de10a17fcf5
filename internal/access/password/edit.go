package password

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// ErrNoUser is a user that is to be deleted and is not there.
var ErrNoUser = errors.New("the user is not in the password file")

// ValidName tells whether a file can hold the name.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("Username must not be empty.")
	case len(name) > maxName:
		return errors.New("Username must be less than 65536 characters long.")
	case strings.ContainsRune(name, ':'):
		return errors.New("Username must not contain the ':' character.")
	case strings.IndexFunc(name, unicode.IsControl) >= 0:
		return errors.New("Username must not contain control characters.")
	case name != strings.TrimSpace(name), name[0] == '#':
		return errors.New("Username must not begin or end with a space or begin with '#': the broker would not find it in the file.")
	}
	return nil
}

// Set puts a user with a hash in the place of its line, or at the end, and tells whether the user was there.
func Set(text, user, hash string) (out string, found bool) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if lineOf(line) != user {
			b.WriteString(line)
			continue
		}
		if !found { // a second line of the same user was never read
			b.WriteString(user + ":" + hash + "\n")
		}
		found = true
	}
	out = b.String()
	if found {
		return out, true
	}
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	return out + user + ":" + hash + "\n", false
}

// Delete takes a user out.
func Delete(text, user string) (string, error) {
	var b strings.Builder
	found := false
	for line := range strings.Lines(text) {
		if lineOf(line) == user {
			found = true
			continue
		}
		b.WriteString(line)
	}
	if !found {
		return "", ErrNoUser
	}
	return b.String(), nil
}

// Upgrade replaces all passwords in plain text by what hash makes of them. Lines that have a hash already stay as they are;
// mosquitto_passwd would hash the hash, and nobody could log in any more.
func Upgrade(text string, hash func(password []byte) (string, error)) (string, error) {
	var b strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		n++
		name := lineOf(line)
		if name == "" && (strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "") {
			b.WriteString(line)
			continue
		}
		_, password, _ := strings.Cut(line, ":")
		password = strings.TrimSpace(password) // mosquitto_passwd ends it at a ':', and the rest of it is lost
		if name == "" || password == "" {
			return "", fmt.Errorf("Corrupt password file at line %d.", n)
		}
		if _, err := Parse(password); err == nil {
			b.WriteString(line)
			continue
		}
		sum, err := hash([]byte(password))
		if err != nil {
			return "", err
		}
		b.WriteString(name + ":" + sum + "\n")
	}
	return b.String(), nil
}

// lineOf is the user of a line, "" if it has none.
func lineOf(line string) string {
	if strings.HasPrefix(line, "#") {
		return ""
	}
	name, _, ok := strings.Cut(line, ":")
	if !ok {
		return ""
	}
	return strings.TrimSpace(name)
}

// Write replaces a file by another of the same rights and owner, or makes one that only its owner may read. A reader finds
// the old or the new text, never a part.
func Write(path, text string) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	mode := fs.FileMode(0o600)
	old, statErr := os.Stat(path)
	if statErr == nil {
		if !old.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", path)
		}
		mode = old.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		if statErr == nil && errors.Is(err, fs.ErrPermission) {
			return overwrite(path, text) // the file is ours, its directory is not
		}
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.WriteString(text); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if statErr == nil {
		keepOwner(f, old)
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil && statErr == nil {
		os.Remove(f.Name())
		return overwrite(path, text) // a file that is mounted by itself, as in a container, cannot be replaced
	}
	return err
}

// overwrite writes into the file as it stands. If that is cut short, so is the file.
func overwrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}
