package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
)

// list is what stands below the pool.
type list int32

const (
	userList list = iota
	workerList
)

// row is a user or a worker.
type row struct {
	name      string
	rates     control.Rates
	lastShare time.Time
	best      float64
	count     int64 // workers of a user, rejected shares of a worker
	gone      bool  // it is not connected
}

func userRows(users []control.User) []row {
	rows := make([]row, len(users))
	for i, u := range users {
		rows[i] = row{u.User, u.Rates, u.LastShare.Time, u.BestDifficulty, u.Workers, u.Workers == 0}
	}
	return rows
}

func workerRows(workers []control.Worker) []row {
	rows := make([]row, len(workers))
	for i, w := range workers {
		rejected := int64(0)
		for _, c := range w.Rejects {
			rejected += c.Count
		}
		rows[i] = row{w.Worker, w.Rates, w.LastShare.Time, w.BestDifficulty, rejected, w.Started.IsZero()}
	}
	return rows
}

// column of the list. Those that there is no room for are left out, the last first.
type column struct {
	key     byte // that sorts by it
	heads   [2]string
	text    func(r *row, now time.Time) string
	compare func(a, b *row) int // what is to be first is less
}

// columns are in the order of what matters; the name, which is first, is always there.
var columns = []column{
	{'n', [2]string{"USER", "WORKER"}, nil, func(a, b *row) int { return strings.Compare(a.name, b.name) }},
	{'r', [2]string{"H/s 1m", "H/s 1m"}, rate(func(r *row) float64 { return r.rates.DSPS1 }), more(func(r *row) float64 { return r.rates.DSPS1 })},
	{'l', [2]string{"LAST SHARE", "LAST SHARE"}, func(r *row, now time.Time) string {
		if r.lastShare.IsZero() {
			return "never"
		}
		return figures.Duration(max(0, now.Sub(r.lastShare)))
	}, func(a, b *row) int { return b.lastShare.Compare(a.lastShare) }},
	{'c', [2]string{"WORKERS", "REJECTED"}, func(r *row, _ time.Time) string { return figures.Count(r.count) }, func(a, b *row) int { return cmp.Compare(b.count, a.count) }},
	{'d', [2]string{"H/s 1d", "H/s 1d"}, rate(func(r *row) float64 { return r.rates.DSPS1440 }), more(func(r *row) float64 { return r.rates.DSPS1440 })},
	{'b', [2]string{"BEST", "BEST"}, func(r *row, _ time.Time) string { return figures.Number(r.best) }, more(func(r *row) float64 { return r.best })},
	{'h', [2]string{"H/s 1h", "H/s 1h"}, rate(func(r *row) float64 { return r.rates.DSPS60 }), more(func(r *row) float64 { return r.rates.DSPS60 })},
}

func rate(of func(*row) float64) func(*row, time.Time) string {
	return func(r *row, _ time.Time) string { return figures.Number(of(r) * difficulty.HashesPerDifficulty) }
}

func more(of func(*row) float64) func(a, b *row) int {
	return func(a, b *row) int { return cmp.Compare(of(b), of(a)) }
}

// view is what is looked at, and how. It is owned by one goroutine.
type view struct {
	list          list
	order         byte // key of the column that is sorted by; 0: the hash rate
	reversed      bool
	offset        int // rows above the screen
	width, height int // of the screen; width 0: any
	color         bool

	now    *moment   // the last one there was
	lost   error     // why there is none since; nil: there is
	since  time.Time // it was lost
	notice string    // what has happened
	until  time.Time // it is shown
}

// take is told what the pool has answered.
func (v *view) take(a answer, at time.Time) {
	if a.err != nil {
		if v.lost == nil {
			v.since = at
		}
		v.lost = a.err
		return
	}
	var news []string
	if v.lost != nil {
		news = append(news, "it answers again after "+figures.Duration(at.Sub(v.since)))
	}
	if v.now != nil && !v.now.stats.Start.Equal(a.stats.Start.Time) {
		news = append(news, "it was started again")
	}
	if v.now != nil && v.now.version != a.version {
		news = append(news, "it is now "+a.version)
	}
	if len(news) > 0 {
		v.notice, v.until = strings.Join(news, ", "), at.Add(topNotice)
	}
	v.now, v.lost = a.moment, nil
	if v.now.list != v.list { // which was chosen meanwhile
		v.now.rows = nil
	}
	v.sort(v.now.rows)
}

// press takes a key and tells whether it was the last one.
func (v *view) press(key byte) (leave bool) {
	half := max(1, v.height/2)
	switch key {
	case 'q', 'Q', 3, 4: // control-C, control-D
		return true
	case 'u', 'w', '\t':
		next := userList
		if key == 'w' || key == '\t' && v.list == userList {
			next = workerList
		}
		if next != v.list {
			v.list, v.offset, v.now.rows = next, 0, nil // until they come
		}
	case 'j':
		v.offset++
	case 'k':
		v.offset--
	case ' ':
		v.offset += half
	case '-':
		v.offset -= half
	default:
		if !slices.ContainsFunc(columns, func(c column) bool { return c.key == key }) {
			return false
		}
		v.reversed = key == v.sorted() && !v.reversed
		v.order, v.offset = key, 0
		v.sort(v.now.rows)
	}
	v.offset = max(0, min(v.offset, len(v.now.rows)-1))
	return false
}

