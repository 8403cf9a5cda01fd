package lint

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"sort"
	"strings"
)

// A rule names what breaks it, one line each.
type rule struct {
	name  string
	check func([]source) []string
}

var rules = []rule{
	{"public packages import only the standard library, each other, leaves and golang.org/x", publicImports},
	{"examples import what every other module can", exampleImports},
	{"arithmetic packages do no I/O and start no goroutine", pureArithmetic},
	{"money has no floating point", exactMoney},
	{"imports point downwards", direction},
	{"the database is for accounting, the web and ckdb", storeUsers},
	{"NATS is for forward, and forward for accounting and ckdb", forwardUsers},
	{"who shows a pool knows none of its parts", showing},
	{"testkit is for tests and ckbench", testkitUsers},
	{"who works with sources does not know nodes", nodeUsers},
	{"only commands read flags and environment, change what is the process's, or exit", commandsOnly},
	{"no cgo", noCgo},
	{"packages have a comment", packageDocs},
	{"tests do not sleep in real time", noSleep},
	{"nothing is a skeleton", noSkeleton},
}

var public = set("address", "difficulty", "stratum", "stratum/client", "work", "bitcoind", "source", "sharelog", "journal", "control", "event", "poolproto")

// leaves are internal packages that public ones may import, and stand where they do.
var leaves = set("internal/hexdigit", "internal/jsontext", "internal/segment", "internal/wire")

// standsOn are the parts of ckpool that public packages have besides.
var standsOn = map[string]map[string]bool{"stratum/server": set("internal/netserver")}

// arithmetic are packages that only compute.
var arithmetic = set("address", "difficulty", "stratum", "work", "internal/hexdigit", "internal/jsontext", "internal/rewards", "internal/luck")

// money are packages, and files of others, in which nothing but integers may be
// computed with: what comes out of them is paid.
var money = []string{
	"internal/rewards/", "internal/payout/", "internal/store/ledger.go", "internal/store/settings.go", "internal/store/chain.go", "internal/store/settle.go", "internal/store/fate.go",
	"internal/store/source.go", "internal/store/addresses.go", "internal/store/payments.go", "internal/store/payees.go", "internal/store/rewards.go", "internal/store/totals.go", "internal/accounting/chain.go",
}

// level of the packages above the public ones: a package imports its own level
// or lower ones. What is not named here stands beside level 1.
var level = map[string]int{
	"internal/users": 2, "internal/jobs": 3, "internal/blocks": 4, "internal/operator": 5, "internal/pool": 6, "internal/edge": 6,
	"internal/upstream": 4, "internal/relay": 4, "internal/nodework": 4, "internal/remote": 4, "internal/accounting": 4, "internal/forward": 4, "internal/web": 6, "internal/notify": 6, "internal/history": 6, "internal/metrics": 6,
	"stratum/server": 2,
	"pool":           7, // of the library, for programs alone
	"internal/bench": 7, "internal/testkit": 7, "internal/lint": 7,
}

// never are imports that no level forbids.
var never = map[string]string{
	"internal/accounting": "internal/netserver",
	"internal/payout":     "internal/store", // which keeps its book
	"work":                "stratum",        // no protocol between pool and miner
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool)
	for _, n := range names {
		m[n] = true
	}
	return m
}

// under reports whether pkg is dir or below it.
func under(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// levelOf is 0 for public packages, 8 for commands and examples.
func levelOf(pkg string) int {
	top := strings.SplitN(pkg, "/", 3)
	switch {
	case public[pkg] || leaves[pkg]:
		return 0
	case top[0] == "cmd", top[0] == "examples":
		return 8
	}
	if n, ok := level[path.Join(top[:min(2, len(top))]...)]; ok {
		return n
	}
	return 1
}

// own is the package's directory when p is of this module.
func own(p string) (string, bool) { return strings.CutPrefix(p, module+"/") }

func standard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".") && first != module
}

func publicImports(list []source) (bad []string) {
	for _, s := range list {
		parts := standsOn[s.pkg()]
		if levelOf(s.pkg()) > 0 && parts == nil || s.isTest() {
			continue
		}
		s.imports(func(p, place string) {
			dir, ours := own(p)
			if p == "log" || p == "log/slog" || !standard(p) && !strings.HasPrefix(p, "golang.org/x/") && !(ours && (levelOf(dir) == 0 || parts[dir])) {
				bad = append(bad, place+" imports "+p)
			}
		})
	}
	return bad
}

func exampleImports(list []source) (bad []string) {
	for _, s := range list {
		if !under(s.pkg(), "examples") || s.isTest() {
			continue
		}
		s.imports(func(p, place string) {
			if dir, ours := own(p); !standard(p) && !(ours && importable(dir)) {
				bad = append(bad, place+" imports "+p)
			}
		})
	}
	return bad
}

