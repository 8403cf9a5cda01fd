package operator

import (
	"time"
	"unicode/utf8"

	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/sharelog"
)

// glance is what the status line of the console is made of.
type glance struct {
	sharelog.PoolStatus
	height   int64  // of the block that is mined; 0 without work
	trouble  string // with what work comes from, in a few words
	rejected bool   // new connections are, by an operator's word
	known    bool   // some miner was there, if not in this run
}

// StatusLine is what the pool does, in a line of at most width columns that
// replaces the one before. Cycle counts the lines, which turns a wheel.
func (o *Operator) StatusLine(now time.Time, cycle, width int) string {
	g := glance{PoolStatus: o.Users.Status(now, users.Sessions{}), rejected: o.Admission.Rejecting()}
	_, g.known = o.Users.Known()
	if o.Proxies != nil {
		g.NetworkDifficulty = 0 // its blocks are another's: no round ends
	}
	if w := o.Jobs.Newest(); w != nil {
		g.height = w.Job.Template.Height
	}
	if !o.Source.Usable() {
		g.trouble = "no usable " + o.origin()
	}
	return StatusLine(g.parts(), cycle, width)
}

// parts begin with what matters most.
func (g *glance) parts() []string {
	parts := []string{g.trouble}
	switch {
	case g.Workers > 0:
		parts = append(parts, figures.Rate(g.Hashrate[0]), figures.Things(g.Workers, "miner"))
	case g.known:
		parts = append(parts, "no miners")
	default:
		parts = append(parts, "no miners yet")
	}
	if g.rejected {
		parts = append(parts, "new ones rejected")
	}
	if g.height > 0 {
		parts = append(parts, "mining block "+figures.Count(g.height))
	}
	if g.AcceptedCount > 0 {
		parts = append(parts, "best "+figures.Number(g.BestShare))
	}
	if g.AcceptedCount > 0 && g.NetworkDifficulty > 0 {
		parts = append(parts, "effort "+figures.Percent(g.Accepted/g.NetworkDifficulty))
	}
	if g.Workers > 0 {
		parts = append(parts, figures.Number(g.SPS[0])+" shares/s", figures.Things(g.Users, "user"))
	}
	return parts
}

// StatusLine is a line of at most width columns that replaces the one before, with a wheel
// and as many parts as fit, the first ones. Empty ones are left out.
func StatusLine(parts []string, cycle, width int) string {
	const clearLine = "\x1b[2K\r"
	line := `|/-\`[uint(cycle)%4:][:1]
	columns := 1
	for _, part := range parts {
		if part == "" {
			continue
		}
		columns += 2 + utf8.RuneCountInString(part)
		if columns >= width { // the last column would wrap
			break
		}
		line += "  " + part
	}
	return clearLine + line
}
