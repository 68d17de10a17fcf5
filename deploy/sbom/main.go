// Sbom says of what a Nightjar program is made: from what the Go linker has written into it, and so exactly what is in it, it
// writes a software bill of materials in CycloneDX's JSON, and the licences of all modules, which binary packages must bear.
//
//	go run ./deploy/sbom -version 1.0 -sbom bin/nightjar.cdx.json -licences bin/licences.txt bin/nightjar
//
// bom.go has the document, licences.go finds the licences.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	version := flag.String("version", "", "the program's version")
	sbom := flag.String("sbom", "", "`file` for the bill of materials")
	licences := flag.String("licences", "", "`file` for the licences")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "sbom: name the program to read")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *version, *sbom, *licences); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(program, version, sbom, licences string) error {
	binary, err := os.ReadFile(program) //nolint:gosec // it is named on the command line
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("%s says nothing of its modules: %w", program, err)
	}
	if sbom != "" {
		sum := sha256.Sum256(binary)
		made, err := when()
		if err != nil {
			return err
		}
		text, err := bill(info, version, hex.EncodeToString(sum[:]), made)
		if err == nil {
			err = os.WriteFile(sbom, text, 0o644) //nolint:gosec // a document
		}
		if err != nil {
			return err
		}
	}
	if licences == "" {
		return nil
	}
	text, err := notices(info)
	if err != nil {
		return err
	}
	return os.WriteFile(licences, text, 0o644) //nolint:gosec // as above
}

// when is SOURCE_DATE_EPOCH, so that the same source gives the same document; without it, now.
func when() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q, not a number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
