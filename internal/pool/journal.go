package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/instance"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// Schemes of reward, as journals number them.
const (
	schemePool = iota // whoever mines for the pool has a part of its blocks
	schemeSolo        // who finds a block has it
)

var schemes = []string{schemePool: "pplns", schemeSolo: "solo"}

// verdicts of another pool, as journals number them.
var verdicts = [...]journal.Verdict{
	source.AcceptedAbove: journal.AcceptedAbove, source.RefusedAbove: journal.RefusedAbove,
	source.Unanswered: journal.Unanswered, source.NotSent: journal.NotSent,
}

// maxRefused is how many refused shares a second each loop tells: an honest miner
// has few, and a stranger is not to fill the disk with others.
const maxRefused = 500

// shareJournal tells a journal what the parts of the pool do. It is a session.Sink
// and a session.Witness.
//
// The journal is open while the pool is the one that mines, and the network is known:
// loops use it without a lock, since nobody is served at other times.
type shareJournal struct {
	// immutable
	options journalwriter.Options // Network is set when it is known
	unasked bool                  // nobody has asked for it, but it is there
	scheme  uint8
	users   *users.Users
	recent  func() []*session.Work // that shares may come for
	loops   []journalLoop

	writer atomic.Pointer[journalwriter.Writer]
	newest atomic.Pointer[session.Work] // that was told, which recent may not have yet

	mu sync.RWMutex // held for reading by who tells from another goroutine than a loop's
	// guarded by mu
	network string // "" unknown
	ours    bool   // this process is the one that mines
	stop    context.CancelFunc
	running sync.WaitGroup

	withheld atomic.Uint64 // refused shares that were not told
}

// journalLoop is owned by its loop.
type journalLoop struct {
	miner   journal.Miner
	share   journal.Share
	address [64]byte // text of the miner's
	text    []byte   // of another pool
	second  int64    // in which so many refused shares were told
	refused int
	_       [64]byte // keeps loops off each other's cache lines
}

// JournalDir is where the journal of a configuration is.
func JournalDir(c *config.Config) string {
	name := cmp.Or(c.Journal, "journal")
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.LogDir, name)
}

// usable makes a directory, and tells why files cannot be in it: a journal is opened only when a
// node has said what it is of.
func usable(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return instance.Usable(dir)
}

// KeptShares tells that an earlier run of the instance of a name kept its shares in the
// journal of a configuration.
func KeptShares(c *config.Config, name string) bool {
	h, err := journal.Describe(JournalDir(c))
	return err == nil && h.Name == name
}

// ringSize is that of one of so many loops' rings, of which there is one more: all have
// some 64 MiB together, and up to twice that as each is made a power of two.
func ringSize(loops int) int64 {
	return min(max(64<<20/int64(loops+1), 1<<20), journalwriter.DefaultRingSize)
}

func newShareJournal(c *config.Config, o *Options, loops int, u *users.Users, recent func() []*session.Work) *shareJournal {
	reasons := make([]string, session.Reasons)
	for i := range reasons {
		reasons[i] = session.Reason(i).String()
	}
	j := &shareJournal{
		options: journalwriter.Options{
			Dir: JournalDir(c), RingDirs: []string{"/dev/shm", o.SockDir},
			Name: o.Name, Program: "ckpool " + o.Version, Reasons: reasons, Schemes: schemes,
			Loops: loops, RingSize: ringSize(loops), Sync: c.JournalSync, MaxSize: c.JournalSize, Events: o.Events,
		},
		unasked: o.Unasked, users: u, recent: recent, loops: make([]journalLoop, loops),
	}
	if o.Solo {
		j.scheme = schemeSolo
	}
	return j
}

// setNetwork tells the network of the pool, and opens the journal if this process
// is the one that mines.
func (j *shareJournal) setNetwork(network string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.network = network
	return j.excuse(j.open())
}

// excuse tells of an error, and returns none, where nobody has asked for the journal: one of
// another network keeps nobody from mining then.
func (j *shareJournal) excuse(err error) error {
	if err != nil && j.unasked {
		j.notKept(err)
		return nil
	}
	return err
}

// begin opens the journal once the network is known: this process mines from now on.
func (j *shareJournal) begin() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ours = true
	return j.open()
}

// againTime is how long a process that did not take over after all has to let the
// journal go.
const againTime = 3 * time.Second

// again opens the journal once more after end. If that cannot be, shares are only
// counted until it can, which retry tries: a process that hangs has the journal until it
// is ended.
func (j *shareJournal) again() {
	err := j.begin()
	for begun := time.Now(); errors.Is(err, journalwriter.ErrLocked) && time.Since(begun) < againTime; err = j.begin() {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		j.notKept(err)
	}
}

