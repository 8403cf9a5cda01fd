package compare

import (
	"fmt"
	"strings"
)

// row is one quantity of the table.
type row struct {
	key, name, unit string
	budget          budget
}

// budget is what the pool's median may be at most; zero members are no limit.
type budget struct {
	most  float64
	above float64 // more than the bare loop
	ratio float64 // to the bare loop, or to what against says
	than  reference
}

// reference is another row's figures of some server.
type reference struct {
	key  string
	kind kind
}

// rows are the table, in its order. Rows of solo, of a pool with a journal or a page and of a proxy
// stand in the column of the pool.
var rows = []row{
	{"pipelined CPU", "CPU per share, %[1]d miners with 8 outstanding each", "µs", budget{most: 7, above: 5}},
	{"pipelined rate", "… shares per second", "k/s", budget{}},
	{"steady CPU", "CPU per share, %[3]g/s of %[2]d miners", "µs", budget{most: 42, ratio: 1.6}},
	{"steady p50", "… reply latency, p50", "ms", budget{most: 0.15}},
	{"steady p99", "… reply latency, p99", "ms", budget{most: 0.45}},
	{"steady max", "… reply latency, max", "ms", budget{}},
	{"blocks p50", "… while %[6]d others get a block every second, p50", "ms", budget{}},
	{"blocks p99", "… p99", "ms", budget{most: 6}},
	{"blocks max", "… max", "ms", budget{most: 20}},
	{"memory per miner", "resident memory per idle miner, of %[4]d", "KB", budget{most: 1}},
	{"memory in all", "… in all", "MB", budget{most: 30}},
	{"most memory", "… per miner of %[9]d, as the limit of open files allows", "KB", budget{most: 1}},
	{"memory after shares", "… more after %[7]d shares", "MB", budget{most: 14}},
	{"published", "node's answer (%[8]d transactions) → job published", "ms", budget{most: 4}},
	{"few first", "new block → first of %[5]d miners has clean work", "ms", budget{}},
	{"few median", "… median", "ms", budget{}},
	{"few p99", "… p99", "ms", budget{}},
	{"few last", "… last", "ms", budget{}},
	{"many first", "new block → first of %[4]d miners has clean work", "ms", budget{most: 9}},
	{"many median", "… median", "ms", budget{}},
	{"many p99", "… p99", "ms", budget{}},
	{"many last", "… last", "ms", budget{most: 100, ratio: 1.25}},
	{"notify CPU", "… CPU per miner", "µs", budget{}},
	{"storm last", "%[4]d miners connect, subscribe, authorize, get work", "s", budget{most: 1.1}},
	{"storm CPU", "… CPU", "s", budget{most: 0.6}},
	{"journal pipelined CPU", "with a journal: CPU per share, as in the first row", "µs", budget{ratio: 1.2, than: reference{"pipelined CPU", pool}}},
	{"journal steady CPU", "… %[3]g/s of %[2]d miners", "µs", budget{ratio: 1.2, than: reference{"steady CPU", pool}}},
	{"journal steady p99", "… reply latency, p99", "ms", budget{ratio: 1.5, than: reference{"steady p99", pool}}},
	{"journal memory after shares", "… more memory after %[7]d shares, 16 MB of it for each core", "MB", budget{}},
	{"solo CPU", "solo: CPU per share, as in the first row", "µs", budget{ratio: 1.2, than: reference{"pipelined CPU", pool}}},
	{"solo last", "solo: new block → last of %[4]d addresses has clean work", "ms", budget{ratio: 1.6, than: reference{"many last", floor}}},
	{"solo memory", "solo: resident memory per idle miner", "KB", budget{most: 2}},
	{"farm CPU", "proxy before a pool: CPU per share, %[11]g/s of %[10]d miners", "µs", budget{ratio: 1.1, than: reference{"farm CPU", pool}}},
	{"farm p99", "… reply latency, p99", "ms", budget{}},
	{"farm memory", "… resident memory with %[4]d idle miners, in all", "MB", budget{ratio: 1.1, than: reference{"farm memory", pool}}},
	{"farm refused", "… refused above at a new block, of what goes up in ten minutes", "%", budget{most: 0.1}},
	{"page CPU", "page of a pool with %[9]d idle miners, nine to a user: CPU for a tab that is open", "%", budget{most: 1}},
	{"page readers CPU", "… for 1000 who look every five seconds", "%", budget{}},
	{"page load", "… page and curve of a year, or a user's, are loaded in", "ms", budget{most: 200}},
	{"page p99 quiet", "… reply latency, p99, %[3]g/s of %[2]d miners, nobody reads", "ms", budget{}},
	{"page p99", "… while 200 streams are open", "ms", budget{ratio: 1.25, than: reference{"page p99 quiet", shown}}},
	{"page last quiet", "… new block → last of %[4]d miners has clean work, nobody reads", "ms", budget{}},
	{"page last", "… while 200 streams are open", "ms", budget{ratio: 1.25, than: reference{"page last quiet", shown}}},
}

// title is the row's name with the sizes put in.
func (r *row) title(s Size) string {
	name := fmt.Sprintf(r.name+"%.0[12]s", s.Pipelining, s.Steady, s.Rate, s.Miners, s.Few, s.Miners*9/10, s.Shares, s.Transactions, s.Most, s.Farm, s.FarmRate, "")
	name, _, _ = strings.Cut(name, "%!(EXTRA")
	return name
}

// journalPrefix is how the keys begin of what a pool with a journal is measured by as well.
const journalPrefix = "journal "

// kind of server whose figures stand in the pool's column.
func (r *row) kind() kind {
	switch {
	case strings.HasPrefix(r.key, "solo "):
		return solo
	case strings.HasPrefix(r.key, "farm "):
		return proxy
	case strings.HasPrefix(r.key, "page "):
		return shown
	case strings.HasPrefix(r.key, journalPrefix):
		return journaled
	}
	return pool
}

// base is what the row's ratio is to.
func (r *row) base() reference {
	if r.budget.than.key != "" {
		return r.budget.than
	}
	return reference{r.key, floor}
}

// text is the budget in words.
func (r *row) text() string {
	var parts []string
	b := r.budget
	if b.most > 0 {
		parts = append(parts, fmt.Sprintf("≤ %g %s", b.most, r.unit))
	}
	if b.above > 0 {
		parts = append(parts, fmt.Sprintf("≤ bare + %g %s", b.above, r.unit))
	}
	if b.ratio > 0 {
		than := "bare"
		switch {
		case b.than.key == "":
		case b.than.kind == pool:
			than = "pool"
		case b.than.kind == shown:
			than = "without"
		}
		parts = append(parts, fmt.Sprintf("≤ %g × %s", b.ratio, than))
	}
	return strings.Join(parts, ", ")
}
