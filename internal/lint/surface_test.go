package lint

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// importable tells that other modules can import the package in a directory: all can be
// but commands, examples and what is internal.
func importable(dir string) bool {
	return dir != "." && !under(dir, "internal") && !under(dir, "cmd") && !under(dir, "examples")
}

// libraryDirs are the directories of the packages that other modules can import.
func libraryDirs(list []source) []string {
	var dirs []string
	for _, s := range list {
		if p := s.pkg(); !s.isTest() && importable(p) && !slices.Contains(dirs, p) {
			dirs = append(dirs, p)
		}
	}
	slices.Sort(dirs)
	return dirs
}

// library is one such package as its users see it.
type library struct {
	dir   string
	pkg   *types.Package
	info  *types.Info
	files []source // without tests
	tests []source
}

// checker makes libraries of source. What they import comes as Go has compiled it.
type checker struct {
	fset *token.FileSet
	from types.Importer
}

// newChecker has Go compile what packages of the module import, in the way that all tests
// do, whatever the test itself is built with.
func newChecker(t *testing.T, fset *token.FileSet, packages ...string) checker {
	t.Helper()
	c := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Export"}, packages...)...)
	c.Dir, c.Env = root(t), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	compiled := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		compiled[p.ImportPath] = p.Export
	}
	return checker{fset, importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if compiled[path] == "" {
			return nil, fmt.Errorf("%s is not among what was compiled", path)
		}
		return os.Open(compiled[path])
	})}
}

// library checks the types of the package in a directory.
func (c checker) library(dir string, list []source) (*library, error) {
	l := &library{dir: dir, info: &types.Info{
		Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{},
	}}
	var files []*ast.File
	for _, s := range list {
		switch {
		case s.pkg() != dir:
		case s.isTest():
			l.tests = append(l.tests, s)
		default:
			l.files, files = append(l.files, s), append(files, s.syntax)
		}
	}
	var err error
	l.pkg, err = (&types.Config{Importer: c.from}).Check(module+"/"+dir, c.fset, files, l.info)
	return l, err
}

// exported visits the exported names of a package: those of its scope, fields of structs,
// what these embed if it gives them any, and methods. A member stands behind the type that it is of: "Job.Hash".
func (l *library) exported(visit func(name string, o types.Object)) {
	for _, name := range l.pkg.Scope().Names() {
		o := l.pkg.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		visit(name, o)
		t, ok := o.(*types.TypeName)
		if !ok || t.IsAlias() {
			continue
		}
		named := t.Type().(*types.Named)
		for m := range named.Methods() {
			if m.Exported() {
				visit(name+"."+m.Name(), m)
			}
		}
		switch u := named.Underlying().(type) {
		case *types.Struct:
			for f := range u.Fields() {
				if f.Exported() || f.Embedded() && gives(f.Type()) {
					visit(name+"."+f.Name(), f)
				}
			}
		case *types.Interface:
			for m := range u.ExplicitMethods() {
				if m.Exported() {
					visit(name+"."+m.Name(), m)
				}
			}
		}
	}
}

var update = flag.Bool("update", false, "write what users of public packages can name to testdata/api")

// gives tells that a struct which embeds a type has exported names of that.
func gives(t types.Type) bool {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	for m := range types.NewMethodSet(types.NewPointer(t)).Methods() {
		if m.Obj().Exported() {
			return true
		}
	}
	s, ok := t.Underlying().(*types.Struct)
	if !ok {
		return false
	}
	for f := range s.Fields() {
		if f.Exported() {
			return true
		}
	}
	return false
}

// A libraryRule names what in a public package breaks it, one line each.
type libraryRule struct {
	name  string
	check func(*library) []string
}

var libraryRules = []libraryRule{
	{"exported names have comments", commented},
	{"exported names are made of the standard library and public packages alone", publicTypes},
	{"there is no package state", stateless},
	{"packages are explained and have an example that runs", explained},
}

