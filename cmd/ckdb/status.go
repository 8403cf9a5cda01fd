package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/work"
)

// status is the answer of the command.
type status struct {
	Running  bool            `json:"running"`
	Version  string          `json:"version,omitempty"` // of the running instance
	Database string          `json:"database"`          // "": it is at another site
	Forward  bool            `json:"forward"`           // likewise
	NATS     string          `json:"nats,omitempty"`    // servers, without what is secret
	Journals []journalStatus `json:"journals"`
	Gaps     []gap           `json:"gaps"`  // null without a database
	Total    *amounts        `json:"total"` // likewise
	Block    *block          `json:"last_block"`
	Chain    *chainStatus    `json:"chain"`  // null without a database
	Open     []openBlock     `json:"open"`   // blocks that have no reward yet
	Alarms   []alarm         `json:"alarms"` // that a person has to look after
	Warnings []string        `json:"warnings"`
}

// journalStatus is how far the journal of a pool is stored.
type journalStatus struct {
	Pool     string  `json:"pool"`
	Instance string  `json:"instance"`
	Dir      string  `json:"dir,omitempty"`  // "": it is not on this machine
	Stored   string  `json:"stored_to"`      // position
	Time     int64   `json:"time"`           // of that record
	Behind   uint64  `json:"behind_shares"`  // that are not stored
	Seconds  float64 `json:"behind_seconds"` // since the first of the records that are not
	Sent     uint64  `json:"sent,omitempty"` // shares behind that are under way to another site
	// Elsewhere: it is at another site, which has told at Told, 0 for never, what is
	// behind.
	Elsewhere bool   `json:"elsewhere,omitempty"`
	Told      int64  `json:"told,omitempty"`
	Shares    int64  `json:"shares"` // stored
	Repeated  int64  `json:"repeated"`
	Expired   int64  `json:"expired"`
	Trouble   string `json:"trouble,omitempty"`
}

// gap is what the journal of a pool does not have.
type gap struct {
	Pool  string `json:"pool"`
	Epoch int64  `json:"epoch"`
	First int64  `json:"first"`
	Last  int64  `json:"last"` // 0: to the end of the epoch
	Cause string `json:"cause"`
}

// chainStatus is how far the chain is followed.
type chainStatus struct {
	Height int64 `json:"height"` // of the newest block that was taken over; -1: none
	*following
}

// openBlock is one that waits for its reward.
type openBlock struct {
	Height int64  `json:"height"`
	Hash   string `json:"hash"`
	Waits  string `json:"waits"`
}