// retry opens the journal where it should be open and is not. What keeps it from that is
// told, if tell says so.
func (j *shareJournal) retry(tell bool) {
	j.mu.Lock()
	missing := j.missing()
	err := j.open()
	j.mu.Unlock()
	switch {
	case err != nil && tell:
		j.notKept(err)
	case err == nil && missing:
		j.options.Events.Say(event.Warning, "Shares are kept for ckdb again")
	}
}

// missing tells that shares should be kept and are not. It is for who holds mu.
func (j *shareJournal) missing() bool {
	return j.ours && j.network != "" && j.writer.Load() == nil
}

// unkept is missing for who does not hold mu.
func (j *shareJournal) unkept() bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.missing()
}

func (j *shareJournal) notKept(err error) {
	j.options.Events.Say(event.Critical, "Shares are counted, but not kept for ckdb: "+err.Error())
}

// open is for who holds mu.
func (j *shareJournal) open() error {
	if j.network == "" || !j.ours || j.writer.Load() != nil {
		return nil
	}
	j.options.Network = j.network
	w, err := journalwriter.Open(j.options)
	if err != nil {
		return err
	}
	recent := j.recent()
	if k := j.newest.Load(); k != nil && (len(recent) == 0 || recent[len(recent)-1].Job.ID < k.Job.ID) {
		recent = append(recent[:len(recent):len(recent)], k)
	}
	for _, k := range recent {
		if err := w.Job(k.Job, k.Oldest); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	j.start(w)
	return nil
}

// start is for who holds mu.
func (j *shareJournal) start(w *journalwriter.Writer) {
	ctx, stop := context.WithCancel(context.Background())
	j.stop = stop
	j.running.Go(func() { w.Run(ctx) })
	j.writer.Store(w)
}

// readyTime is how long the journal's disk may take, while all is served, before everything
// stands still.
const readyTime = 4 * time.Second

// ready tells why another process could not go on with the journal now.
func (j *shareJournal) ready(ctx context.Context) error {
	w := j.writer.Load()
	if w == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	return w.Ready(ctx)
}

// close ends the journal with the pool.
func (j *shareJournal) close() error { return j.end((*journalwriter.Writer).Close) }

// pass ends the journal so that another process can go on with it.
func (j *shareJournal) pass() error { return j.end((*journalwriter.Writer).Pass) }

// end needs the loops to stand still. After an error the journal is as it was.
func (j *shareJournal) end(how func(*journalwriter.Writer) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.writer.Load()
	j.ours = false
	if w == nil {
		return nil
	}
	j.stop()
	j.running.Wait()
	j.writer.Store(nil)
	if err := how(w); err != nil {
		j.ours = true
		j.start(w)
		return err
	}
	return nil
}

// Share implements session.Sink.
func (j *shareJournal) Share(sh *session.Share) {
	w := j.writer.Load()
	user, worker, known := j.users.Names(sh.Worker)
	if w == nil || !known {
		return
	}
	l := &j.loops[sh.Loop]
	n := 1 + int(sh.Also)
	if sh.Reason != session.Accepted {
		if second := sh.Time.Unix(); second != l.second {
			l.second, l.refused = second, 0
		}
		told := min(n, maxRefused-l.refused)
		j.withheld.Add(uint64(n - told))
		if n = told; n == 0 {
			return
		}
		l.refused += n
	}
	k := &l.share
	*k = journal.Share{
		Time: sh.Time.UnixMicro(), Variant: sh.Variant,
		Extranonce1: sh.Extranonce1.Bytes(), Extranonce2: sh.Extranonce2.Bytes(),
		NTime: sh.NTime, Nonce: sh.Nonce, Version: sh.Version,
		Difficulty: sh.Difficulty, Credit: sh.Credit, Reason: uint8(sh.Reason), Scheme: j.scheme,
	}
	if sh.Job != nil {
		k.Job = sh.Job.ID
	}
	if sh.Hashed {
		k.Hash = sh.Computed.Hash
	}
	if sh.WentUp {
		k.Above, k.AboveDifficulty, k.Here = verdicts[sh.Above], sh.AboveDifficulty, uint8(sh.Here)
		if sh.Reason == session.Refused && sh.Format != nil {
			l.text = append(l.text[:0], sh.Format.Text...)
			k.AboveText = l.text
		}
	}
	miner := l.of(user, worker, sh.UserAgent, sh.Remote, sh.Limit, sh.Payout)
	for range n {
		w.Share(sh.Loop, k, miner)
	}
}

// of is valid until the next call.
func (l *journalLoop) of(user, worker, agent string, remote netip.AddrPort, limit int, payout []byte) *journal.Miner {
	address := remote.Addr().Unmap().AppendTo(l.address[:0])
	l.miner = journal.Miner{
		User: user, Worker: worker, Agent: agent, Limit: limit, Payout: payout,
		Address: unsafe.String(unsafe.SliceData(address), len(address)), // the journal copies it
	}
	return &l.miner
}

// Flush implements session.Sink.
func (j *shareJournal) Flush(loop int) {
	if w := j.writer.Load(); w != nil {
		w.Flush(loop)
	}
}

// event is the writer and who an event is of; nil: it cannot be told.
func (j *shareJournal) event(m *session.Event) (*journalwriter.Writer, *journal.Miner) {
	w := j.writer.Load()
	user, worker, known := j.users.Names(m.Worker)
	if w == nil || !known {
		return nil, nil
	}
	return w, j.loops[m.Loop].of(user, worker, m.UserAgent, m.Remote, m.Limit, m.Payout)
}

// Authorised implements session.Witness.
func (j *shareJournal) Authorised(m *session.Event, first bool) {
	w, miner := j.event(m)
	if w == nil {
		return
	}
	if first {
		w.Connect(m.Loop, &journal.Connect{Time: m.Time.UnixMicro(), Client: m.Client}, miner)
	}
	w.Worker(m.Loop, &journal.Worker{Time: m.Time.UnixMicro(), Client: m.Client}, miner)
}

// Difficulty implements session.Witness.
func (j *shareJournal) Difficulty(m *session.Event, difficulty float64, job uint64) {
	if w, miner := j.event(m); w != nil {
		w.Difficulty(m.Loop, &journal.Difficulty{Time: m.Time.UnixMicro(), Client: m.Client, Job: job, Difficulty: difficulty}, miner)
	}
}

// Left implements session.Witness.
func (j *shareJournal) Left(m *session.Event, why string) {
	if w, miner := j.event(m); w != nil {
		w.Leave(m.Loop, &journal.Leave{Time: m.Time.UnixMicro(), Client: m.Client, Why: why}, miner)
	}
}

// work tells new work, before any miner has it.
func (j *shareJournal) work(k *session.Work) {
	j.newest.Store(k) // for who opens the journal from here on
	j.mu.RLock()
	defer j.mu.RUnlock()
	if w := j.writer.Load(); w != nil {
		if err := w.Job(k.Job, k.Oldest); err != nil {
			j.options.Events.Say(event.Error, "Journal: "+err.Error())
		}
	}
}

// statistics tells those of a minute.
func (j *shareJournal) statistics(s sharelog.PoolStatus) {
	j.retry(true)
	j.mu.RLock()
	defer j.mu.RUnlock()
	if w := j.writer.Load(); w != nil {
		w.Statistics(&journal.Statistics{Time: s.LastUpdate.UnixMicro(), PoolStatus: s})
	}
	if n := j.withheld.Swap(0); n > 0 {
		j.options.Events.Say(event.Warning, fmt.Sprintf("%d refused shares are not in the journal: more than %d a second of a loop are not kept", n, maxRefused))
	}
}

// told tells what has happened to blocks.
func (j *shareJournal) told(e event.Event) {
	switch k := e.What.(type) {
	case blocks.Found:
		j.block(&k.Block, k.Job)
	case blocks.Changed:
		j.block(&k.Block, 0)
	}
}

func (j *shareJournal) block(b *blocks.Block, job uint64) {
	hash, err := work.ParseHash(b.Hash)
	if err != nil {
		return
	}
	at := b.Time
	if job == 0 {
		at = time.Now()
	}
	k := journal.Block{
		Time: at.UnixMicro(), Job: job, Height: b.Height, Hash: hash, NetworkDifficulty: b.Difficulty,
		Reward: b.Reward, State: b.State, Confirmations: b.Confirmations, Text: b.Text,
	}
	if k.State == "" {
		k.State = source.BlockPending
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if w := j.writer.Load(); w != nil {
		w.Block(&k, &journal.Miner{User: users.UserOf(b.Worker), Worker: b.Worker})
	}
}

// journalStatus is how the journal does; false: there is none, or it is not open.
func (p *Pool) journalStatus() (journalwriter.Status, bool) {
	if p.journal == nil {
		return journalwriter.Status{}, false
	}
	if w := p.journal.writer.Load(); w != nil {
		return w.Status(), true
	}
	return journalwriter.Status{}, false
}
