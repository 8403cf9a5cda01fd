package remote

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/poolproto"
)

// site is the copy of a remote's journal, kept also while the remote is away.
type site struct {
	// immutable
	collector *Collector
	instance  string // of the journal
	name      string // of the pool's instance
	network   string // "" as the copy says
	dir       string

	opened chan struct{}         // closed when mirror or err is set
	mirror *journalwriter.Mirror // owned by who has the turn; nil: err tells why
	err    error

	turn chan struct{} // capacity 1: full while a conversation has it

	mu      sync.Mutex
	present *conversation // guarded by mu; that has the turn
}

const (
	// lockTime is how long another process, which this one takes over from, may have
	// the copy still.
	lockTime  = 10 * time.Second
	lockEvery = 20 * time.Millisecond
	// cursorEvery is how often it is said in the copy what is counted.
	cursorEvery = 5 * time.Second
	// countedBy is the name of that cursor.
	countedBy = "statistics"
	// clocksApart is how much the clock of a remote may be off until somebody is told.
	clocksApart = time.Minute
)

// run keeps the copy and counts what is in it, until ctx ends.
func (s *site) run(ctx context.Context) {
	s.mirror, s.err = s.open(ctx)
	close(s.opened)
	if s.err != nil {
		s.collector.options.Events.Say(event.Error, fmt.Sprintf("Trusted remote %s: its shares cannot be kept: %v", s.name, s.err))
		s.forget()
		return
	}
	var running sync.WaitGroup
	running.Go(func() { s.mirror.Run(ctx) })
	running.Go(func() { s.count(ctx) })
	running.Go(func() { s.say(ctx) })
	running.Wait()
	s.turn <- struct{}{} // conversations end with ctx too
	s.mirror.Close()
}

func (s *site) forget() {
	c := s.collector
	c.mu.Lock()
	delete(c.sites, s.instance)
	c.mu.Unlock()
}

func (s *site) open(ctx context.Context) (m *journalwriter.Mirror, err error) {
	network := s.network
	if network == "" {
		h, err := journal.Describe(s.dir)
		if errors.Is(err, journal.ErrNone) {
			return nil, fmt.Errorf("%w; remove the directory", err)
		}
		if err != nil {
			return nil, err
		}
		network = h.Network
	}
	for begun := time.Now(); ; {
		m, err = journalwriter.OpenMirror(s.dir, s.instance, network, s.collector.options.MaxSize, s.collector.options.Events)
		if !errors.Is(err, journalwriter.ErrLocked) || time.Since(begun) > lockTime {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockEvery):
		}
	}
	if err != nil {
		return nil, err
	}
	// Until these say what they have, nothing is deleted.
	for _, reader := range []string{countedBy, s.collector.options.Reader} {
		if reader == "" {
			continue
		}
		c, err := journal.ReadCursor(s.dir, reader)
		if err == nil && c.Instance == "" {
			err = journal.WriteCursor(s.dir, reader, journal.Cursor{Instance: s.instance, Network: network})
		}
		if err != nil {
			m.Close()
			return nil, err
		}
	}
	return m, nil
}

