package arch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTree holds the whole source tree against the table.
func TestTree(t *testing.T) {
	module, files, err := scanTree(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 5 {
		t.Fatalf("only %d Go files found: the walk does not see the tree", len(files))
	}
	c := &checker{module: module, table: table}
	for _, v := range c.check(files) {
		t.Error(v)
	}
	for _, v := range c.checkTable() {
		t.Error(v)
	}
}

// smallTable is a policy for the cases below.
var smallTable = []rule{
	{pkg: "top", imports: []string{"low/..."}, tests: []string{"proof"}, modules: []string{"example.org/good"}},
	{pkg: "low/...", pure: true},
	{pkg: "low/special", imports: []string{"top"}},
	{pkg: "proof"},
}

// TestCheckerFails shows that each rule finds what it is there for, and that
// its innocent neighbour passes.
func TestCheckerFails(t *testing.T) {
	long := "{\n" + strings.Repeat("\t_ = 0\n", maxFuncLines) + "}\n"
	tests := map[string]struct {
		files map[string]string
		want  string // part of the only violation; "" means there is none
	}{
		"allowed import":         {map[string]string{"top/a.go": `package top; import _ "m/low/x"`}, ""},
		"import below own rule":  {map[string]string{"low/a.go": `package low; import _ "m/low/x"`}, ""},
		"import not allowed":     {map[string]string{"low/x/a.go": `package x; import _ "m/top"`}, `low/x/a.go imports m/top: the table`},
		"longest rule wins":      {map[string]string{"low/special/a.go": `package special; import _ "m/top"`}, ""},
		"test's own allowance":   {map[string]string{"top/a_test.go": `package top; import _ "m/proof"`}, ""},
		"only tests have it":     {map[string]string{"top/a.go": `package top; import _ "m/proof"`}, "top/a.go imports m/proof"},
		"unknown package":        {map[string]string{"new/a.go": `package new_`}, "add a line for it to test/arch/table.go"},
		"root package":           {map[string]string{"a.go": `package m`}, "add a line for it"},
		"module allowed":         {map[string]string{"top/a.go": `package top; import _ "example.org/good/sub"`}, ""},
		"module not allowed":     {map[string]string{"top/a.go": `package top; import _ "example.org/goodish"`}, "needs an ADR"},
		"module in a test":       {map[string]string{"low/a_test.go": `package low; import _ "example.org/any"`}, ""},
		"socket in the core":     {map[string]string{"low/a.go": `package low; import _ "net"`}, "state only"},
		"socket in a core test":  {map[string]string{"low/a_test.go": `package low; import _ "net"`}, ""},
		"socket elsewhere":       {map[string]string{"top/a.go": `package top; import _ "net"`}, ""},
		"goroutine in the core":  {map[string]string{"low/a.go": "package low\nfunc f() { go f() }"}, "line 2: starts a goroutine"},
		"clock in the core":      {map[string]string{"low/a.go": "package low\nimport \"time\"\nvar t = time.Now()"}, "line 3: uses time.Now"},
		"duration in the core":   {map[string]string{"low/a.go": "package low\nimport \"time\"\nvar t = time.Second"}, ""},
		"banned name":            {map[string]string{"low/util/a.go": `package util`}, "says nothing"},
		"long file":              {map[string]string{"top/a.go": "package top\n" + strings.Repeat("\n", maxFileLines)}, "601 lines, at most 600"},
		"file at the limit":      {map[string]string{"top/a.go": "package top\n" + strings.Repeat("\n", maxFileLines-1)}, ""},
		"long test file is fine": {map[string]string{"top/a_test.go": "package top\n" + strings.Repeat("\n", maxFileLines)}, ""},
		"too long test file":     {map[string]string{"top/a_test.go": "package top\n" + strings.Repeat("\n", maxTestFileLines)}, "1001 lines, at most 1000"},
		"long function":          {map[string]string{"top/a.go": "package top\nfunc f() " + long}, "func f has 72 lines"},
		"long method":            {map[string]string{"top/a.go": "package top\ntype t int\nfunc (t) m() " + long}, "func m has 72 lines"},
		"long with a reason":     {map[string]string{"top/a.go": "package top\n\n// Long: one case per packet.\nfunc f() " + long}, ""},
		"reason in the middle":   {map[string]string{"top/a.go": "package top\n\n// f is a\n// Long: story.\nfunc f() " + long}, "func f has 72 lines"},
		"cycle": {map[string]string{
			"low/special/a.go": `package special; import _ "m/top"`,
			"top/a.go":         `package top; import _ "m/low/special"`,
		}, "import cycle: "},
		"cycle over a test": {map[string]string{
			"low/special/a_test.go": `package special; import _ "m/top"`,
			"top/a.go":              `package top; import _ "m/low/special"`,
		}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var files []*source
			for path, text := range tt.files {
				s, err := scanSource(path, []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, s)
			}
			got := (&checker{module: "m", table: smallTable}).check(files)
			switch {
			case tt.want == "" && len(got) != 0:
				t.Errorf("violations: %q, want none", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("violations: %q, want one with %q", got, tt.want)
			}
		})
	}
}

func TestCheckTable(t *testing.T) {
	c := &checker{module: "m", table: []rule{
		{pkg: "a", imports: []string{"b", "c/...", "nowhere"}},
		{pkg: "b"}, {pkg: "c/d"}, {pkg: "b"},
	}}
	got := strings.Join(c.checkTable(), "\n")
	want := "table: a may import nowhere, for which there is no rule\ntable: b has two rules"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestScanTree checks what the walk leaves out.
func TestScanTree(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                "module example.org/m\n",
		"a/a.go":                "package a\n",
		"a/a_test.go":           "package a\n",
		"a/testdata/x.go":       "package broken (",
		".git/hook.go":          "package broken (",
		"_old/x.go":             "package broken (",
		"other/go.mod":          "module example.org/other\n",
		"other/x.go":            "package broken (",
		"web/node_modules/x.go": "package broken (",
	} {
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	module, files, err := scanTree(root)
	if err != nil {
		t.Fatal(err)
	}
	if module != "example.org/m" || len(files) != 2 || files[0].path != "a/a.go" || files[0].test || !files[1].test {
		t.Errorf("module %q, files %+v", module, files)
	}
}
