package lint

import (
	"fmt"
	"go/format"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each rule of public packages is broken on purpose, lest it hold because it sees nothing.
func TestLibraryRules(t *testing.T) {
	fset := token.NewFileSet()
	c := newChecker(t, fset, "errors", "net", "sync", "sync/atomic", "golang.org/x/sys/unix", module+"/internal/latency", module+"/work")
	const pkg = "package p\n"
	tests := []struct {
		rule    func(*library) []string
		name    string
		text    string
		problem string // empty: the rule holds
	}{
		{commented, "function", pkg + "func F() {}", "p/p.go:2 F has no comment"},
		{commented, "method", pkg + "// T is.\ntype T int\nfunc (t *T) M() {}", "p/p.go:4 T.M has no comment"},
		{commented, "method of what is not exported", pkg + "type t int\nfunc (t) M() {}", ""},
		{commented, "type", pkg + "type T int", "p/p.go:2 T has no comment"},
		{commented, "group of types", pkg + "// Types.\ntype (\n// T is.\nT int\nU int\n)", "p/p.go:6 U has no comment"},
		{commented, "constant", pkg + "const C = 1", "p/p.go:2 C has no comment"},
		{commented, "group of constants", pkg + "// Numbers.\nconst (\nC = 1 // one\nD = 2\n)", "p/p.go:5 D has no comment"},
		{commented, "field", pkg + "// T is.\ntype T struct {\nA int // a\nB int\nc int\n}", "p/p.go:5 T.B has no comment"},
		{commented, "fields below a comment", pkg + "// T is.\ntype T struct {\n// Both.\nA int\nB int\n\nC int\n}", "p/p.go:8 T.C has no comment"},
		{commented, "fields on one line", pkg + "// T is X and Y.\ntype T struct{ X, Y int }", ""},
		{commented, "embedded", pkg + "// T is.\ntype T struct {\n*U\n}\n// U is.\ntype U int", ""},
		{commented, "method of an interface", pkg + "// I is.\ntype I interface {\nM()\n}", "p/p.go:4 I.M has no comment"},
		{publicTypes, "third party", pkg + `import "golang.org/x/sys/unix"; func F() *unix.Stat_t { return nil }`, "F is made of golang.org/x/sys/unix.Stat_t"},
		{publicTypes, "internal", pkg + `import "` + module + `/internal/latency"; type T struct { F []latency.Counter }`, "T.F is made of " + module + "/internal/latency.Counter"},
		{publicTypes, "alias of internal", pkg + `import "` + module + `/internal/latency"; type T = latency.Counter`, "T is made of " + module + "/internal/latency.Counter"},
		{publicTypes, "not exported", pkg + "type t int\nfunc F(map[string]t) {}", "F is made of t, which is not exported"},
		{publicTypes, "embedded", pkg + "type t struct{ A int }\ntype T struct { *t }", "T.t is made of t, which is not exported"},
		{publicTypes, "method", pkg + "type t int\ntype U int\nfunc (U) M() t { return 0 }", "U.M is made of t, which is not exported"},
		{publicTypes, "parameter of a parameter", pkg + "type t int\ntype I interface { M(func(t)) }", "I.M is made of t, which is not exported"},
		{publicTypes, "allowed", pkg + `import ("net"; "` + module + `/work"); type t struct{}; func F(net.Conn, error, ...*work.Job) { _ = t{} }; type T struct { f t }`, ""},
		{stateless, "variable", pkg + "var n int\nfunc F() { n++ }", "n is changed"},
		{stateless, "element", pkg + "var m = map[int]int{}\nfunc F() { m[1] = 2 }", "m is changed"},
		{stateless, "field", pkg + "var s struct{ a int }\nfunc F() { s.a = 2 }", "s is changed"},
		{stateless, "pointer to it", pkg + "var n int\nfunc F() *int { return &n }", "n is pointed to"},
		{stateless, "lock", pkg + `import "sync"; var n sync.Once`, "n holds what changes"},
		{stateless, "atomic", pkg + `import "sync/atomic"; var n struct { a atomic.Pointer[int] }`, "n holds what changes"},
		{stateless, "channel", pkg + "var n = make(chan int)", "n holds what changes"},
		{stateless, "exported table", pkg + "var N = []int{1}", "N can be changed by users"},
		{stateless, "table", pkg + "var n = []int{1}\nfunc F() int { m := n[0]; m++; return m }", ""},
		{stateless, "value", pkg + "var N = [2]int{1}", ""},
		{stateless, "error", pkg + `import "errors"; var Err = errors.New("a")`, ""},
		{explained, "one sentence", "// Package p is.\n" + pkg + "//", "the package comment is no more than a sentence\nthere is no example with output"},
		{explained, "no example", "// Package p is.\n// It has more.\n" + pkg, "there is no example with output"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parseSource(fset, "p/p.go", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			l, err := c.library("p", []source{s})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.problem, strings.Join(sorted(tt.rule(l)), "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What users can name, of each kind.
func TestSurface(t *testing.T) {
	fset := token.NewFileSet()
	c := newChecker(t, fset, "net", module+"/work")
	s, err := parseSource(fset, "p/p.go", []byte(`package p

import ("net"; "`+module+`/work")

const C, D = 1 << 3, "a"
const E T = 2
var Err error
var small int
type T int
type U = work.Job
type S struct { A, B int; C func(name string) error; net.Addr; c int }
type I interface { M(a, b int) (n int); m() }
type unknown int
func F(a int, more ...string) (err error) { return nil }
func (t *T) M(f func(n int, more ...T)) {}
func (t T) N() {}
func (t T) o() {}
func (unknown) M() {}
`))
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.library("p", []source{s})
	if err != nil {
		t.Fatal(err)
	}
	want := `const C untyped int = 8
const D untyped string = "a"
const E T = 2
func F(int, ...string) error
method (*T) M(func(int, ...T))
method (T) N()
type I interface, M(int, int) int
type I interface, with unexported methods
type S struct, A int
type S struct, B int
type S struct, C func(string) error
type S struct, embedded net.Addr
type S struct, with unexported fields
type T int
type U = work.Job
var Err error
`
	if diff := cmp.Diff(want, l.surface()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What users are told of has every public package, and every example.
func TestLibraryDoc(t *testing.T) {
	top := root(t)
	doc, err := os.ReadFile(filepath.Join(top, "docs/library.md"))
	if err != nil {
		t.Fatal(err)
	}
	list := load(t)
	links := map[string]bool{}
	for _, dir := range libraryDirs(list) {
		links["["+dir+"](../"+dir+")"] = true
	}
	for _, s := range list {
		if dir := s.pkg(); under(dir, "examples") && !s.isTest() {
			links["["+dir+"](../"+dir+"/main.go)"] = true
		}
	}
	for link := range links {
		if !strings.Contains(string(doc), link) {
			t.Errorf("docs/library.md has no %s", link)
		}
	}
}

// Programs of the library take in no more than docs/library.md says.
func TestLibraryDependencies(t *testing.T) {
	want := map[string]string{
		"stratum/client": "golang.org/x/net",
		"stratum/server": "golang.org/x/sys",
		"pool":           "github.com/tailscale/hujson golang.org/x/crypto golang.org/x/net golang.org/x/sys",
	}
	for _, dir := range libraryDirs(load(t)) {
		c := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./"+dir)
		c.Dir, c.Env = root(t), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		modules := strings.Fields(string(out))
		slices.Sort(modules)
		modules = slices.DeleteFunc(slices.Compact(modules), func(m string) bool { return m == module })
		if got := strings.Join(modules, " "); got != want[dir] {
			t.Errorf("%s takes in %q, want %q", dir, got, want[dir])
		}
	}
}

// Another module imports every public package, with nothing but what this one requires,
// and the programs of docs/library.md are built in it.
func TestImportable(t *testing.T) {
	top, dir := root(t), t.TempDir()
	var imports strings.Builder
	for _, p := range libraryDirs(load(t)) {
		imports.WriteString("\t_ \"" + module + "/" + p + "\"\n")
	}
	sums, err := os.ReadFile(filepath.Join(top, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"go.mod":      "module example.org/user\n\ngo 1.26.0\n\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + top + "\n",
		"go.sum":      string(sums),
		"all/main.go": "package main\n\nimport (\n" + imports.String() + ")\n\nfunc main() {}\n",
	}
	doc, err := os.ReadFile(filepath.Join(top, "docs/library.md"))
	if err != nil {
		t.Fatal(err)
	}
	programs := strings.Split(string(doc), "```go\n")[1:]
	if len(programs) == 0 {
		t.Error("docs/library.md has no program")
	}
	for i, text := range programs {
		program, _, _ := strings.Cut(text, "```\n")
		if formatted, err := format.Source([]byte(program)); err != nil || string(formatted) != program {
			t.Errorf("program %d of docs/library.md is not gofmt'ed: %v", i+1, err)
		}
		files[fmt.Sprintf("program%d/main.go", i+1)] = program
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("go", "build", "./...")
	c.Dir, c.Env = dir, append(os.Environ(), "GOFLAGS=-trimpath -mod=mod", "GOWORK=off", "GOPROXY=off", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
