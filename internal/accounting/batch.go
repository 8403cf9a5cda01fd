package accounting

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// batch gathers records until they are stored together.
type batch struct {
	rows    store.Batch
	network address.Network
	named   bool // the network is one whose addresses are known

	workers map[store.Worker]int32
	agents  map[string]int32
	miners  map[*journal.Miner]miner // what each is of the two above
	seen    map[int32]int            // index in rows.Seen by worker
	losses  []string                 // what the gaps are, for the log
	records int
	size    int             // at most what its rows take where they are sent
	cursor  journal.Cursor  // of the last one
	ahead   *journal.Record // read, and not yet added
}

// rowSize is more than a row takes without its texts.
const rowSize = 128

// miner is who a record is of, as rows name it.
type miner struct{ worker, agent int32 }

func newBatch(instance [16]byte, network string) *batch {
	b := &batch{
		rows:    store.Batch{Instance: instance},
		workers: map[store.Worker]int32{}, agents: map[string]int32{}, miners: map[*journal.Miner]miner{}, seen: map[int32]int{},
	}
	b.network, b.named = address.NetworkForChain(network)
	return b
}

// reset begins another batch behind the last.
func (b *batch) reset() {
	r := &b.rows
	*r = store.Batch{
		Instance: r.Instance, From: r.To, To: r.To, Workers: r.Workers[:0], Agents: r.Agents[:0], Jobs: r.Jobs[:0], Shares: r.Shares[:0],
		Rejects: r.Rejects[:0], Seen: r.Seen[:0], Blocks: r.Blocks[:0], Changes: r.Changes[:0], Minutes: r.Minutes[:0], Gaps: r.Gaps[:0],
	}
	clear(b.workers)
	clear(b.agents)
	clear(b.miners)
	clear(b.seen)
	b.losses, b.records, b.size = nil, 0, 0
}

// add adds a record, which must be of the epoch of those before it, with that epoch's
// life.
func (b *batch) add(k *journal.Record, life string) error {
	at := b.pass(k, life)
	var err error
	switch k.Kind {
	case journal.KindShare:
		err = b.share(k, at)
	case journal.KindJob:
		err = b.job(k, at)
	case journal.KindWorker, journal.KindConnect, journal.KindLeave:
		if k.Miner != nil && k.Miner.User != "" {
			b.see(b.miner(k.Miner).worker, k.Time)
		}
	case journal.KindDifficulty: // shares have it
	case journal.KindBlock:
		b.block(k)
	case journal.KindStatistics:
		b.minute(&k.Statistics)
	case journal.KindLost:
		b.gap(at, at.Number, at.Number, k.Time, "lost")
		b.losses = append(b.losses, fmt.Sprintf("lost before record %v, for there was no room in memory: %s, of which %s", k.Position, figures.Things(int64(k.Lost.Records), "record"), figures.Things(int64(k.Lost.Shares), "share")))
	case journal.KindMissing:
		b.missing(k, at)
	default:
		return fmt.Errorf("record %v is of a kind that this program does not store: %v", k.Position, k.Kind)
	}
	if err != nil {
		return fmt.Errorf("record %v: %w", k.Position, err)
	}
	return nil
}

// pass goes on to a record, of which nothing is stored.
func (b *batch) pass(k *journal.Record, life string) (at store.Position) {
	at = store.Position{Epoch: int64(k.Epoch), Number: int64(k.Number), Life: life}
	b.rows.To, b.rows.At = at, k.Time
	b.records++
	b.size += rowSize
	return at
}

func (b *batch) gap(at store.Position, first, last, seen int64, cause string) {
	b.size += len(cause)
	b.rows.Gaps = append(b.rows.Gaps, store.Gap{Epoch: at.Epoch, First: first, Last: last, Seen: seen, Cause: cause})
}

func (b *batch) missing(k *journal.Record, at store.Position) {
	m := &k.Missing
	cause := "missing"
	if m.Bytes > 0 {
		cause = "damaged"
	}
	b.losses = append(b.losses, m.String())
	first := store.Position{Epoch: int64(m.First.Epoch), Number: int64(m.First.Number)}
	if first.Epoch != at.Epoch {
		b.gap(first, first.Number, store.ToEnd, k.Time, cause)
		if first.Number = 1; at.Number < first.Number { // nobody knows how many it had
			b.gap(at, first.Number, store.ToEnd, k.Time, cause)
			return
		}
	}
	b.gap(at, first.Number, at.Number, k.Time, cause)
}

// worker is who a name earns for: an address of the pool's network, or a user.
func (b *batch) worker(m *journal.Miner) store.Worker {
	return workerOf(b.network, b.named, m.User, m.Worker)
}

func (b *batch) miner(m *journal.Miner) miner {
	if k, ok := b.miners[m]; ok {
		return k
	}
	k := miner{Index(b.workers, &b.rows.Workers, b.worker(m)), Index(b.agents, &b.rows.Agents, m.Agent)}
	b.miners[m] = k
	b.size += rowSize + len(m.User) + len(m.Worker) + len(m.Agent)
	return k
}

// Index is that of a value in a list, to which it is added if it is not there.
func Index[T comparable](known map[T]int32, list *[]T, v T) int32 {
	i, ok := known[v]
	if !ok {
		i = int32(len(*list))
		*list = append(*list, v)
		known[v] = i
	}
	return i
}