func pureArithmetic(list []source) (bad []string) {
	io := set("net", "net/http", "os", "os/exec", "os/signal", "io/fs", "io/ioutil", "syscall", "golang.org/x/sys/unix")
	for _, s := range list {
		if !arithmetic[s.pkg()] || s.isTest() {
			continue
		}
		s.imports(func(p, place string) {
			if io[p] {
				bad = append(bad, place+" imports "+p)
			}
		})
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				bad = append(bad, s.place(g)+" starts a goroutine")
			}
			return true
		})
	}
	return bad
}

// exactMoney forbids types and literals of floating point, and what takes or gives them.
func exactMoney(list []source) (bad []string) {
	types := set("float32", "float64", "complex64", "complex128")
	calls := set("math/big.Float", "math/big.NewFloat", "math/big.ParseFloat", "strconv.ParseFloat", "strconv.FormatFloat", "strconv.AppendFloat", "strconv.ParseComplex",
		"github.com/ckpool/ckpool/difficulty.ExactOf")
	methods := set("Float", "Float32", "Float64", "SetFloat64", "AsFloat", "Seconds", "Minutes", "Hours")
	for _, s := range list {
		if s.isTest() || !slices.ContainsFunc(money, func(prefix string) bool { return strings.HasPrefix(s.name, prefix) }) {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if n.Kind == token.FLOAT || n.Kind == token.IMAG {
					bad = append(bad, s.place(n)+" has "+n.Value)
				}
			case *ast.Ident:
				if types[n.Name] {
					bad = append(bad, s.place(n)+" has "+n.Name)
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && methods[sel.Sel.Name] {
					bad = append(bad, s.place(n)+" calls "+sel.Sel.Name)
				}
			}
			return true
		})
		s.uses(func(name, place string) {
			// Of math the bounds of integers are allowed.
			bound := strings.HasPrefix(name, "math.MaxInt") || strings.HasPrefix(name, "math.MinInt") || strings.HasPrefix(name, "math.MaxUint")
			if calls[name] || strings.HasPrefix(name, "math.") && !bound {
				bad = append(bad, place+" uses "+name)
			}
		})
	}
	return bad
}

func direction(list []source) (bad []string) {
	for _, s := range list {
		if s.isTest() {
			continue
		}
		pkg := s.pkg()
		s.imports(func(p, place string) {
			dir, ours := own(p)
			if !ours {
				return
			}
			forbidden := never[pkg]
			if levelOf(dir) > levelOf(pkg) || forbidden != "" && under(dir, forbidden) {
				bad = append(bad, place+" imports "+p)
			}
		})
	}
	return bad
}

// storeUsers keeps databases, all that they bring along, and who stores in them out of
// ckpool: it writes the journal.
func storeUsers(list []source) (bad []string) {
	for _, s := range list {
		pkg := s.pkg()
		if s.isTest() || under(pkg, "internal/store") || under(pkg, "internal/accounting") || under(pkg, "internal/forward") || under(pkg, "internal/web") || under(pkg, "cmd/ckdb") {
			continue
		}
		s.imports(func(p, place string) {
			if dir, ours := own(p); ours && (under(dir, "internal/store") || under(dir, "internal/accounting")) {
				bad = append(bad, place+" imports "+p)
			}
		})
	}
	return bad
}

// forwardUsers keeps NATS, and all that it brings along, out of ckpool and of who does
// not need it.
func forwardUsers(list []source) (bad []string) {
	for _, s := range list {
		pkg := s.pkg()
		if under(pkg, "internal/forward") {
			continue
		}
		ckdb := under(pkg, "internal/accounting") || under(pkg, "cmd/ckdb")
		s.imports(func(p, place string) {
			dir, ours := own(p)
			if strings.HasPrefix(p, "github.com/nats-io/") || ours && under(dir, "internal/forward") && !ckdb {
				bad = append(bad, place+" imports "+p)
			}
		})
	}
	return bad
}

func testkitUsers(list []source) (bad []string) {
	for _, s := range list {
		pkg := s.pkg()
		if s.isTest() || under(pkg, "internal/testkit") || under(pkg, "internal/bench") || under(pkg, "cmd/ckbench") {
			continue
		}
		s.imports(func(p, place string) {
			if dir, ours := own(p); ours && under(dir, "internal/testkit") {
				bad = append(bad, place+" imports "+p)
			}
		})
	}
	return bad
}

