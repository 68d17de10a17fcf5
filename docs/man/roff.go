package main

import (
	"fmt"
	"strings"
)

// header is what all pages have in common.
type header struct{ version, date string }

// page is a manual page that is being written, in the macros of man(7).
type page struct{ strings.Builder }

func newPage(h header, name, section, title string) *page {
	p := &page{}
	fmt.Fprintf(p, ".TH %s %s %s %s %s\n", quote(strings.ToUpper(name)), section, quote(h.date), quote(strings.TrimSpace("nightjar "+h.version)), quote("Nightjar"))
	p.WriteString(".nh\n.ad l\n") // nothing is hyphenated: names of options would get hyphens that they do not have
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", text(name), text(title))
	return p
}

func (p *page) section(title string)    { fmt.Fprintf(p, ".SH %s\n", quote(title)) }
func (p *page) subsection(title string) { fmt.Fprintf(p, ".SS %s\n", quote(title)) }

// item begins an entry of a list: its name, and what it takes.
func (p *page) item(name, takes string) {
	p.WriteString(".TP\n")
	if takes == "" {
		fmt.Fprintf(p, ".B %s\n", quote(name))
		return
	}
	fmt.Fprintf(p, ".BI %s %s\n", quote(name+" "), quote(takes))
}

// sentence is text on a line of its own, which the paragraph before takes in.
func (p *page) sentence(s string) { p.WriteString(text(s) + "\n") }

// prose lays out help text: paragraphs stand apart by an empty line, and what is indented stays as it is.
func (p *page) prose(s string) {
	verbatim, fresh := false, true
	for line := range strings.SplitSeq(strings.Trim(s, "\n"), "\n") {
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		if verbatim && !indented {
			p.WriteString(".fi\n.RE\n")
			verbatim, fresh = false, true
		}
		switch {
		case line == "":
			fresh = true
			continue
		case indented && !verbatim:
			p.WriteString(".PP\n.RS 2\n.nf\n")
			verbatim = true
		case !indented && fresh:
			p.WriteString(".PP\n")
		}
		fresh = false
		if verbatim {
			line = strings.TrimPrefix(strings.TrimPrefix(line, "\t"), "  ")
		}
		p.WriteString(text(line) + "\n")
	}
	if verbatim {
		p.WriteString(".fi\n.RE\n")
	}
}

// seeAlso lists other pages.
func (p *page) seeAlso(pages ...string) {
	p.section("SEE ALSO")
	for i, name := range pages {
		name, section, _ := strings.Cut(name, "(")
		end := ","
		if i == len(pages)-1 {
			end = ""
		}
		fmt.Fprintf(p, ".BR %s %s\n", quote(name), quote("("+section+end))
	}
}

// special has the characters that mean something to troff, or that it prints as others: a hyphen that is to be copied into a
// shell, and quotes. After a | a line may end.
var special = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "|", `|\:`)

// text has s printed as it is.
func text(s string) string {
	s = special.Replace(s)
	if strings.HasPrefix(s, ".") {
		return `\&` + s
	}
	return s
}

// quote is s as one argument of a macro.
func quote(s string) string {
	return `"` + strings.ReplaceAll(special.Replace(s), `"`, `\(dq`) + `"`
}
