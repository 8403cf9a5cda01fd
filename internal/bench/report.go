package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

type count struct {
	name string
	n    int64
}

// sortedCounts is a map of counts, largest first.
func sortedCounts(m map[string]int64) []count {
	var list []count
	for name, n := range m {
		list = append(list, count{name, n})
	}
	slices.SortFunc(list, func(a, b count) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.name, b.name))
	})
	return list
}

// table prints rows of a name and a value.
type table struct {
	w   io.Writer
	err error
}

func (t *table) row(name, format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, "%-22s %s\n", name, fmt.Sprintf(format, args...))
	}
}

// counts prints what went wrong, one row for each reason.
func (t *table) counts(name string, m map[string]int64) {
	for _, c := range sortedCounts(m) {
		t.row(name, "%d × %s", c.n, c.name)
	}
}

func (t *table) latency(name string, l Latency) {
	if l.Count > 0 {
		t.row(name, "p50 %s, p99 %s, max %s", short(l.P50), short(l.P99), short(l.Max))
	}
}

// problems prints the rows of a totals that should not be there.
func (t *table) problems(o *totals) {
	t.counts("rejected", o.Rejects)
	t.counts("dropped", o.Drops)
	for _, c := range []count{{"without work", o.NotReady}, {"shares unanswered", o.Unanswered},
		{"replies unmatched", o.Unmatched}, {"shares not sent", o.Late}} {
		if c.n > 0 {
			t.row(c.name, "%d", c.n)
		}
	}
}

// short prints microseconds with three digits and a unit that fits.
func short(us float64) string {
	d := time.Duration(us * float64(time.Microsecond))
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return strings.Replace(d.Round(unit).String(), "µ", "u", 1)
}

// quantileOf is the value at the share q of sorted values.
func quantileOf(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
