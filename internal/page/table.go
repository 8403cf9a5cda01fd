package page

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ckpool/ckpool/internal/figures"
)

// unseen are members that repeat others or serve programs.
var unseen = []string{"enonce1var", "enonce1_64", "proxyid", "subproxyid", "server", "subscribed", "userid", "mindiff", "global", secret, "kind", "rejected_work", "since", "from_height"}

// wanted are the columns of a table by what is wanted first where not all of them
// fit; others come after these.
var wanted = map[string][]string{
	"users":    {"user", "state", "dsps1", "hashrate", "workers", "lastshare", "dsps1440", "shares", "work", "accepted_above_work", "bestdiff", "bestever"},
	"workers":  {"worker", "dsps1", "hashrate", "lastshare", "accepted_shares", "shares", "work", "accepted_above_work", "rejects", "dsps1440", "bestdiff", "started"},
	"clients":  {"id", "workername", "dsps1", "diff", "lastshare", "useragent", "address"},
	"blocks":   {"height", "worker", "reward", "time", "state", "hash"},
	"shifts":   {"pool", "shift", "started", "shares", "work", "accepted_above_work", "jobs", "cause"},
	"rewards":  {"height", "state", "value", "amount", "credited", "fee", "accounts", "confirmations", "time", "hash"},
	"credits":  {"user", "amount", "satoshis", "counted", "ppm", "weight", "whole", "rank", "remainder"},
	"balances": {"user", "balance", "immature"},
	"payees":   {"user", "amount", "address", "debit", "transaction"},
	"outputs":  {"user", "amount", "address", "debit"},
	"left":     {"user", "balance"},
	"payments": {"payment", "state", "debit", "network_fee", "payees", "confirmations", "txid", "by", "run"},
	"settings": {"name", "user", "value", "from", "meaning"},
	"changes":  {"time", "by", "what", "subject", "after", "before"},
	"tokens":   {"number", "name", "expires", "revoked", "scopes", "created"},
	"segments": {"name", "first", "last", "shares", "bytes", "whole", "damaged"},
	"proxies": {"id", "subid", "url", "auth", "alive", "dead", "active", "clients", "bound_clients", "maxclients", "headroom", "diff", "weight", "wanted", "part",
		"subproxies", "priority", "disabled"},
	"subproxies": {"subid", "auth", "alive", "clients", "maxclients", "diff", "enonce1"},
	"proxy":      {"id", "subid", "url", "auth", "alive", "accepted_count", "rejected_count", "tdsps60", "dsps60", "latency_ms", "lastshare", "clients", "rejects", "unanswered_count"},
	"upstreams":  {"url", "alive", "active", "clients", "changed", "dialect"},
	"nodes":      {"url", "state", "height", "current", "latency_ms", "version"},
}

// newest is how many a terminal is shown of lists that grow for ever.
const newest = 20

var growing = []string{"blocks", "shifts", "rewards", "changes", "posted", "payments"}

// column is a column of a table, its head first.
type column struct {
	key   string
	cells []string
}

func (c *column) width() int {
	width := 0
	for _, cell := range c.cells {
		width = max(width, utf8.RuneCountInString(cell))
	}
	return width
}

// printTable prints a row for each object of the list called name. Their keys
// are the columns, but for those without a text in any row. What a
// terminal has no room for is shortened or left out, and the last line says so.
func (p Page) printTable(name string, rows [][]member) {
	hidden := 0
	if p.Columns > 0 && slices.Contains(growing, name) && len(rows) > newest {
		hidden = len(rows) - newest
		rows = rows[hidden:]
	}
	columns, reasons := makeColumns(rows)
	var missing []string
	shortened := false
	if p.Columns > 0 && width(append(slices.Clone(columns), reasons...)) > p.Columns {
		for i := range columns {
			columns[i].shorten(time.Now())
		}
		shortened = slices.ContainsFunc(columns, func(c column) bool {
			return slices.ContainsFunc(c.cells, func(cell string) bool { return strings.Contains(cell, "…") })
		})
		columns, missing = fit(columns, wanted[name], p.Columns)
		if len(columns) > 0 && width(append(slices.Clone(columns), reasons...)) > p.Columns {
			defer p.printReasons(columns, reasons)
			reasons = nil
		}
	}
	columns = append(columns, reasons...)
	for i := range len(rows) + 1 {
		cells := make([]string, len(columns))
		for k, c := range columns {
			cells[k] = c.cells[i]
		}
		fmt.Fprintln(p, strings.Join(cells, "\t"))
	}
	var more []string
	if hidden > 0 {
		more = append(more, fmt.Sprintf("%d older", hidden))
	}
	if shortened {
		more = append(more, "what … stands for")
	}
	more = append(more, missing...)
	if len(more) > 0 {
		fmt.Fprintln(p, Wrap("--wide shows also: "+strings.Join(more, ", "), p.Columns, "  "))
	}
}

