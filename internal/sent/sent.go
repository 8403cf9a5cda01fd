// Package sent is what another pool has sent a miner, as far as shares are computed from it:
// extranonce1, difficulty, version mask and jobs, read from the lines that pass by. It knows
// no connection, and judges nothing.
package sent

import (
	"bytes"
	"slices"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// Job is what a miner is sent. Immutable.
type Job struct {
	ID             uint64
	Suffix         uint8
	Prev           [32]byte // internal order
	Coinb1, Coinb2 []byte
	Branch         [][32]byte
	Version, Bits  uint32
	Time           uint32 // unix seconds, 0 not known
	Target         difficulty.Target
}

// Given is a job of a miner.
type Given struct {
	*Job
	Difficulty float64 // that the miner had when it got the job
	Least      float64 // likewise, or has had since
	Tip        uint32  // of the miner's, which the job is of
}

// Miner is what one miner was sent. Owned by its loop. The owner sets Extranonce from the
// answer to the subscription, and Mask from that to the configuration.
type Miner struct {
	Extranonce stratum.Extranonce
	Mask       uint32 // of version bits that it may roll
	Difficulty float64
	Jobs       []Given // the newest last; of the present tip and the one before
	Tip        uint32  // how often the tip has changed
}

// Loop is what the miners of one loop have in common. It is owned by that.
type Loop struct {
	// Most is how many jobs of a miner are kept.
	Most int

	params []byte // of the last line for many
	last   *Job   // that it has
	base   *Job   // the last without a suffix

	coinbase []byte // of the share under way
}

// read is the job of a mining.notify, nil for one that cannot be read.
func (l *Loop) read(params []byte) *Job {
	var n stratum.Notify
	if err := n.Parse(params); err != nil {
		return nil
	}
	j := &Job{Prev: n.PrevHash, Coinb1: n.Coinb1, Coinb2: n.Coinb2, Branch: n.Branch, Version: n.Version, Bits: n.Bits, Time: n.NTime}
	var ok bool
	if j.ID, j.Suffix, ok = stratum.JobID([]byte(n.JobID)); !ok {
		return nil
	}
	var err error
	if j.Target, err = difficulty.TargetFromBits(n.Bits); err != nil {
		return nil
	}
	return l.Intern(j)
}

// Intern has a job share what it has in common with the last one of its id: all of it
// where both are the same.
func (l *Loop) Intern(j *Job) *Job {
	if b := l.base; b != nil && b.ID == j.ID && slices.Equal(b.Branch, j.Branch) {
		j.Branch = b.Branch
		if bytes.Equal(b.Coinb2, j.Coinb2) {
			j.Coinb2 = b.Coinb2
			if j.Suffix == b.Suffix && j.Prev == b.Prev && j.Version == b.Version && j.Bits == b.Bits && j.Time == b.Time && bytes.Equal(b.Coinb1, j.Coinb1) {
				return b
			}
		}
	}
	if j.Suffix == 0 {
		l.base = j
	}
	return j
}

// shared is read of a line that other miners get as well, whose bytes never change: they
// have the same job.
func (l *Loop) shared(params []byte) *Job {
	if len(params) > 0 && (len(l.params) == 0 || &l.params[0] != &params[0]) {
		l.params, l.last = params, l.read(params)
	}
	return l.last
}

// Heard takes a line of the pool that is no answer. What is shared is the same for many
// miners: its bytes never change.
func (m *Miner) Heard(msg *stratum.Message, shared bool, l *Loop) {
	switch string(msg.Method) {
	case "mining.notify":
		j := (*Job)(nil)
		if shared {
			j = l.shared(msg.Params)
		} else {
			j = l.read(msg.Params)
		}
		if j != nil {
			m.give(j, l.Most)
		}
	case "mining.set_difficulty":
		if d, err := stratum.ParseDifficulty(msg.Params); err == nil {
			m.Difficulty = d
			for i := range m.Jobs {
				m.Jobs[i].Least = min(m.Jobs[i].Least, d)
			}
		}
	case "mining.set_extranonce":
		if x, err := stratum.ParseExtranonce(msg.Params); err == nil {
			m.Extranonce.Extranonce1, m.Extranonce.Extranonce2Len = bytes.Clone(x.Extranonce1), x.Extranonce2Len
			m.Jobs = nil
		}
	case "mining.set_version_mask":
		if mask, err := stratum.ParseVersionMask(msg.Params); err == nil {
			m.Mask = mask
		}
	}
}

// give adds a job.
func (m *Miner) give(j *Job, most int) {
	if n := len(m.Jobs); n > 0 && m.Jobs[n-1].Prev != j.Prev {
		m.Jobs = slices.DeleteFunc(m.Jobs, func(g Given) bool { return g.Tip != m.Tip })
		m.Tip++
	}
	if len(m.Jobs) >= most {
		m.Jobs = slices.Delete(m.Jobs, 0, 1)
	}
	m.Jobs = append(m.Jobs, Given{Job: j, Difficulty: m.Difficulty, Least: m.Difficulty, Tip: m.Tip})
}

// Job is what the miner was last sent under an id, nil if it is not known.
func (m *Miner) Job(id uint64, suffix uint8) *Given {
	for i := len(m.Jobs) - 1; i >= 0; i-- {
		if g := &m.Jobs[i]; g.ID == id && g.Suffix == suffix {
			return g
		}
	}
	return nil
}

// Hash computes a share of a job, of which Extranonce2Len is the miner's, and the coinbase
// without witness, which is valid until the next call.
func (m *Miner) Hash(j *Job, s *stratum.Submit, l *Loop) (share work.Share, coinbase []byte) {
	coinbase = append(append(l.coinbase[:0], j.Coinb1...), m.Extranonce.Extranonce1...)
	coinbase = append(append(coinbase, s.Extranonce2[:s.Extranonce2Len]...), j.Coinb2...)
	l.coinbase = coinbase
	version := j.Version
	if s.HasVersionBits {
		version = version&^m.Mask | s.VersionBits
	}
	share.Header = work.Header(&work.HeaderParts{
		Version: version, PrevHash: j.Prev, Root: work.MerkleRoot(work.HashTransaction(coinbase), j.Branch),
		Time: s.NTime, Bits: j.Bits, Nonce: s.Nonce,
	})
	share.Hash = work.HashHeader(&share.Header)
	share.Difficulty = difficulty.OfHash(&share.Hash)
	share.Block = j.Target.MetBy(&share.Hash)
	return share, coinbase
}
