package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/work"
)

// tidyAfter is when all miners should have a new job: what people and files want
// of it costs milliseconds, and a loop that has to wait for them answers late.
const tidyAfter = 400 * time.Millisecond

// Tidy looks at new jobs after miners have them, until ctx ends.
func (g *Generator) Tidy(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.published:
			select {
			case <-ctx.Done():
			case <-time.After(tidyAfter):
			}
			g.tidy()
			g.options.Quiet()
			g.source.Prepare()
		}
	}
}

// tidy does what must not delay work: transactions known from the job
// before are shared with it, the witness commitment of the newest is checked,
// and the list of its transactions is written.
func (g *Generator) tidy() {
	var newest *work.Job
	for _, f := range g.jobs.Recent() {
		if g.tidied != nil && f.Job.ID <= g.tidied.ID {
			continue
		}
		var before *work.Template
		if g.tidied != nil {
			before = g.tidied.Template
		}
		f.Job.Template.ShareTransactions(before)
		g.tidied, newest = f.Job, f.Job
	}
	if newest == nil {
		return
	}
	if err := newest.Template.CheckWitness(); err != nil {
		g.options.Events.Say(event.Error, fmt.Sprintf("Template for height %d: %v", newest.Template.Height, err))
	}
	if err := writeTransactions(g.options.Config().LogDir, newest.Template); err != nil {
		g.options.Notice("pool.txns", "Cannot write pool.txns: "+err.Error())
	}
}

// writeTransactions writes the transaction ids of the present work, one a line.
// Where they are not known there is no file.
func writeTransactions(logDir string, t *work.Template) error {
	path := filepath.Join(logDir, "pool", "pool.txns")
	if !t.HasTransactions() {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b := make([]byte, 0, 65*t.TxCount())
	for i := range t.TxCount() {
		b = append(work.AppendHash(b, t.TxID(i)), '\n')
	}
	return sharelog.ReplaceFile(path, b, false)
}
