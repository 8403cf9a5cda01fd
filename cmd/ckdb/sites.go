package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/forward"
	"github.com/ckpool/ckpool/journal"
)

// connect makes what goes to other sites, or comes from them, and returns what ends
// the connection.
func (s *service) connect() (end func(), err error) {
	if s.options.nats == "" {
		return func() {}, nil
	}
	c, err := forward.Connect(s.options.nats, s.options.credentials, s.options.name, s.events)
	if err != nil {
		return nil, err
	}
	if !s.options.forward {
		s.receiver = &forward.Receiver{Conn: c, Store: s.journaled(), Events: s.events}
		return c.Close, nil
	}
	s.forwarder = func(dir string) *forward.Forwarder {
		return &forward.Forwarder{Dir: dir, Reader: s.options.name, Conn: c, Replicas: s.options.replicas, Events: s.events}
	}
	return c.Close, nil
}

// lookEvery is how often the usual journal is looked for, and those of new remotes.
const lookEvery = time.Second

// followUsual follows the journal that nobody has named. Beside shares of other sites
// there need be none.
func (s *service) followUsual(ctx context.Context, f *accounting.Follower) error {
	for {
		if _, err := os.Stat(f.Dir); err == nil {
			return f.Run(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookEvery):
		}
	}
}

// visit is how a site does that sends, as the running instance knows.
type visit struct {
	Instance string `json:"instance"`
	Name     string `json:"name"`
	Epoch    uint64 `json:"epoch"`
	Number   uint64 `json:"number"`
	Shares   uint64 `json:"shares"`  // stored by this process
	Waiting  uint64 `json:"waiting"` // batches under way
	Told     int64  `json:"told"`    // when it told what follows, microseconds since 1970; 0: never
	Behind   uint64 `json:"behind_shares"`
	Since    int64  `json:"behind_since"` // time of the first record that is not stored, likewise
	Trouble  string `json:"trouble"`
}

func (s *service) visits() (list []visit) {
	if s.receiver == nil {
		return nil
	}
	for _, p := range s.receiver.Progress() {
		v := visit{
			Instance: hex.EncodeToString(p.ID[:]), Name: p.Name, Epoch: uint64(p.Position.Epoch), Number: uint64(p.Position.Number), Shares: p.Shares,
			Waiting: p.Waiting, Behind: p.Behind, Since: p.Since, Trouble: p.Refused,
		}
		if !p.Asked.IsZero() {
			v.Told = p.Asked.UnixMicro()
		}
		list = append(list, v)
	}
	return list
}

// addVisits adds what other sites have told.
func (st *status) addVisits(list []visit) {
	for _, v := range list {
		at := -1
		for i := range st.Journals {
			if st.Journals[i].Instance == v.Instance {
				at = i
			}
		}
		if at < 0 {
			st.Journals = append(st.Journals, journalStatus{Pool: v.Name, Instance: v.Instance, Stored: journal.Position{}.String()})
			at = len(st.Journals) - 1
		}
		j := &st.Journals[at]
		if j.Dir != "" {
			continue // it is here, where more is known
		}
		j.Elsewhere, j.Told, j.Trouble = true, v.Told/1_000_000, v.Trouble
		j.behind(journal.Backlog{Shares: v.Behind, Since: v.Since})
	}
}

// elsewhere says how far a site is that sends.
func (j *journalStatus) elsewhere() string {
	switch ago := figures.Duration(time.Since(time.Unix(j.Told, 0))); {
	case j.Told == 0:
		return fmt.Sprintf(", at another site that has told nothing yet: stored to record %s", j.Stored)
	case j.Behind == 0:
		return fmt.Sprintf(", at another site: all shares stored, as it told %s ago", ago)
	default:
		return fmt.Sprintf(", at another site: %s, as it told %s ago", j.notStored(), ago)
	}
}

// siteStatus is the status where journals go to another site: there is no database.
func (c *call) siteStatus(d *daemon) error {
	st := status{Forward: true, NATS: forward.Redacted(c.nats), Warnings: []string{}}
	if d != nil && d.Forward {
		st.Running, st.Version, st.NATS = true, d.Version, d.NATS
	}
	var err error
	if st.Journals, err = c.siteJournals(d); err != nil {
		return err
	}
	if c.json {
		return c.print(&st)
	}
	return c.printStatus(&st)
}

// siteJournals are the journals here with how far they are stored there.
func (c *call) siteJournals(d *daemon) (list []journalStatus, err error) {
	list = []journalStatus{}
	dirs := c.journals
	known := map[string]*journey{}
	if d != nil && d.Forward {
		if !c.named {
			dirs = nil
		}
		for i := range d.Journals {
			j := &d.Journals[i]
			known[j.Dir] = j
			if !c.named {
				dirs = append(dirs, j.Dir)
			}
		}
	}
	for _, dir := range dirs {
		j, err := c.forwarded(dir, known[dir])
		if err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, nil
}

// forwarded is how far a journal here is stored at the other site, as the running
// instance knows, or the cursor in it tells.
func (c *call) forwarded(dir string, known *journey) (j journalStatus, err error) {
	h, err := journal.Describe(dir)
	if errors.Is(err, journal.ErrNone) || errors.Is(err, fs.ErrNotExist) {
		return journalStatus{Dir: dir, Trouble: "there is none yet"}, nil
	}
	if err != nil {
		return j, err
	}
	cursor, err := journal.ReadCursor(dir, c.name)
	if err != nil {
		return j, err
	}
	epochs, err := journal.Epochs(dir)
	if err != nil {
		return j, err
	}
	at := cursor.Position
	if cursor.Instance == h.Instance && !cursor.In(epochs) {
		at, j.Trouble = journal.Position{}, olderCopy
	}
	if known != nil && known.Instance == h.Instance {
		at, j.Sent = journal.Position{Epoch: known.Epoch, Number: known.Number}, known.Sent
	}
	if known != nil && known.Trouble != "" {
		j.Trouble = known.Trouble
	}
	b, err := journal.Behind(dir, at)
	if err != nil {
		return j, err
	}
	j.Pool, j.Instance, j.Dir, j.Stored, j.Time = h.Name, h.Instance, dir, at.String(), cursor.Time/1_000_000
	j.behind(b)
	return j, nil
}

// behind notes what is not stored.
func (j *journalStatus) behind(b journal.Backlog) {
	if j.Behind = b.Shares; b.Since > 0 {
		j.Seconds = max(0, time.Since(time.UnixMicro(b.Since)).Seconds())
	}
}

func (j *journalStatus) notStored() string {
	return fmt.Sprintf("%s not stored yet, the first of %s ago", figures.Things(int64(j.Behind), "share"), figures.Duration(time.Duration(j.Seconds*float64(time.Second))))
}