// The packages that others build on keep the promises of docs/library.md.
func TestLibrary(t *testing.T) {
	list := load(t)
	dirs := libraryDirs(list)
	for dir := range public {
		if !slices.Contains(dirs, dir) {
			t.Errorf("there is no public package %s", dir)
		}
	}
	for l := range libraries(t, list, dirs) {
		t.Run(l.dir, func(t *testing.T) {
			for _, r := range libraryRules {
				for _, line := range sorted(r.check(l)) {
					t.Errorf("%s: %s", r.name, line)
				}
			}
			compareSurface(t, l)
		})
	}
	files, err := filepath.Glob(snapshot("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.ContainsFunc(dirs, func(dir string) bool { return snapshot(dir) == file }) {
			t.Errorf("internal/lint/%s is of no package: remove it, and say so under \"Changes\" in docs/library.md", file)
		}
	}
}

// libraries are the packages of dirs.
func libraries(t *testing.T, list []source, dirs []string) func(func(*library) bool) {
	t.Helper()
	var paths []string
	for _, dir := range dirs {
		paths = append(paths, module+"/"+dir)
	}
	c := newChecker(t, list[0].fset, paths...)
	return func(yield func(*library) bool) {
		for _, dir := range dirs {
			l, err := c.library(dir, list)
			if err != nil {
				t.Error(err)
			} else if !yield(l) {
				return
			}
		}
	}
}

// commented wants a comment at each exported name. In a group of constants or variables
// each has its own, before it or on its line; so do fields, and methods of interfaces, but
// that a comment before one is also for those that follow without an empty line. What is
// embedded is explained where it is declared.
func commented(l *library) (bad []string) {
	missing := func(s source, n ast.Node, name string) { bad = append(bad, s.place(n)+" "+name+" has no comment") }
	for _, s := range l.files {
		for _, d := range s.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if of := receiver(d); d.Name.IsExported() && ast.IsExported(of) && d.Doc == nil {
					missing(s, d, strings.TrimPrefix(of+"."+d.Name.Name, everywhere+"."))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					grouped := d.Lparen.IsValid()
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						if !spec.Name.IsExported() {
							continue
						}
						if spec.Doc == nil && (grouped || d.Doc == nil) {
							missing(s, spec, spec.Name.Name)
						}
						switch u := spec.Type.(type) {
						case *ast.StructType:
							members(s, u.Fields, func(n ast.Node, name string) { missing(s, n, spec.Name.Name+"."+name) })
						case *ast.InterfaceType:
							members(s, u.Methods, func(n ast.Node, name string) { missing(s, n, spec.Name.Name+"."+name) })
						}
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							if name.IsExported() && spec.Doc == nil && spec.Comment == nil && (grouped || d.Doc == nil) {
								missing(s, spec, name.Name)
							}
						}
					}
				}
			}
		}
	}
	return bad
}

// everywhere is what a function is a method of that is none.
const everywhere = "F"

// receiver is the name of the type that a function is a method of.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return everywhere
	}
	e := d.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if index, ok := e.(*ast.IndexExpr); ok {
		e = index.X
	}
	return e.(*ast.Ident).Name
}

// members tells which of the exported fields have no comment. Those of a type that is
// written on one line are explained by its own.
func members(s source, fields *ast.FieldList, missing func(n ast.Node, name string)) {
	if s.fset.Position(fields.Pos()).Line == s.fset.Position(fields.End()).Line {
		return
	}
	commented, last := false, 0 // by one before, which ended on that line
	for _, f := range fields.List {
		first := f.Pos()
		if f.Doc != nil {
			first = f.Doc.Pos()
		}
		commented = f.Doc != nil || commented && s.fset.Position(first).Line == last+1
		last = s.fset.Position(f.End()).Line
		for _, name := range f.Names {
			if name.IsExported() && !commented && f.Comment == nil {
				missing(f, name.Name)
			}
		}
	}
}

// publicTypes keeps types that users cannot name, or would have to get elsewhere, out of
// what they see.
func publicTypes(l *library) (bad []string) {
	l.exported(func(name string, o types.Object) {
		foreign(o.Type(), l.pkg, func(t *types.TypeName) {
			if t.Pkg() != l.pkg {
				bad = append(bad, name+" is made of "+t.Pkg().Path()+"."+t.Name())
			} else {
				bad = append(bad, name+" is made of "+t.Name()+", which is not exported")
			}
		})
	})
	return bad
}

