package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Load reads a configuration file and those it includes. All problems are returned, not the first alone; with a Failure among
// them, Settings must not be used but to tell what else is wrong.
func Load(path string) (*Settings, Problems) {
	p := &parser{s: Defaults(), seen: make(map[seenKey]bool), told: make(map[string]bool)}
	p.s.File = path
	p.file(path, true)
	p.finish()
	sort.SliceStable(p.problems, func(i, j int) bool { return p.order(p.problems[i].File) < p.order(p.problems[j].File) })
	return p.s, p.problems
}

// NoFile are the settings without a configuration file: like an empty one.
func NoFile() *Settings {
	p := &parser{s: Defaults()}
	p.finish()
	return p.s
}

// parser reads lines into settings.
type parser struct {
	s        *Settings
	problems Problems
	files    []string
	seen     map[seenKey]bool // options that were given
	told     map[string]bool  // deprecated options that were named
	secured  bool             // a security option was given

	line   Entry     // the current one
	main   bool      // it is in the main file
	l      *Listener // the sections that it is in: each file has its own
	bridge *Bridge
	plugin *Plugin
}

type seenKey struct{ section, option string }

func (p *parser) order(file string) int { return slices.Index(p.files, file) }

// report notes a problem of the current line.
func (p *parser) report(s Severity, text, words string) {
	p.problems = append(p.problems, Problem{Position: p.line.Position, Severity: s, Option: p.line.Option, Text: text, Words: words})
}

// file reads one file. What a file's sections are, ends with it.
func (p *parser) file(path string, isMain bool) {
	p.files = append(p.files, path)
	text, err := readFile(path)
	if err != nil {
		words := fmt.Sprintf("Unable to open config file '%s'.", path)
		if errors.Is(err, errDirectory) {
			words = fmt.Sprintf("Config file '%s' is a directory.", path)
		}
		p.problems = append(p.problems, Problem{Position: Position{File: path}, Severity: Failure, Text: reason(err), Words: words})
		return
	}
	l, bridge, plugin, wasMain := p.l, p.bridge, p.plugin, p.main
	p.l, p.bridge, p.plugin, p.main = nil, nil, nil, isMain
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if strings.HasPrefix(line, "#") || strings.Trim(line, " ") == "" {
			continue
		}
		p.line = Entry{Position: Position{File: path, Line: i + 1}}
		p.option(strings.TrimLeft(line, " "))
	}
	p.l, p.bridge, p.plugin, p.main = l, bridge, plugin, wasMain
}

var errDirectory = errors.New("is a directory, not a configuration file")

// maxFile bounds a configuration file, against one that is something else.
const maxFile = 16 << 20

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case info.IsDir():
		return "", errDirectory
	case info.Size() > maxFile:
		return "", fmt.Errorf("is larger than %d MiB: this is no configuration file", maxFile>>20)
	}
	b, err := os.ReadFile(path)
	return string(b), err
}

// reason is an error of the file system without the path, which stands in front anyhow.
func reason(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return "cannot be read: " + pathErr.Err.Error()
	}
	return err.Error()
}

// option reads a line, which begins with the option's name.
func (p *parser) option(line string) {
	name, value, _ := strings.Cut(line, " ")
	p.line.Option = name
	if strings.HasPrefix(name, "plugin_opt_") || strings.HasPrefix(name, "auth_opt_") {
		p.pluginOption(name, strings.TrimSpace(value))
		return
	}
	o := Lookup(name)
	if o == nil {
		p.unknown(name)
		return
	}
	p.line.Option = name
	value = strings.TrimSpace(value)
	p.tell(o, name)
	t, f := p.target(o)
	switch {
	case f != nil:
	case o.Refused != "":
		f = &fault{text: "cannot be had: " + o.Refused}
	case o.Obsolete != "" && o.bind == nil:
	case value == "":
		f = faultf(fmt.Sprintf("Empty '%s' value in configuration.", name), "has no value; it is written: %s %s", name, o.Usage())
	default:
		f = p.assign(o, t, value)
	}
	if f != nil {
		p.report(Failure, f.text, f.words)
	}
}

// assign sets an option and notes that it was.
func (p *parser) assign(o *Option, t *target, value string) *fault {
	section := p.section(o)
	if key := (seenKey{section, o.Name}); o.once && p.seen[key] {
		return faultf(fmt.Sprintf("Duplicate '%s' value in configuration.", o.Name), "stands here a second time")
	} else if o.Scope != OfPlugin {
		p.seen[key] = true
	}
	if f := o.set(p, t, value); f != nil {
		return f
	}
	p.trailing(o, value)
	p.note(o.Name, section, value)
	return nil
}

// note keeps the line.
func (p *parser) note(option, section, value string) {
	e := p.line
	e.Option, e.Section, e.Value = option, section, value
	p.s.Given = append(p.s.Given, e)
}