// makeColumns turns rows into columns; that of reasons, long texts, is apart.
func makeColumns(rows [][]member) (columns, reasons []column) {
	var keys []string
	for _, row := range rows {
		for _, m := range row {
			if !slices.Contains(keys, m.key) { // a row may lack what others have
				keys = append(keys, m.key)
			}
		}
	}
	for _, key := range keys {
		c := column{key: key, cells: []string{title(key)}}
		empty := true
		for _, row := range rows {
			cell := ""
			if at := slices.IndexFunc(row, func(o member) bool { return o.key == key }); at >= 0 {
				cell = format(key, row[at].value)
				empty = empty && string(row[at].value) == `""`
			}
			c.cells = append(c.cells, cell)
		}
		switch {
		case slices.Contains(unseen, key), empty:
		case key == "reason", key == "refused":
			reasons = append(reasons, c)
		default:
			columns = append(columns, c)
		}
	}
	return columns, reasons
}

// printReasons prints a line for each row that has a reason.
func (p Page) printReasons(columns, reasons []column) {
	for i := range columns[0].cells[1:] {
		for _, r := range reasons {
			if text := r.cells[i+1]; text != "" {
				fmt.Fprintf(p, "%s\n", Wrap(columns[0].cells[i+1]+": "+text, p.Columns, "  "))
			}
		}
	}
}

func width(columns []column) int {
	sum := -gap
	for i := range columns {
		sum += columns[i].width() + gap
	}
	return sum
}

// shorten leaves out the middle of names and hashes, and of times what is clear.
func (c *column) shorten(now time.Time) {
	for i, cell := range c.cells {
		if i == 0 {
			continue
		}
		switch c.key {
		case "worker", "workername", "auth":
			c.cells[i] = figures.Worker(cell)
		case "hash", "user", "address":
			c.cells[i] = figures.Short(cell)
		case "useragent", "version":
			c.cells[i] = figures.Cut(cell, 20)
		case "lastshare", "started", "starttime", "time", "ended", "seen", "changed", "again":
			if at, err := time.ParseInLocation(timeLayout, cell, time.Local); err == nil {
				c.cells[i] = ShortTime(at, now)
			}
		}
	}
}

// ShortTime is the time of a day not long ago, else the day.
func ShortTime(at, now time.Time) string {
	if age := now.Sub(at); age >= 0 && age < 20*time.Hour {
		return at.Format("15:04:05")
	}
	return at.Format("2006-01-02")
}

// fit keeps the columns that are wanted first and fit, in their places. What is
// left out is returned by its heads.
func fit(columns []column, first []string, limit int) (kept []column, missing []string) {
	order := slices.Clone(first)
	for _, c := range columns {
		order = append(order, c.key)
	}
	keep := map[string]bool{}
	room := limit + gap
	for _, key := range order {
		at := slices.IndexFunc(columns, func(c column) bool { return c.key == key })
		if at < 0 || keep[key] {
			continue
		}
		if w := columns[at].width() + gap; w <= room {
			keep[key] = true
			room -= w
		}
	}
	for _, c := range columns {
		if keep[c.key] {
			kept = append(kept, c)
		} else {
			missing = append(missing, c.cells[0])
		}
	}
	if len(kept) == 0 && len(columns) > 0 {
		return columns[:1], missing[1:]
	}
	return kept, missing
}

// Wrap breaks text at blanks into lines of at most limit columns; all but the
// first begin with indent. A limit of 0 is none.
func Wrap(text string, limit int, indent string) string {
	if limit == 0 {
		return text
	}
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+n > limit:
			b.WriteString("\n" + indent)
			column = utf8.RuneCountInString(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// WrapBehind is Wrap for a text whose first columns hold what the rest is about,
// and stay empty in further lines.
func WrapBehind(line string, limit, first int) string {
	if limit <= first {
		return line
	}
	return line[:first] + strings.ReplaceAll(Wrap(line[first:], limit-first, ""), "\n", "\n"+strings.Repeat(" ", first))
}
