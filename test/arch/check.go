package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// checker holds one policy and finds what breaks it.
type checker struct {
	module string
	table  []rule
}

// check returns every violation in files, one sentence each, sorted.
func (c *checker) check(files []*source) []string {
	var found []string
	for _, s := range files {
		found = append(found, c.checkImports(s)...)
		found = append(found, checkLengths(s)...)
	}
	found = append(found, c.checkNames(files)...)
	found = append(found, c.checkCycles(files)...)
	slices.Sort(found)
	return slices.Compact(found)
}

// checkImports holds one file against its package's rule.
func (c *checker) checkImports(s *source) (found []string) {
	r := c.rule(s.pkg())
	if r == nil {
		return []string{fmt.Sprintf("%s: package %q is not in the table: add a line for it to test/arch/table.go with what it may import, and a word on it to docs/architecture.md", s.path, s.pkg())}
	}
	for _, imp := range s.imports {
		if why := c.refuse(r, s, imp); why != "" {
			found = append(found, fmt.Sprintf("%s imports %s: %s", s.path, imp, why))
		}
	}
	if r.pure && !s.test {
		for _, what := range s.impure {
			found = append(found, fmt.Sprintf("%s: %s, but the core is state only: take the time as an argument, and leave goroutines to the edge", s.path, what))
		}
	}
	return found
}

// refuse says why the rule r forbids the import imp in file s, or "".
func (c *checker) refuse(r *rule, s *source, imp string) string {
	local, ours := strings.CutPrefix(imp, c.module+"/")
	switch {
	case ours:
		if local == s.pkg() || below(local, r.pkg) || anyBelow(local, r.imports) || s.test && anyBelow(local, r.tests) {
			return ""
		}
		return fmt.Sprintf("the table in test/arch/table.go lets %s import only %s", r.pkg, list(r.imports, s.test, r.tests))
	case isStd(imp):
		if r.pure && !s.test && slices.Contains(impureImports, imp) {
			return "the core is state only: no socket, no disk, no logging of its own"
		}
		return ""
	case s.test:
		return "" // tests may use any module that go.mod has
	default:
		for _, m := range r.modules {
			if imp == m || strings.HasPrefix(imp, m+"/") {
				return ""
			}
		}
		return fmt.Sprintf("the table in test/arch/table.go does not give %s this module; a new dependency needs an ADR in docs/adr", r.pkg)
	}
}

// rule returns the most specific rule for pkg, or nil.
func (c *checker) rule(pkg string) *rule {
	var best *rule
	for i := range c.table {
		r := &c.table[i]
		if !below(pkg, r.pkg) {
			continue
		}
		if best == nil || len(r.pkg) > len(best.pkg) {
			best = r
		}
	}
	return best
}

// below says whether pkg is meant by pattern: the same folder, or, where the
// pattern ends in "/...", one below it.
func below(pkg, pattern string) bool {
	base, deep := strings.CutSuffix(pattern, "/...")
	return pkg == base || deep && strings.HasPrefix(pkg, base+"/")
}

func anyBelow(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return below(pkg, p) })
}

// isStd tells the standard library by the missing dot in the first element.
func isStd(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

func list(imports []string, test bool, tests []string) string {
	if test {
		imports = slices.Concat(imports, tests)
	}
	if len(imports) == 0 {
		return "the standard library"
	}
	return strings.Join(imports, ", ")
}

// checkLengths reports files and functions that are too long.
func checkLengths(s *source) (found []string) {
	limit := maxFileLines
	if s.test {
		limit = maxTestFileLines
	}
	if s.lines > limit {
		found = append(found, fmt.Sprintf("%s: %d lines, at most %d: split it by what a reader looks for", s.path, s.lines, limit))
	}
	for _, f := range s.funcs {
		if f.lines > maxFuncLines && !f.long {
			found = append(found, fmt.Sprintf("%s:%d: func %s has %d lines, at most %d: split it, or begin its doc comment with %q and the reason", s.path, f.line, f.name, f.lines, maxFuncLines, longMark))
		}
	}
	return found
}

// checkNames reports folders whose name says nothing.
func (c *checker) checkNames(files []*source) (found []string) {
	for _, s := range files {
		if base := path.Base(s.pkg()); slices.Contains(bannedNames, base) {
			found = append(found, fmt.Sprintf("package %s: %q says nothing about what is inside; name it after what it holds", s.pkg(), base))
		}
	}
	return found
}

// checkCycles reports import cycles between packages. The compiler refuses
// cycles too, but only between files that one build sees: this sees every
// platform's files at once.
func (c *checker) checkCycles(files []*source) (found []string) {
	edges := map[string][]string{}
	for _, s := range files {
		if s.test {
			continue // an external test package may close a circle
		}
		for _, imp := range s.imports {
			if local, ours := strings.CutPrefix(imp, c.module+"/"); ours && !slices.Contains(edges[s.pkg()], local) {
				edges[s.pkg()] = append(edges[s.pkg()], local)
			}
		}
	}
	const visiting, done = 1, 2
	state := map[string]int{}
	var way []string
	var visit func(pkg string)
	visit = func(pkg string) {
		state[pkg] = visiting
		way = append(way, pkg)
		for _, next := range edges[pkg] {
			switch state[next] {
			case visiting:
				circle := append(slices.Clone(way[slices.Index(way, next):]), next)
				found = append(found, "import cycle: "+strings.Join(circle, " → "))
			case done:
			default:
				visit(next)
			}
		}
		way = way[:len(way)-1]
		state[pkg] = done
	}
	for _, s := range files {
		if state[s.pkg()] == 0 {
			visit(s.pkg())
		}
	}
	return found
}

// checkTable reports rules that contradict themselves, so that the table cannot
// allow a cycle or name a package twice.
func (c *checker) checkTable() (found []string) {
	seen := map[string]bool{}
	for _, r := range c.table {
		if seen[r.pkg] {
			found = append(found, fmt.Sprintf("table: %s has two rules", r.pkg))
		}
		seen[r.pkg] = true
		for _, imp := range slices.Concat(r.imports, r.tests) {
			base, _ := strings.CutSuffix(imp, "/...")
			if c.rule(base) == nil && !slices.ContainsFunc(c.table, func(o rule) bool { return strings.HasPrefix(o.pkg, base+"/") }) {
				found = append(found, fmt.Sprintf("table: %s may import %s, for which there is no rule", r.pkg, imp))
			}
		}
	}
	return found
}