// alarm is one that was not ended.
type alarm struct {
	Time    int64  `json:"time"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

func (c *call) status(ctx context.Context) error {
	d, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if c.forward || c.db == "" && d != nil && d.Forward {
		return c.siteStatus(d)
	}
	s, where, err := c.open(ctx, d)
	if err != nil {
		return err
	}
	defer s.Close()
	st, err := c.statusOf(ctx, s, where, d)
	if err != nil {
		return err
	}
	if c.json {
		return c.print(st)
	}
	return c.printStatus(st)
}

// statusOf is that of a database, and of the running instance if there is one.
func (c *call) statusOf(ctx context.Context, s *store.Store, where string, d *daemon) (*status, error) {
	st := &status{Database: store.Redacted(where), Journals: []journalStatus{}, Gaps: []gap{}, Open: []openBlock{}, Alarms: []alarm{}, Warnings: []string{}}
	if d != nil {
		st.Running, st.Version, st.NATS = true, d.Version, d.NATS
	}
	return st, c.fill(ctx, st, s, d)
}

func (c *call) fill(ctx context.Context, st *status, s *store.Store, d *daemon) error {
	if err := c.fillJournals(ctx, st, s, d); err != nil {
		return err
	}
	return c.fillSums(ctx, st, s, d)
}

// fillJournals adds how far each journal is stored.
func (c *call) fillJournals(ctx context.Context, st *status, s *store.Store, d *daemon) error {
	list, warnings, err := s.Status(ctx)
	if err != nil {
		return err
	}
	st.Warnings = append(st.Warnings, warnings...)
	for i := range list {
		v := &list[i]
		st.Journals = append(st.Journals, journalStatus{
			Pool: v.Name, Instance: hex.EncodeToString(v.ID[:]), Stored: v.At.String(), Time: v.Time / 1_000_000,
			Shares: v.Shares, Repeated: v.Repeated, Expired: v.Expired,
		})
		for _, g := range v.Gaps {
			if g.Last == store.ToEnd {
				g.Last = 0
			}
			st.Gaps = append(st.Gaps, gap{v.Name, g.Epoch, g.First, g.Last, g.Cause})
		}
	}
	c.addJournals(st, list, d)
	if d != nil {
		st.addVisits(d.Visits)
	}
	return nil
}

// fillSums adds what came of them.
func (c *call) fillSums(ctx context.Context, st *status, s *store.Store, d *daemon) error {
	sums, err := s.Sums(ctx, store.Query{By: store.ByPool, Days: true})
	if err != nil {
		return err
	}
	recent, err := recentSums(ctx, s, store.Query{By: store.ByPool})
	if err != nil {
		return err
	}
	var all store.Sum
	var last recently
	for i := range sums {
		all.Add(&sums[i].Sum)
		last.add(recent[nameOf(&sums[i])])
	}
	total := amountsOf(&all, last, all.Sent().Count > 0)
	st.Total = &total
	blocks, err := s.Blocks(ctx, 1)
	if err != nil {
		return err
	}
	if len(blocks) > 0 {
		b := blockOf(&blocks[0])
		st.Block = &b
	}
	return st.addChain(ctx, s, d)
}

// addChain adds what is known of the chain and of the money that waits for it.
func (st *status) addChain(ctx context.Context, s *store.Store, d *daemon) error {
	tip, ok, err := s.Tip(ctx)
	if err != nil {
		return err
	}
	st.Chain = &chainStatus{Height: tip.Height}
	if !ok {
		st.Chain.Height = -1
	}
	if d != nil {
		st.Chain.following = d.Chain
	}
	blocks, err := s.PoolBlocks(ctx, 0)
	if err != nil {
		return err
	}
	why, err := waits(ctx, s, blocks)
	if err != nil {
		return err
	}
	for _, b := range slices.Backward(blocks) {
		if text := why[b.Hash]; text != "" {
			st.Open = append(st.Open, openBlock{b.Height, work.FormatHash(b.Hash), text})
		}
	}
	alarms, err := s.Alarms(ctx)
	for _, a := range alarms {
		if a.Ended == 0 {
			st.Alarms = append(st.Alarms, alarm{a.At / 1_000_000, a.Subject, a.Text})
		}
	}
	return err
}

// printChain prints it.
func (st *status) printChain(l page.Lines) {
	k := st.Chain
	text := "not followed yet"
	if k.Height >= 0 {
		text = "followed to height " + figures.Count(k.Height)
	}
	switch f := k.following; {
	case f != nil && f.Trouble != "":
		text += ", on node " + page.OneLine(f.Node+": "+f.Trouble)
	case f != nil:
		text += ", on node " + page.OneLine(f.Node)
		if f.Tip > k.Height {
			text += ", which is at " + figures.Count(f.Tip)
		}
	case st.Running:
		text += ": no node is named, and no rewards are made"
	}
	l.Print("chain", text)
	const shown = 5
	for i, o := range st.Open {
		if i == shown {
			l.Print("", fmt.Sprintf("%d more; \"ckdb rewards\" lists all", len(st.Open)-shown))
			break
		}
		l.Print("no reward", fmt.Sprintf("block %d: %s", o.Height, page.OneLine(o.Waits)))
	}
	for _, a := range st.Alarms {
		l.Print("alarm", page.OneLine(a.Text))
	}
}

// addJournals looks how far the journals on this machine are stored: those that the
// running instance has, or the ones that were named. One that cannot be looked at has that as
// its trouble, and troubles nothing else.
func (c *call) addJournals(st *status, list []store.InstanceStatus, d *daemon) {
	dirs := c.journals
	running := map[string]*journey{}
	if d != nil && !c.named {
		dirs = nil
		for i := range d.Journals {
			j := &d.Journals[i]
			dirs = append(dirs, j.Dir)
			running[j.Dir] = j
		}
	}
	for _, dir := range dirs {
		j := running[dir]
		if j == nil {
			j = &journey{Dir: dir}
		}
		if err := st.addJournal(list, j); err != nil {
			st.Journals = append(st.Journals, journalStatus{Pool: cmp.Or(j.Name, dir), Dir: dir, Trouble: cmp.Or(j.Trouble, oneLine(err))})
		}
	}
}

func (st *status) addJournal(list []store.InstanceStatus, running *journey) error {
	dir := running.Dir
	h, err := journal.Describe(dir)
	if errors.Is(err, journal.ErrNone) || errors.Is(err, fs.ErrNotExist) {
		st.Journals = append(st.Journals, journalStatus{Dir: dir, Trouble: "there is none yet"})
		return nil
	}
	if err != nil {
		return err
	}
	epochs, err := journal.Epochs(dir)
	if err != nil {
		return err
	}
	at, parted := -1, false
	var position journal.Position
	for i := range list {
		if st.Journals[i].Instance == h.Instance {
			at = i
		}
	}
	if at >= 0 {
		place := list[at].Place(accounting.EpochsOf(epochs))
		position, parted = journal.Position{Epoch: uint64(place.Epoch), Number: uint64(place.Number)}, place != list[at].At
	}
	b, err := journal.Behind(dir, position)
	if err != nil {
		return err
	}
	if at < 0 {
		at = len(st.Journals)
		st.Journals = append(st.Journals, journalStatus{Pool: h.Name, Instance: h.Instance, Stored: position.String()})
	}
	j := &st.Journals[at]
	j.Dir, j.Trouble = dir, running.Trouble
	if parted && j.Trouble == "" {
		j.Trouble = olderCopy
	}
	j.behind(b)
	return nil
}

// olderCopy is the trouble of a journal until ckdb goes on with it.
const olderCopy = "an older copy of it was put back, and ckdb has not seen that yet"

func (c *call) printStatus(st *status) error {
	l := c.Lines()
	if st.Running {
		l.Print("ckdb", "running, "+st.Version)
	} else {
		l.Print("ckdb", "not running: nobody answers at "+page.OneLine(c.socket())+" (-n or -s names another)")
	}
	if st.Forward {
		l.Print("database", "at another site")
	} else {
		l.Print("database", st.Database)
	}
	if st.NATS != "" {
		l.Print("NATS", page.OneLine(st.NATS))
	}
	for i := range st.Journals {
		l.Print("journal", st.Journals[i].text())
	}
	if !st.Forward {
		st.printStored(l)
	}
	for _, w := range st.Warnings {
		l.Print("warning", page.OneLine(w))
	}
	return l.Flush()
}

// printStored prints what the database has.
func (st *status) printStored(l page.Lines) {
	for _, g := range st.Gaps {
		to := fmt.Sprintf("to %d", g.Last)
		if g.Last == 0 {
			to = "on"
		}
		cause := g.Cause
		if cause == "replaced" {
			cause = "replaced by an older copy of the journal"
		}
		l.Print("gap", fmt.Sprintf("%s, epoch %d, records from %d %s: %s", page.OneLine(g.Pool), g.Epoch, g.First, to, cause))
	}
	if len(st.Gaps) == 0 {
		l.Print("gaps", "none")
	}
	l.Print("shares", st.Total.text())
	if st.Total.Rejected > 0 {
		l.Print("rejects", figures.Count(st.Total.Rejected))
	}
	if a := st.Total.above; a != nil {
		l.Print("sent up", fmt.Sprintf("%s; %s accepted there, work %s", figures.Count(a.Sent), figures.Count(a.Accepted), figures.Number(number(a.AcceptedWork))))
	}
	l.Print("hash rate", fmt.Sprintf("%s (1h), %s (1d)", figures.Rate(st.Total.Hashrate), figures.Rate(st.Total.Hashrate1d)))
	if b := st.Block; b != nil {
		l.Print("last block", fmt.Sprintf("%s, %s ago, %s, %s, by %s", figures.Count(b.Height), figures.Duration(time.Since(time.Unix(b.Time, 0))),
			figures.Bitcoins(b.Reward), b.State, figures.Worker(page.OneLine(b.Worker))))
	} else {
		l.Print("last block", "none yet")
	}
	st.printChain(l)
}

func (j *journalStatus) text() string {
	text := "of " + page.OneLine(j.Pool)
	if j.Pool == "" {
		text = page.OneLine(j.Dir)
	}
	switch {
	case j.Elsewhere:
		text += j.elsewhere()
	case j.Dir == "":
		text += fmt.Sprintf(", not on this machine: stored to record %s", j.Stored)
	case j.Instance == "":
	case j.Behind == 0:
		text += ": all shares stored"
	default:
		text += ": " + j.notStored()
	}
	if j.Sent > 0 {
		text += fmt.Sprintf(", %s under way", figures.Things(int64(j.Sent), "share"))
	}
	if j.Repeated > 0 {
		text += fmt.Sprintf("; %s were there before and are credited once", figures.Things(j.Repeated, "share"))
	}
	if j.Expired > 0 {
		text += fmt.Sprintf("; %s came after their day was dropped", figures.Things(j.Expired, "share"))
	}
	if j.Trouble != "" {
		text += ": " + page.OneLine(j.Trouble)
	}
	return text
}