// foreign visits the names in a type that users of a package cannot use.
func foreign(t types.Type, of *types.Package, visit func(*types.TypeName)) {
	named := func(n *types.TypeName, args *types.TypeList) {
		if p := n.Pkg(); p != nil {
			dir, ours := own(p.Path())
			if !n.Exported() || ours && under(dir, "internal") || !ours && !standard(p.Path()) {
				visit(n)
			}
		}
		for i := range args.Len() {
			foreign(args.At(i), of, visit)
		}
	}
	switch t := t.(type) {
	case *types.Alias:
		named(t.Obj(), t.TypeArgs())
		foreign(t.Rhs(), of, visit)
	case *types.Named:
		named(t.Obj(), t.TypeArgs())
	case *types.Pointer:
		foreign(t.Elem(), of, visit)
	case *types.Slice:
		foreign(t.Elem(), of, visit)
	case *types.Array:
		foreign(t.Elem(), of, visit)
	case *types.Chan:
		foreign(t.Elem(), of, visit)
	case *types.Map:
		foreign(t.Key(), of, visit)
		foreign(t.Elem(), of, visit)
	case *types.Signature:
		for v := range t.Params().Variables() {
			foreign(v.Type(), of, visit)
		}
		for v := range t.Results().Variables() {
			foreign(v.Type(), of, visit)
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() || f.Embedded() {
				foreign(f.Type(), of, visit)
			}
		}
	}
}

// stateless allows variables of a package that nothing changes: errors, and tables.
// What can be changed by users, and what holds something that changes, is none.
func stateless(l *library) (bad []string) {
	state := map[types.Object]string{}
	for _, name := range l.pkg.Scope().Names() {
		v, ok := l.pkg.Scope().Lookup(name).(*types.Var)
		switch {
		case !ok || isError(v.Type()):
		case changing(v.Type()):
			state[v] = name + " holds what changes"
		case v.Exported() && !flat(v.Type()):
			state[v] = name + " can be changed by users"
		}
	}
	for _, s := range l.files {
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			changed := func(e ast.Expr, how string) {
				id := rootOf(e)
				if id == nil {
					return
				}
				if v, ok := l.info.Uses[id].(*types.Var); ok && v.Parent() == l.pkg.Scope() {
					state[v] = v.Name() + " is " + how
				}
			}
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, e := range n.Lhs {
					changed(e, "changed")
				}
			case *ast.IncDecStmt:
				changed(n.X, "changed")
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					changed(n.Key, "changed")
					changed(n.Value, "changed")
				}
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					changed(n.X, "pointed to")
				}
			}
			return true
		})
	}
	for _, what := range state {
		bad = append(bad, what)
	}
	return bad
}

// rootOf is the variable that an expression is a part of, nil for none.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

func isError(t types.Type) bool {
	return types.Identical(t, types.Universe.Lookup("error").Type())
}

// changing tells that a value changes by its methods, or by who has the other end.
func changing(t types.Type) bool {
	if named, ok := t.(*types.Named); ok && named.Obj().Pkg() != nil {
		if p := named.Obj().Pkg().Path(); p == "sync" || p == "sync/atomic" {
			return true
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Chan:
		return true
	case *types.Pointer:
		return changing(u.Elem())
	case *types.Struct:
		for f := range u.Fields() {
			if changing(f.Type()) {
				return true
			}
		}
	}
	return false
}

// flat tells that a copy of a value shares nothing with it.
func flat(t types.Type) bool {
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return true
	case *types.Array:
		return flat(u.Elem())
	case *types.Struct:
		for f := range u.Fields() {
			if !flat(f.Type()) {
				return false
			}
		}
		return true
	}
	return false
}

// explained wants more than one sentence about a package, and an example whose output is
// checked.
func explained(l *library) (bad []string) {
	text := ""
	for _, s := range l.files {
		text += s.syntax.Doc.Text()
	}
	if first := new(doc.Package).Synopsis(text); len(strings.Join(strings.Fields(text), " ")) <= len(first) {
		bad = append(bad, "the package comment is no more than a sentence")
	}
	var tests []*ast.File
	for _, s := range l.tests {
		tests = append(tests, s.syntax)
	}
	if !slices.ContainsFunc(doc.Examples(tests...), func(e *doc.Example) bool { return e.Output != "" }) {
		bad = append(bad, "there is no example with output")
	}
	return bad
}