func (v *view) sorted() byte { return cmp.Or(v.order, 'r') }

// sort puts rows in the order that was chosen; those that are equal stand by their names.
func (v *view) sort(rows []row) {
	i := slices.IndexFunc(columns, func(c column) bool { return c.key == v.sorted() })
	slices.SortFunc(rows, func(a, b row) int {
		order := columns[i].compare(&a, &b)
		if v.reversed {
			order = -order
		}
		return cmp.Or(order, strings.Compare(a.name, b.name))
	})
}

// line is one of the screen; its text has no escapes.
type line struct{ text, style string }

const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	invert = "\x1b[7m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
)

// frame is the screen, at most as high and wide as it is.
func (v *view) frame(at time.Time) (lines []line) {
	const leastRows = 6 // of the list, with its heads
	footer := v.footer(at)
	room := max(v.height-len(footer), 0)
	var text bytes.Buffer
	_ = printStatus(page.Page{Writer: &text, Columns: v.width}, &v.now.status) // into memory
	above := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if most := max(room-leastRows-1, room/2); len(above) > most {
		above = above[:most]
		if most > 1 {
			above[most-1] = "            … status shows all"
		}
	}
	for _, l := range above {
		lines = append(lines, line{text: l})
	}
	if room > len(lines)+1 {
		lines = append(lines, line{})
	}
	rows := v.now.rows[min(v.offset, len(v.now.rows)):]
	if left := max(room-len(lines)-1, 0); len(rows) > left {
		rows = rows[:left]
	}
	now := v.now.stats.Update.Time
	lines = append(lines, v.table(rows, now)...)
	lines = append(lines[:min(len(lines), room)], footer...)
	lines = lines[max(0, len(lines)-v.height):]
	for i := range lines {
		lines[i].text = fitLine(lines[i].text, v.width)
	}
	return lines
}

// footer says what is wrong or has happened, and which keys there are.
func (v *view) footer(at time.Time) (lines []line) {
	switch {
	case v.lost != nil:
		lines = append(lines, line{fmt.Sprintf("NO ANSWER for %s, asking again: %s", figures.Duration(at.Sub(v.since)), strings.TrimPrefix(v.lost.Error(), "ckpmsg: ")), red})
	case at.Before(v.until):
		lines = append(lines, line{"The pool: " + v.notice, green})
	}
	shown, other := "users", "w workers"
	if v.list == workerList {
		shown, other = "workers", "u users"
	}
	if len(v.now.rows) == 1 {
		shown = strings.TrimSuffix(shown, "s")
	}
	place := figures.Count(int64(len(v.now.rows))) + " " + shown
	if v.offset > 0 {
		place = fmt.Sprintf("from %s of %s", figures.Count(int64(v.offset+1)), place)
	}
	return append(lines, line{place + "  q quit  " + other + "  sort by rate last count day best hour name", bold})
}

// table has heads and a line for each row. Columns without room are left out.
func (v *view) table(rows []row, now time.Time) []line {
	const gap, leastName = 2, 16
	cells := make([][]string, len(columns))
	widths := make([]int, len(columns))
	for c, column := range columns {
		head := column.heads[v.list]
		switch {
		case column.key == v.sorted() && v.reversed:
			head += "↑"
		case column.key == v.sorted():
			head += "↓"
		}
		cells[c] = append(cells[c], head)
		for i := range rows {
			text := rows[i].name
			if column.text != nil {
				text = column.text(&rows[i], now)
			}
			cells[c] = append(cells[c], harmless(text))
		}
		for _, text := range cells[c] {
			widths[c] = max(widths[c], utf8.RuneCountInString(text))
		}
	}
	kept := len(columns)
	others := func() (sum int) {
		for _, w := range widths[1:kept] {
			sum += gap + w
		}
		return sum
	}
	name := widths[0]
	if v.width > 0 {
		for kept > 1 && others()+min(name, leastName) > v.width {
			kept--
		}
		name = max(1, min(name, v.width-others()))
	}
	lines := make([]line, len(rows)+1)
	for i := range lines {
		text := cells[0][i]
		if i > 0 && utf8.RuneCountInString(text) > name {
			text = figures.Cut(figures.Worker(text), name)
		}
		text = pad(text, name)
		for c := 1; c < kept; c++ {
			text += strings.Repeat(" ", gap) + strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cells[c][i])) + cells[c][i]
		}
		lines[i].text = text
		switch {
		case i == 0:
			lines[i] = line{pad(text, v.width), invert}
		case rows[i-1].gone:
			lines[i].style = dim
		}
	}
	return lines
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// fitLine cuts a line to the width of the screen.
func fitLine(text string, width int) string {
	text = harmless(text)
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return figures.Cut(text, width)
}

// harmless has a dot for each letter that a terminal does not print as one: those that
// steer it, and those that turn the direction of text or are nowhere to be seen.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '.'
		}
		return r
	}, text)
}
