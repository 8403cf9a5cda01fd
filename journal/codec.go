package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/ckpool/ckpool/internal/wire"
)

// A record is a head, which tells kind, time, miner and job, and a body, which is the
// same bytes in a writer's memory and in a file. In memory the head has the miner whole;
// in a file it has the number that miner and job were given there.

// maxExtranonce is how long an extranonce may be.
const maxExtranonce = 16

// maxAboveText is how much of another pool's words is kept.
const maxAboveText = 255

// Of a share's body.
const (
	creditNone  = 0 // no credit
	creditWhole = 1 // the difficulty
	creditOther = 2 // its own number at the end
)

// AppendBinary appends the share as it stands in a record, without Time and Job, which
// stand before it. The error is nil.
//
//	reason, scheme, variant, kind of credit, length of extranonce1, of extranonce2,
//	    of the hash without the zeros at its end: 1 byte each
//	difficulty: 8 bytes, ntime, nonce, version: 4 each; big-endian
//	extranonce1, extranonce2, hash, credit if it is neither 0 nor the difficulty
//	if it went up: verdict of the other pool, reason here: 1 byte each; difficulty there:
//	    8 bytes; length of the text: 1 byte, text
func (s *Share) AppendBinary(b []byte) ([]byte, error) {
	hash := len(s.Hash)
	for hash > 0 && s.Hash[hash-1] == 0 {
		hash--
	}
	credit := byte(creditOther)
	switch s.Credit {
	case 0:
		credit = creditNone
	case s.Difficulty:
		credit = creditWhole
	}
	e1, e2 := s.Extranonce1, s.Extranonce2
	b = append(b, s.Reason, s.Scheme, s.Variant, credit, byte(len(e1)), byte(len(e2)), byte(hash))
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(s.Difficulty))
	b = binary.BigEndian.AppendUint32(b, s.NTime)
	b = binary.BigEndian.AppendUint32(b, s.Nonce)
	b = binary.BigEndian.AppendUint32(b, s.Version)
	b = append(b, e1...)
	b = append(b, e2...)
	b = append(b, s.Hash[:hash]...)
	if credit == creditOther {
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(s.Credit))
	}
	if s.Above != NotSent {
		b = append(b, byte(s.Above), s.Here)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(s.AboveDifficulty))
		text := s.AboveText[:min(len(s.AboveText), maxAboveText)]
		b = append(append(b, byte(len(text))), text...)
	}
	return b, nil
}

var errShare = errors.New("its share is not one")

// readShare reads a share's body. Its slices alias b.
func readShare(b []byte, s *Share) error {
	const fixed = 7 + 8 + 3*4
	if len(b) < fixed {
		return errShare
	}
	credit, n1, n2, hash := b[3], int(b[4]), int(b[5]), int(b[6])
	if n1 > maxExtranonce || n2 > maxExtranonce || hash > len(s.Hash) || credit > creditOther || len(b) < fixed+n1+n2+hash {
		return errShare
	}
	s.Reason, s.Scheme, s.Variant = b[0], b[1], b[2]
	s.Difficulty = math.Float64frombits(binary.BigEndian.Uint64(b[7:]))
	s.NTime, s.Nonce, s.Version = binary.BigEndian.Uint32(b[15:]), binary.BigEndian.Uint32(b[19:]), binary.BigEndian.Uint32(b[23:])
	b = b[fixed:]
	s.Extranonce1, b = b[:n1:n1], b[n1:]
	s.Extranonce2, b = b[:n2:n2], b[n2:]
	s.Hash = [32]byte{}
	copy(s.Hash[:], b[:hash])
	b = b[hash:]
	switch s.Credit = 0; credit {
	case creditWhole:
		s.Credit = s.Difficulty
	case creditOther:
		if len(b) < 8 {
			return errShare
		}
		s.Credit, b = math.Float64frombits(binary.BigEndian.Uint64(b)), b[8:]
	}
	if err := readAbove(b, s); err != nil {
		return err
	}
	for _, d := range [...]float64{s.Difficulty, s.Credit, s.AboveDifficulty} {
		if !(d >= 0) || math.IsInf(d, 0) {
			return errShare
		}
	}
	return nil
}

// readAbove reads what is in a share's body of another pool, which is nothing where the
// share did not go up.
func readAbove(b []byte, s *Share) error {
	const fixed = 2 + 8 + 1
	s.Above, s.Here, s.AboveDifficulty, s.AboveText = NotSent, 0, 0, nil
	if len(b) == 0 {
		return nil
	}
	if len(b) < fixed || len(b) < fixed+int(b[fixed-1]) || b[0] == byte(NotSent) || b[0] >= byte(verdicts) {
		return errShare
	}
	s.Above, s.Here = Verdict(b[0]), b[1]
	s.AboveDifficulty = math.Float64frombits(binary.BigEndian.Uint64(b[2:]))
	if n := int(b[fixed-1]); n > 0 {
		s.AboveText = b[fixed : fixed+n : fixed+n]
	}
	return nil
}

// AppendBinary appends the miner as it stands in files. The error is nil.
func (m *Miner) AppendBinary(b []byte) ([]byte, error) {
	b = appendText(b, m.User)
	b = appendText(b, m.Worker)
	b = appendText(b, m.Agent)
	b = appendText(b, m.Address)
	b = binary.AppendVarint(b, int64(m.Limit))
	b = binary.AppendUvarint(b, uint64(len(m.Payout)))
	return append(b, m.Payout...), nil
}