// surface is what users can name, a line each, as they can use it: comments and names of
// parameters are not in it.
func (l *library) surface() string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	text := func(t types.Type) string {
		return types.TypeString(unnamed(t), func(p *types.Package) string {
			if p == l.pkg {
				return ""
			}
			return p.Name()
		})
	}
	signature := func(o types.Object) string { return strings.TrimPrefix(text(o.Type()), "func") }
	l.exported(func(name string, o types.Object) {
		of, _, _ := strings.Cut(name, ".")
		switch o := o.(type) {
		case *types.Const:
			say("const %s %s = %s", name, text(o.Type()), o.Val().ExactString())
		case *types.Var:
			switch {
			case !o.IsField():
				say("var %s %s", name, text(o.Type()))
			case o.Embedded():
				say("type %s struct, embedded %s", of, text(o.Type()))
			default:
				say("type %s struct, %s %s", of, o.Name(), text(o.Type()))
			}
		case *types.Func:
			switch r := o.Signature().Recv(); {
			case r == nil:
				say("func %s%s", name, signature(o))
			case types.IsInterface(r.Type()):
				say("type %s interface, %s%s", of, o.Name(), signature(o))
			default:
				say("method (%s) %s%s", text(r.Type()), o.Name(), signature(o))
			}
		case *types.TypeName:
			if alias, ok := o.Type().(*types.Alias); ok {
				say("type %s = %s", name, text(alias.Rhs()))
				return
			}
			switch u := o.Type().Underlying().(type) {
			case *types.Struct:
				how := ""
				for f := range u.Fields() {
					if !f.Exported() {
						how = ", with unexported fields"
					}
				}
				if types.Comparable(o.Type()) {
					how += ", comparable"
				}
				say("type %s struct%s", name, how)
			case *types.Interface:
				how := ""
				for m := range u.Methods() {
					if !m.Exported() {
						how = ", with unexported methods"
					}
				}
				say("type %s interface%s", name, how)
			default:
				say("type %s %s", name, text(u))
			}
		}
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// unnamed is a type without the names of its parameters.
func unnamed(t types.Type) types.Type {
	tuple := func(t *types.Tuple) *types.Tuple {
		var list []*types.Var
		for v := range t.Variables() {
			list = append(list, types.NewParam(token.NoPos, v.Pkg(), "", unnamed(v.Type())))
		}
		return types.NewTuple(list...)
	}
	switch t := t.(type) {
	case *types.Signature:
		return types.NewSignatureType(nil, nil, nil, tuple(t.Params()), tuple(t.Results()), t.Variadic())
	case *types.Map:
		return types.NewMap(t.Key(), unnamed(t.Elem()))
	case *types.Slice:
		return types.NewSlice(unnamed(t.Elem()))
	}
	return t
}

// snapshot is the file of what a package had for users when somebody last looked.
func snapshot(dir string) string {
	return filepath.Join("testdata", "api", strings.ReplaceAll(dir, "/", ".")+".txt")
}

// compareSurface has changes of what users can name seen in review.
func compareSurface(t *testing.T, l *library) {
	t.Helper()
	file := snapshot(l.dir)
	got := l.surface()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	gone, added := compareLines(string(b), got)
	if len(gone)+len(added) == 0 {
		return
	}
	for i := range gone {
		gone[i] = "- " + gone[i]
	}
	for i := range added {
		added[i] = "+ " + added[i]
	}
	t.Errorf("what users of the package can name is not what is in internal/lint/%s:\n%s\n"+
		"If that is meant, write it anew with \"make api\". What is gone or different is named under \"Changes\" in docs/library.md.",
		file, strings.Join(append(gone, added...), "\n"))
}

// compareLines are the lines of two sorted texts that the other has not.
func compareLines(a, b string) (gone, added []string) {
	before, after := strings.Split(strings.TrimSpace(a), "\n"), strings.Split(strings.TrimSpace(b), "\n")
	for _, line := range before {
		if line != "" && !slices.Contains(after, line) {
			gone = append(gone, line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			added = append(added, line)
		}
	}
	return gone, added
}
