package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
)

// licenceName are files that a distributor has to pass on.
var licenceName = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|copyright|patents)([.-].*)?$`)

// notices are the licences of all modules in the program, and Go's own. A module without one is an error: it could not be
// passed on.
func notices(info *debug.BuildInfo) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("Nightjar contains these modules, each under the licence that follows its name.\n")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	if err := notice(&out, "The Go programming language and its standard library", info.GoVersion, strings.TrimSpace(string(root))); err != nil {
		return nil, err
	}
	folders, err := folders(info)
	if err != nil {
		return nil, err
	}
	for _, m := range used(info) {
		if err := notice(&out, m.Path, m.Version, folders[m.Path]); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func notice(out *bytes.Buffer, name, version, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("the source of %s is not there: %w; 'go mod download' gets it", name, err)
	}
	found := false
	for _, e := range entries {
		if e.IsDir() || !licenceName.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n%s\n%s %s (%s)\n\n%s\n", strings.Repeat("=", 80), name, version, e.Name(), bytes.TrimSpace(text))
		found = true
	}
	if !found {
		return fmt.Errorf("%s %s has no file with a licence in %s", name, version, dir)
	}
	return nil
}

// folders says where the source of each module is.
func folders(info *debug.BuildInfo) (map[string]string, error) {
	args := []string{"list", "-m", "-json"}
	for _, m := range used(info) {
		args = append(args, m.Path)
	}
	cmd := exec.Command("go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, &stderr)
	}
	out := make(map[string]string)
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var m struct{ Path, Dir string }
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		out[m.Path] = m.Dir
	}
}