func appendText(b []byte, s string) []byte {
	if len(s) < 0x80 {
		b = append(b, byte(len(s)))
	} else {
		b = binary.AppendUvarint(b, uint64(len(s)))
	}
	return append(b, s...)
}

// readMiner gives a miner that shares nothing with b.
func readMiner(b []byte) (*Miner, error) {
	c, m := wire.Read(b), new(Miner)
	c.Text(&m.User)
	c.Text(&m.Worker)
	c.Text(&m.Agent)
	c.Text(&m.Address)
	wire.Int(c, &m.Limit)
	c.Bytes(&m.Payout)
	m.Payout = bytes.Clone(m.Payout)
	return m, c.Err()
}

// The bodies of what is told seldom are records of package wire.

func (w *Worker) fields(c *wire.Codec)  { wire.Uint(c, &w.Client) }
func (k *Connect) fields(c *wire.Codec) { wire.Uint(c, &k.Client) }

func (l *Leave) fields(c *wire.Codec) {
	wire.Uint(c, &l.Client)
	c.Text(&l.Why)
}

func (d *Difficulty) fields(c *wire.Codec) {
	wire.Uint(c, &d.Client)
	wire.Amount(c, &d.Difficulty)
}

func (k *Block) fields(c *wire.Codec) {
	wire.Int(c, &k.Height)
	c.Array(k.Hash[:])
	wire.Amount(c, &k.NetworkDifficulty)
	wire.Int(c, &k.Reward)
	c.Text(&k.State)
	wire.Int(c, &k.Confirmations)
	c.Text(&k.Text)
}

func (s *Statistics) fields(c *wire.Codec) {
	wire.Int(c, &s.Runtime, &s.Users, &s.Workers, &s.Idle, &s.Disconnected, &s.AcceptedCount, &s.RejectedCount)
	wire.Float(c, &s.Effort, &s.NetworkDifficulty, &s.Accepted, &s.Rejected, &s.BestShare)
	for i := range s.Hashrate {
		wire.Float(c, &s.Hashrate[i])
	}
	for i := range s.SPS {
		wire.Float(c, &s.SPS[i])
	}
}

func (l *Lost) fields(c *wire.Codec) {
	wire.Int(c, &l.Ring)
	wire.Uint(c, &l.Records, &l.Shares, &l.TotalRecords, &l.TotalShares)
}

// AppendBinary appends the worker as it stands in a record: without Time. The error is nil.
func (w *Worker) AppendBinary(b []byte) ([]byte, error) { return appendFields(b, w.fields), nil }

// AppendBinary appends the connection as it stands in a record: without Time. The error is
// nil.
func (k *Connect) AppendBinary(b []byte) ([]byte, error) { return appendFields(b, k.fields), nil }

// AppendBinary appends the end of a connection as it stands in a record: without Time. The
// error is nil.
func (l *Leave) AppendBinary(b []byte) ([]byte, error) { return appendFields(b, l.fields), nil }

// AppendBinary appends the difficulty as it stands in a record: without Time and Job. The
// error is nil.
func (d *Difficulty) AppendBinary(b []byte) ([]byte, error) { return appendFields(b, d.fields), nil }

// AppendBinary appends the block as it stands in a record: without Time and Job. The error
// is nil.
func (k *Block) AppendBinary(b []byte) ([]byte, error) { return appendFields(b, k.fields), nil }

// AppendBinary appends the statistics as they stand in a record: without Time. The error is
// nil.
func (s *Statistics) AppendBinary(b []byte) ([]byte, error) { return appendFields(b, s.fields), nil }

// AppendBinary appends what was lost as it stands in a record: without Time. The error is
// nil.
func (l *Lost) AppendBinary(b []byte) ([]byte, error) { return appendFields(b, l.fields), nil }

func appendFields(b []byte, fields func(*wire.Codec)) []byte {
	c := wire.Append(b)
	c.Record(fields)
	return c.Written()
}

func readFields(b []byte, fields func(*wire.Codec)) error {
	c := wire.Read(b)
	c.Record(fields)
	return c.Done()
}

// ReadBody sets the member of r for its Kind and Time, which are set already, from what
// AppendBinary gives and the id of the job; of a job without its record. Slices alias b.
// A kind that is not known is an error.
func (r *Record) ReadBody(b []byte, job uint64) error {
	switch r.Kind {
	case KindShare:
		r.Share.Time, r.Share.Job = r.Time, job
		return readShare(b, &r.Share)
	case KindJob:
		if len(b) < 8 {
			return errors.New("its job is not one")
		}
		r.Job = Job{ID: job, Oldest: binary.BigEndian.Uint64(b)}
		return nil
	case KindWorker:
		r.Worker = Worker{Time: r.Time}
		return readFields(b, r.Worker.fields)
	case KindConnect:
		r.Connect = Connect{Time: r.Time}
		return readFields(b, r.Connect.fields)
	case KindLeave:
		r.Leave = Leave{Time: r.Time}
		return readFields(b, r.Leave.fields)
	case KindDifficulty:
		r.Difficulty = Difficulty{Time: r.Time, Job: job}
		return readFields(b, r.Difficulty.fields)
	case KindBlock:
		r.Block = Block{Time: r.Time, Job: job}
		return readFields(b, r.Block.fields)
	case KindStatistics:
		r.Statistics = Statistics{Time: r.Time}
		return readFields(b, r.Statistics.fields)
	case KindLost:
		r.Lost = Lost{Time: r.Time}
		return readFields(b, r.Lost.fields)
	}
	return fmt.Errorf("a record of %v", r.Kind)
}