func (b *batch) see(worker int32, at int64) {
	i, ok := b.seen[worker]
	if !ok {
		b.seen[worker] = len(b.rows.Seen)
		b.rows.Seen = append(b.rows.Seen, store.Seen{Worker: worker, At: at})
		return
	}
	b.rows.Seen[i].At = max(b.rows.Seen[i].At, at)
}

// reasons are those that are counted apart, as pools name them.
var reasons = map[string]store.Reason{"stale": store.Stale, "duplicate": store.Duplicate, "above target": store.AboveTarget}

// schemes of reward by the names that pools have for them, as the store numbers them.
var schemes = map[string]uint8{"pplns": 0, "solo": 1}

// verdicts of other pools, as the store numbers them.
var verdicts = [...]store.Verdict{
	journal.NotSent: store.NotSent, journal.AcceptedAbove: store.AcceptedAbove, journal.RefusedAbove: store.RefusedAbove, journal.Unanswered: store.Unanswered,
}

// most is a difficulty that another pool may have chosen, as what it owes, or a trusted remote
// that is ckpool in C what its miners have, and so may be more than can be.
func most(d float64) difficulty.Exact { return difficulty.ExactOf(min(d, store.MaxCredit)) }

// aboveOf is what another pool said.
func aboveOf(s *journal.Share) store.Above {
	return store.Above{Verdict: verdicts[s.Above], Difficulty: most(s.AboveDifficulty)}
}

func (b *batch) share(k *journal.Record, at store.Position) error {
	s := &k.Share
	if k.Miner == nil {
		return errors.New("a share is nobody's")
	}
	m := b.miner(k.Miner)
	if s.Reason != 0 {
		reason, ok := reasons[k.Reason]
		if !ok {
			reason = store.Other
		}
		b.rows.Rejects = append(b.rows.Rejects, store.Reject{
			Received: s.Time, Worker: m.worker, Agent: m.agent, Job: s.Job, Reason: reason, Difficulty: most(s.Difficulty), Above: aboveOf(s),
		})
		return nil
	}
	scheme, ok := schemes[k.Scheme]
	switch {
	case !ok:
		return fmt.Errorf("a share earns in the scheme %q, which this release does not know: install a later one", k.Scheme)
	case !s.Hashed():
		return errors.New("an accepted share has no hash")
	}
	b.rows.Shares = append(b.rows.Shares, store.Share{
		Number: at.Number, Received: s.Time, NTime: s.NTime, Hash: [16]byte(s.Hash[:16]), Worker: m.worker, Agent: m.agent,
		Scheme: scheme, Job: s.Job, Credit: most(s.Credit), Achieved: difficulty.ExactOf(s.Achieved()), Above: aboveOf(s),
	})
	return nil
}

func (b *batch) job(k *journal.Record, at store.Position) error {
	var r work.JobReader
	j, err := r.Read(k.Job.Record)
	if err != nil {
		return err
	}
	t := j.Template
	b.size += len(k.Job.Record)
	b.rows.Jobs = append(b.rows.Jobs, store.Job{
		Number: at.Number, ID: j.ID, Height: t.Height, PrevHash: t.PrevHash, Bits: t.Bits, Difficulty: difficulty.ExactOf(j.NetworkDifficulty),
		Version: t.Version, NTime: j.NTimeMin, Reward: t.CoinbaseValue, Created: j.Created.UnixMicro(), Record: append([]byte(nil), k.Job.Record...),
	})
	return nil
}

func (b *batch) block(k *journal.Record) {
	v := &k.Block
	if v.State == source.BlockPending && v.Job != 0 {
		finder := int32(-1)
		if k.Miner != nil && k.Miner.Worker != "" {
			finder = b.miner(k.Miner).worker
		}
		b.rows.Blocks = append(b.rows.Blocks, store.Block{
			Hash: v.Hash, Height: v.Height, Job: v.Job, Worker: finder, Difficulty: difficulty.ExactOf(v.NetworkDifficulty), Reward: v.Reward, Found: v.Time,
		})
	}
	b.size += rowSize + len(v.Text)
	b.rows.Changes = append(b.rows.Changes, store.BlockChange{Hash: v.Hash, At: v.Time, State: v.State, Confirmations: v.Confirmations, Note: v.Text})
}

// Places of sharelog.PoolStatus.Hashrate.
const (
	rate1m  = 0
	rate5m  = 1
	rate1h  = 3
	rate24h = 5
)

func (b *batch) minute(s *journal.Statistics) {
	rate := func(i int) difficulty.Exact {
		return difficulty.ExactOf(s.Hashrate[i] / difficulty.HashesPerDifficulty)
	}
	b.rows.Minutes = append(b.rows.Minutes, store.Minute{
		At: s.Time, Users: s.Users, Workers: s.Workers,
		Rate1m: rate(rate1m), Rate5m: rate(rate5m), Rate1h: rate(rate1h), Rate24h: rate(rate24h),
	})
}

// instanceOf is the id of a journal in bytes.
func instanceOf(id string) (b [16]byte, err error) {
	if n, err := hex.Decode(b[:], []byte(id)); err != nil || n != len(b) {
		return b, fmt.Errorf("the journal's instance is %q, want 32 hex digits", id)
	}
	return b, nil
}
