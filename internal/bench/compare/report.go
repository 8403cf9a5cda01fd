package compare

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
)

// Report is the measured figures.
type Report struct {
	Began   time.Time
	Took    time.Duration
	Rounds  int
	Machine Machine
	Faults  []string // what a server did that it should not

	size    Size
	samples map[string]*[kinds][]float64 // by key of row, one for each round
}

func newReport(c Config) *Report {
	return &Report{Began: time.Now(), Rounds: c.Rounds, Machine: describeMachine(), size: c.Size, samples: map[string]*[kinds][]float64{}}
}

func (r *Report) add(key string, k kind, value float64) {
	s := r.samples[key]
	if s == nil {
		s = new([kinds][]float64)
		r.samples[key] = s
	}
	s[k] = append(s[k], value)
}

func (r *Report) of(key string, k kind) []float64 {
	if s := r.samples[key]; s != nil {
		return s[k]
	}
	return nil
}

// spread adds the times of a new block.
func (r *Report) spread(prefix string, k kind, n *bench.NotifyReport) {
	r.add(prefix+" first", k, n.Median.First)
	r.add(prefix+" median", k, n.Median.Median)
	r.add(prefix+" p99", k, n.Median.P99)
	r.add(prefix+" last", k, n.Median.Last)
}

type printer interface{ Print(io.Writer) error }

// fault notes a measurement that failed, with all that it says.
func (r *Report) fault(k kind, failed bool, what string, p printer) {
	if !failed {
		return
	}
	var b bytes.Buffer
	_ = p.Print(&b) // to memory
	r.Faults = append(r.Faults, kindNames[k]+", "+what+":\n"+b.String())
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio is the median of the rounds' ratios: what disturbs the machine for
// longer disturbs both.
func (r *Report) ratio(row *row) (float64, bool) {
	base := row.base()
	a, b := r.of(row.key, row.kind()), r.of(base.key, base.kind)
	var all []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			all = append(all, a[i]/b[i])
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return median(all), true
}

// over is what of the budget is exceeded.
func (r *Report) over(row *row) bool {
	own := slices.Sorted(slices.Values(r.of(row.key, row.kind())))
	if len(own) == 0 {
		return false
	}
	b := row.budget
	if b.most > 0 && median(own) > b.most {
		return true
	}
	if bare := slices.Sorted(slices.Values(r.of(row.key, floor))); b.above > 0 && len(bare) > 0 && median(own)-median(bare) > b.above {
		return true
	}
	ratio, known := r.ratio(row)
	return b.ratio > 0 && known && ratio > b.ratio
}

// Over are the names of the rows beyond their budget.
func (r *Report) Over() (names []string) {
	for i := range rows {
		if r.over(&rows[i]) {
			names = append(names, rows[i].title(r.size))
		}
	}
	return names
}

// Markdown is the table with the description of the machine above it.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. Measured %s in %s, %d rounds: median (lowest – highest).\n\n",
		r.Machine, r.Began.UTC().Format("2006-01-02 15:04 MST"), r.Took.Round(time.Second), r.Rounds)
	others := r.hasOther()
	columns := []string{"quantity", "ckpool", "bare loop", "ratio"}
	if others {
		columns = append(columns, "other")
	}
	columns = append(columns, "budget", "")
	line(&b, columns...)
	b.WriteString("|---|--:|--:|--:|" + strings.Repeat("--:|", len(columns)-6) + "---|---|\n")
	for i := range rows {
		row := &rows[i]
		if len(r.of(row.key, row.kind())) == 0 {
			continue
		}
		cells := []string{row.title(r.size), row.cell(r.of(row.key, row.kind())), row.cell(r.of(row.key, floor)), ""}
		if ratio, known := r.ratio(row); known {
			cells[3] = short(ratio)
		}
		if others {
			cells = append(cells, row.cell(r.of(row.key, other)))
		}
		mark := ""
		switch {
		case row.text() == "":
		case r.over(row):
			mark = "**over**"
		default:
			mark = "ok"
		}
		line(&b, append(cells, row.text(), mark)...)
	}
	return b.String()
}

func (r *Report) hasOther() bool {
	for _, s := range r.samples {
		if len(s[other]) > 0 {
			return true
		}
	}
	return false
}

func line(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// cell is the median with unit and spread.
func (r *row) cell(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	v := slices.Sorted(slices.Values(values))
	text := short(median(v)) + " " + r.unit
	if len(v) > 1 {
		text += " (" + short(v[0]) + " – " + short(v[len(v)-1]) + ")"
	}
	return text
}

// short has about three digits.
func short(v float64) string {
	switch a := max(v, -v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.995 || a == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// The lines of a document between which the table stands.
const (
	beginMark = "<!-- table: written by make bench -->"
	endMark   = "<!-- end of table -->"
)

// Insert puts the table into a document, between its marks.
func (r *Report) Insert(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), beginMark)
	_, after, ends := strings.Cut(rest, endMark)
	if !begins || !ends {
		return fmt.Errorf("%s: the lines %q and %q are not in it", path, beginMark, endMark)
	}
	whole := before + beginMark + "\n" + r.Markdown() + endMark + after
	return os.WriteFile(path, []byte(whole), 0o644)
}