// trailing warns of words that are not read: those behind a value that is one word. A comment is no surprise.
func (p *parser) trailing(o *Option, value string) {
	if o.parse != nil {
		return
	}
	_, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimLeft(rest, " ")
	switch o.bind(blankTarget()).(type) {
	case *string, *[]string:
		if o.words == nil {
			switch {
			case !strings.Contains(value, " #"):
			case slices.Contains(secret, o.Name):
				p.report(Warning, "what stands behind # is part of the value: a comment needs a line of its own", "")
			default:
				p.report(Warning, fmt.Sprintf("the value is %q: a comment needs a line of its own", value), "")
			}
			return
		}
	}
	if rest != "" && rest[0] != '#' {
		p.report(Warning, fmt.Sprintf("the words behind the value are not read: %q", rest), "")
	}
}

// oldNames are names that Mosquitto has given up for others.
var oldNames = map[string]string{"auth_plugin": "plugin", "clientid": "remote_clientid", "username": "remote_username",
	"password": "remote_password", "retained_persistence": "persistence"}

// tell speaks of deprecated and obsolete options, once each.
func (p *parser) tell(o *Option, name string) {
	if p.told[name] {
		return
	}
	instead := oldNames[name]
	switch {
	case instead != "":
		p.report(Notice, "is the old name of '"+instead+"'", "")
	case o.Obsolete != "":
		p.report(Notice, "has no effect: "+o.Obsolete, "")
	case o.Deprecated != "":
		p.report(Notice, "is deprecated: "+o.Deprecated, "")
	default:
		return
	}
	p.told[name] = true
}

// section is the name of the one that the current line is in, for an option.
func (p *parser) section(o *Option) string {
	switch o.Scope {
	case OfListener:
		return p.l.Name()
	case Securing:
		if p.s.PerListener {
			return p.l.Name()
		}
	case OfBridge:
		if p.bridge != nil {
			return "connection " + p.bridge.Name
		}
	}
	return ""
}

// target finds what a line is about.
func (p *parser) target(o *Option) (*target, *fault) {
	t := &target{s: p.s}
	switch o.Scope {
	case OfListener:
		if o.needs == ownListener && (p.l == nil || p.l.isDefault) || o.needs == someListener && p.l == nil {
			return t, p.outOfPlace("a listener", "listener")
		}
		if p.l == nil {
			p.openDefault()
		}
		t.l, t.sec = p.l, &p.l.Security
	case Securing:
		p.secured = true
		t.sec = &p.s.Security
		if p.s.PerListener {
			if p.l == nil {
				return t, p.outOfPlace("a listener (because of per_listener_settings)", "listener")
			}
			t.sec = &p.l.Security
		}
	case OfBridge:
		if p.bridge == nil {
			return t, p.outOfPlace("a connection", "bridge")
		}
		t.b = p.bridge
	}
	return t, nil
}

func (p *parser) outOfPlace(section, words string) *fault {
	line, _, _ := strings.Cut(strings.TrimPrefix(section, "a "), " ")
	return faultf(fmt.Sprintf("The '%s' option requires a %s to be defined first.", p.line.Option, words),
		"belongs to %s: it has to stand below a '%s' line, in the same file", section, line)
}

// defaultPort is MQTT's.
const defaultPort = 1883

// openDefault makes the listener for options in front of the first listener line the current one.
func (p *parser) openDefault() {
	if p.s.defaultListener == nil {
		p.s.defaultListener = newListener(p.line.Position)
		p.s.defaultListener.Port, p.s.defaultListener.isDefault = defaultPort, true
	}
	p.l = p.s.defaultListener
}

// unknown reports an option that there is not.
func (p *parser) unknown(name string) {
	text := "unknown"
	switch {
	case strings.HasPrefix(name, "#"):
		text = "is no option; the # of a comment must be the first character of its line"
		p.line.Option = ""
	case strings.Contains(name, "\t"):
		text = "unknown: one space must stand between the option and its value, not a tab"
	default:
		if near := suggest(name); near != "" {
			text += fmt.Sprintf("; did you mean '%s'?", near)
		}
	}
	p.report(Failure, text, fmt.Sprintf("Unknown configuration variable '%s'.", name))
}

// include reads the *.conf files of a directory.
func (p *parser) include(dir string) *fault {
	if !p.main {
		return faultf("The include_dir option is only valid in the main configuration file.", "counts in the main configuration file only")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return faultf(fmt.Sprintf("Unable to open include_dir '%s'.", dir), "%s: %s", dir, reason(err))
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".conf") && len(name) > len(".conf") {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, compareNames)
	line := p.line
	for _, name := range names {
		p.file(filepath.Join(dir, name), false)
	}
	p.line = line
	return nil
}

// compareNames orders by letters, the upper case of a letter before its lower case: 00, A, a, B, b.
func compareNames(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		x, y := upper(a[i]), upper(b[i])
		switch {
		case x != y:
			return int(x) - int(y)
		case a[i] != b[i]:
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}
