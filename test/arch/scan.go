package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// source is what the checker knows of one Go file.
type source struct {
	path    string // slash separated, from the module root: "mqtt/connect.go"
	test    bool   // a _test.go file
	lines   int
	imports []string // import paths as written
	funcs   []function
	impure  []string // "line 12: starts a goroutine", ...
}

// function is one function declaration of a file.
type function struct {
	name  string
	line  int
	lines int
	long  bool // its doc comment begins with longMark
}

// pkg is the folder of the file, from the module root; "" is the root itself.
func (s *source) pkg() string {
	if d := path.Dir(s.path); d != "." {
		return d
	}
	return ""
}

// scanTree reads every Go file of the module at root. Folders that the go
// command ignores, and folders that are modules of their own, are left out.
func scanTree(root string) (module string, files []*source, err error) {
	module, err = moduleName(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", nil, err
	}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && skipDir(name, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		s, err := scanSource(filepath.ToSlash(rel), text)
		if err != nil {
			return err
		}
		files = append(files, s)
		return nil
	})
	return module, files, err
}

func skipDir(name, base string) bool {
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules" || base == "vendor" {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

func moduleName(gomod string) (string, error) {
	text, err := os.ReadFile(gomod)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.TrimSpace(rest), nil
		}
	}
	return "", fmt.Errorf("%s names no module", gomod)
}

// scanSource parses one file. name is its path from the module root.
func scanSource(name string, text []byte) (*source, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	s := &source{path: name, test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(text, []byte("\n"))}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		s.imports = append(s.imports, p)
	}
	for _, decl := range f.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		first, last := fset.Position(fn.Pos()).Line, fset.Position(fn.End()).Line
		s.funcs = append(s.funcs, function{
			name:  fn.Name.Name,
			line:  first,
			lines: last - first + 1,
			long:  strings.HasPrefix(strings.TrimSpace(fn.Doc.Text()), longMark),
		})
	}
	s.impure = impurities(fset, f)
	return s, nil
}

// impurities finds what a pure package may not do: start a goroutine, read the
// clock, wait for it.
func impurities(fset *token.FileSet, f *ast.File) (found []string) {
	say := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("line %d: %s", fset.Position(n.Pos()).Line, what))
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "starts a goroutine")
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok || x.Name != "time" {
				break
			}
			for _, call := range impureCalls {
				if n.Sel.Name == call {
					say(n, "uses time."+call)
				}
			}
		}
		return true
	})
	return found
}