// claim gives a conversation the copy; one that had it before ends.
func (s *site) claim(ctx context.Context, k *conversation) error {
	select {
	case <-s.opened:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.err != nil {
		return s.err
	}
	ticker := time.NewTicker(lockEvery)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		if s.present != nil {
			s.present.link.Close()
			s.present.end()
		}
		s.mu.Unlock()
		select {
		case s.turn <- struct{}{}:
			s.mu.Lock()
			s.present = k
			s.mu.Unlock()
			return nil
		case <-ticker.C: // the one before may have come to it a moment ago
		case <-k.ended:
			return errors.New("the link has ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *site) release() {
	s.mu.Lock()
	s.present = nil
	s.mu.Unlock()
	<-s.turn
}

// journal handles what a remote says of its journal.
func (k *conversation) journal(ctx context.Context, text []byte) error {
	var j poolproto.RemoteJournal
	if err := j.Parse(text); err != nil {
		return err
	}
	if k.site != nil {
		return errors.New("it speaks of its journal twice")
	}
	refuse := func(why string) error {
		k.send(&poolproto.Frame{Kind: poolproto.Journal, Text: (&poolproto.RemotePlace{Refused: why}).Append(nil)})
		return errors.New(why)
	}
	switch here := k.collector.options.Network(); here {
	case j.Network:
	case "":
		return refuse("the main pool has had no node yet, and does not know its chain")
	default:
		return refuse(fmt.Sprintf("it mines on %s, and the main pool on %s", j.Network, here))
	}
	s, err := k.collector.site(j.Instance, j.Name, j.Network)
	if err == nil {
		err = s.claim(ctx, k)
	}
	if err != nil {
		return refuse(err.Error())
	}
	k.site, k.name = s, j.Name
	if off := time.Since(time.Unix(j.Time, 0)).Round(time.Second); j.Time != 0 && off.Abs() > clocksApart {
		k.collector.options.Events.Say(event.Warning, fmt.Sprintf(
			"Trusted remote %s: the clocks of both are %v apart, here it is %v: its shares have the time of its clock", s.name, off.Abs(), time.Now().UTC().Format(time.RFC3339)))
	}
	at := s.mirror.Place()
	k.send(&poolproto.Frame{Kind: poolproto.Journal, Text: (&poolproto.RemotePlace{Segment: at.Segment, Mark: at.Mark, Size: at.Size}).Append(nil)})
	return nil
}

// bytes writes bytes of the remote's journal.
func (k *conversation) bytes(f *poolproto.Frame) error {
	file, data, err := poolproto.ParseBytes(f.Text)
	if err != nil {
		return err
	}
	if f.Number > math.MaxInt64-uint64(len(data)) {
		return errors.New("bytes of a journal behind its end")
	}
	if err := k.site.mirror.Write(&journalwriter.Piece{Segment: file, At: int64(f.Number), Data: data}); err != nil {
		return fmt.Errorf("its journal: %w", err)
	}
	k.dirty = true
	return nil
}

// keep makes safe what was written, and says so.
func (k *conversation) keep() error {
	if !k.dirty {
		return nil
	}
	k.dirty = false
	if err := k.site.mirror.Sync(); err != nil {
		return fmt.Errorf("its journal: %w", err)
	}
	at := k.site.mirror.Place()
	k.send(&poolproto.Frame{Kind: poolproto.Kept, Number: uint64(at.Size), Text: []byte(at.Segment)})
	return nil
}

// count counts what is in the copy.
func (s *site) count(ctx context.Context) {
	told := ""
	for ctx.Err() == nil {
		err := s.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if text := err.Error(); text != told {
			told = text
			s.collector.options.Events.Say(event.Error, fmt.Sprintf("Trusted remote %s: its shares cannot be counted: %s", s.name, text))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// read counts from where counting has come.
func (s *site) read(ctx context.Context) error {
	o := &s.collector.options
	cursor, err := journal.ReadCursor(s.dir, countedBy)
	if err != nil {
		return err
	}
	if m := o.Users.RemoteMark(s.instance); cursor.Before(journal.Position(m)) {
		cursor.Position, cursor.Life = journal.Position(m), ""
	}
	r, err := journal.Open(s.dir, cursor)
	if err != nil {
		return err
	}
	defer r.Close()
	checker := journal.NewChecker(r)
	var told time.Time
	for {
		k, err := r.Next(ctx)
		if err != nil {
			return err
		}
		var sh *session.Share
		switch worker := ""; k.Kind {
		case journal.KindShare:
			computed, err := checker.Share(k)
			if err == nil {
				sh, worker, err = share(k)
			}
			if err != nil {
				if sh = nil; time.Since(told) > time.Minute {
					told = time.Now()
					o.Events.Say(event.Warning, fmt.Sprintf("Trusted remote %s: record %v is not counted: %v", s.name, k.Position, err))
				}
			} else {
				sh.Computed = *computed
			}
			o.Users.CountRemote(s.instance, users.Mark(k.Position), worker, sh)
		case journal.KindMissing:
			o.Events.Say(event.Error, fmt.Sprintf("Trusted remote %s: %v", s.name, k.Missing))
			fallthrough
		default:
			o.Users.CountRemote(s.instance, users.Mark(k.Position), "", nil)
		}
	}
}

// mostDifficulty is more than any work has, and little enough for sums: what is refused may be
// said to have any difficulty, and statistics that are not finite any more move to no other
// process.
const mostDifficulty = 1e24

// share is a record of a journal as statistics count it.
func share(k *journal.Record) (*session.Share, string, error) {
	sh := &k.Share
	if k.Miner == nil || !users.Nameable(k.Miner.Worker) {
		return nil, "", errors.New("a share of nobody")
	}
	reason, known := session.ReasonNamed(k.Reason)
	if !known {
		reason = session.Malformed
	}
	if !(sh.Difficulty >= 0 && sh.Difficulty <= mostDifficulty && sh.Credit >= 0 && sh.Credit <= mostDifficulty) {
		return nil, "", fmt.Errorf("a difficulty of %g and a credit of %g", sh.Difficulty, sh.Credit)
	}
	if sh.Time <= 0 {
		return nil, "", errors.New("no time")
	}
	return &session.Share{
		Time: earlier(time.UnixMicro(sh.Time), time.Now()), Reason: reason, Difficulty: sh.Difficulty, Credit: sh.Credit,
	}, k.Miner.Worker, nil
}

// say says in the copy what is counted in all files, so that it can be deleted.
func (s *site) say(ctx context.Context) {
	ticker := time.NewTicker(cursorEvery)
	defer ticker.Stop()
	for last := (users.Mark{}); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m := s.collector.options.Users.RemotesSaved()[s.instance]
		if m == last {
			continue
		}
		c, err := journal.ReadCursor(s.dir, countedBy)
		if err == nil && c.Position.Before(journal.Position(m)) {
			c.Position, c.Life, c.Time = journal.Position(m), "", time.Now().UnixMicro()
			err = journal.WriteCursor(s.dir, countedBy, c)
		}
		if err != nil {
			s.collector.options.Events.Say(event.Error, fmt.Sprintf("Trusted remote %s: %v", s.name, err))
			continue
		}
		last = m
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
