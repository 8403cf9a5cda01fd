package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ckpool/ckpool"

// source is one Go file of the module.
type source struct {
	name   string // from the module's root, with slashes
	syntax *ast.File
	fset   *token.FileSet
}

// pkg is the package's directory, "." at the root.
func (s source) pkg() string  { return path.Dir(s.name) }
func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// place is "file:line" of a node.
func (s source) place(n ast.Node) string {
	return s.name + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// imports are the import paths with their places.
func (s source) imports(visit func(path, place string)) {
	for _, i := range s.syntax.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			visit(p, s.place(i))
		}
	}
}

// uses visits each pkg.name of an imported package, as "import/path.name".
func (s source) uses(visit func(name, place string)) {
	named := make(map[string]string)
	s.imports(func(p, _ string) { named[path.Base(p)] = p })
	for _, i := range s.syntax.Imports {
		if i.Name != nil {
			p, _ := strconv.Unquote(i.Path.Value)
			named[i.Name.Name] = p
		}
	}
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && named[x.Name] != "" {
				visit(named[x.Name]+"."+sel.Sel.Name, s.place(sel))
			}
		}
		return true
	})
}

func parseSource(fset *token.FileSet, name string, text []byte) (source, error) {
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return source{name, f, fset}, err
}

// module's root, found from the directory of the test.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

// load reads all Go files of the module.
func load(t *testing.T) []source {
	t.Helper()
	top := root(t)
	fset := token.NewFileSet()
	var list []source
	err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(top, file, d.Name())
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, file)
		s, err := parseSource(fset, filepath.ToSlash(name), text)
		if err == nil && !ast.IsGenerated(s.syntax) {
			list = append(list, s)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// enter keeps the walk out of test data, hidden directories and modules inside
// the module.
func enter(top, dir, name string) error {
	if dir == top {
		return nil
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	if err == nil || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	return nil
}
