package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// document is a bill of materials as CycloneDX 1.6 has it; see its JSON schema.
type document struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// bill is the document for a program of this version, whose file has this SHA-256. The same program and time give the same bytes.
func bill(info *debug.BuildInfo, version, sum string, made time.Time) ([]byte, error) {
	program := module(info.Main.Path, version, "")
	program.Type = "application"
	program.Hashes = []hash{{Alg: "SHA-256", Content: sum}}
	var own license
	own.License.ID = "Apache-2.0"
	program.Licenses = []license{own}
	for _, s := range info.Settings {
		if slices.Contains([]string{"GOOS", "GOARCH", "GOAMD64", "GOARM", "GOARM64", "CGO_ENABLED"}, s.Key) {
			program.Properties = append(program.Properties, property{"build:" + s.Key, s.Value})
		}
	}
	d := document{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{made.Format(time.RFC3339), program}}
	d.Components = append(d.Components, module("std", strings.TrimPrefix(info.GoVersion, "go"), ""))
	for _, m := range used(info) {
		d.Components = append(d.Components, module(m.Path, m.Version, m.Sum))
	}
	needs := dependency{Ref: program.Ref}
	for _, c := range d.Components {
		needs.DependsOn = append(needs.DependsOn, c.Ref)
	}
	d.Dependencies = []dependency{needs}
	d.Serial = serial(d)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(d)
	return out.Bytes(), err
}

// module is a Go module as a package URL names it. sum is its line in go.sum.
func module(path, version, sum string) component {
	purl := "pkg:golang/" + path
	if version != "" {
		purl += "@" + strings.ReplaceAll(version, "+", "%2B")
	}
	c := component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
	if sum != "" {
		c.Properties = []property{{"go:sum", sum}}
	}
	return c
}

// used are the modules that are in the program.
func used(info *debug.BuildInfo) (out []*debug.Module) {
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		out = append(out, m)
	}
	return out
}

// serial is a UUID that belongs to this document: of version 8, made from its content.
func serial(d document) string {
	text, _ := json.Marshal(d)
	b := sha256.Sum256(text)
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