// nodeUsers allows nodes where a pool is made of them, where they are configured, and
// where money follows the chain.
func nodeUsers(list []source) (bad []string) {
	for _, s := range list {
		pkg := s.pkg()
		if s.isTest() || under(pkg, "cmd") || under(pkg, "examples") || under(pkg, "internal/testkit") || pkg == "pool" || pkg == "internal/config" || s.name == "internal/pool/pool.go" || s.name == "internal/edge/node.go" || pkg == "internal/accounting" || pkg == "internal/payout" {
			continue
		}
		s.imports(func(p, place string) {
			if dir, _ := own(p); dir == "bitcoind" {
				bad = append(bad, place+" imports "+p)
			}
		})
	}
	return bad
}

// views are what shows a pool, and what of this module those may import beside leaves
// and each other.
var (
	views  = set("internal/history", "internal/metrics")
	viewed = set("control", "difficulty", "event", "sharelog", "internal/figures", "internal/httpserver", "internal/latency", "internal/operator")
)

// showing keeps what shows a pool from its parts, and all but commands and the pool from
// what shows it.
func showing(list []source) (bad []string) {
	for _, s := range list {
		pkg := s.pkg()
		if s.isTest() {
			continue
		}
		s.imports(func(p, place string) {
			dir, ours := own(p)
			if views[pkg] && ours && !viewed[dir] && !views[dir] || views[dir] && !views[pkg] && pkg != "internal/pool" && pkg != "internal/web" && !under(pkg, "cmd") {
				bad = append(bad, place+" imports "+p)
			}
		})
	}
	return bad
}

// processWide is a package for commands alone.
const processWide = "internal/descriptors"

func commandsOnly(list []source) (bad []string) {
	calls := set("os.Chdir", "runtime/debug.SetGCPercent", "runtime/debug.SetMemoryLimit", "golang.org/x/sys/unix.Setrlimit", "syscall.Setrlimit",
		"os.Exit", "os.Getenv", "os.LookupEnv", "os.Environ", "os.Args", "log.Fatal", "log.Fatalf", "log.Fatalln")
	for _, s := range list {
		pkg := s.pkg()
		if s.isTest() || under(pkg, "cmd") || under(pkg, "examples") || under(pkg, "internal/testkit") || pkg == processWide {
			continue
		}
		s.imports(func(p, place string) {
			if dir, _ := own(p); dir == processWide {
				bad = append(bad, place+" imports "+p)
			}
			if p == "flag" || p == "github.com/spf13/pflag" && pkg != "internal/getopt" {
				bad = append(bad, place+" imports "+p)
			}
		})
		s.uses(func(name, place string) {
			if calls[name] {
				bad = append(bad, place+" uses "+name)
			}
		})
	}
	return bad
}

func noCgo(list []source) (bad []string) {
	for _, s := range list {
		s.imports(func(p, place string) {
			if p == "C" {
				bad = append(bad, place+" imports C")
			}
		})
	}
	return bad
}

func packageDocs(list []source) (bad []string) {
	documented := make(map[string]bool)
	for _, s := range list {
		if !s.isTest() {
			documented[s.pkg()] = documented[s.pkg()] || s.syntax.Doc != nil
		}
	}
	for pkg, ok := range documented {
		if !ok {
			bad = append(bad, pkg+" has no package comment")
		}
	}
	return bad
}

// noSleep allows time.Sleep where time is not real: in packages whose tests run
// in synctest bubbles, also from helpers of theirs.
func noSleep(list []source) (bad []string) {
	bubbles := map[string]bool{}
	for _, s := range list {
		for _, i := range s.syntax.Imports {
			if i.Path.Value == `"testing/synctest"` {
				bubbles[s.pkg()] = true
			}
		}
	}
	for _, s := range list {
		if !s.isTest() || bubbles[s.pkg()] {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && selector(call.Fun) == "time.Sleep" {
				bad = append(bad, s.place(call)+" sleeps")
			}
			return true
		})
	}
	return bad
}

func noSkeleton(list []source) (bad []string) {
	for _, s := range list {
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			f, _ := call.Fun.(*ast.Ident)
			text, _ := call.Args[0].(*ast.BasicLit)
			if f != nil && f.Name == "panic" && text != nil && text.Value == `"skeleton"` {
				bad = append(bad, s.place(call)+" is a skeleton")
			}
			return true
		})
	}
	return bad
}

// selector is "pkg.Name" of such an expression.
func selector(e ast.Expr) string {
	if sel, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := sel.X.(*ast.Ident); ok {
			return x.Name + "." + sel.Sel.Name
		}
	}
	return ""
}

// sorted, because some rules walk maps.
func sorted(bad []string) []string {
	sort.Strings(bad)
	return bad
}
