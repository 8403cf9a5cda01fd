package journal

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/work"
)

// line is a record as people read it.
type line struct {
	At   string `json:"at"`
	Time string `json:"time,omitempty"`
	Kind string `json:"kind"`

	User    string `json:"user,omitempty"`
	Worker  string `json:"worker,omitempty"`
	Agent   string `json:"agent,omitempty"`
	Address string `json:"address,omitempty"`
	Client  uint64 `json:"client,omitempty"`

	Job             string          `json:"job,omitempty"`
	Reason          string          `json:"reason,omitempty"`
	Scheme          string          `json:"scheme,omitempty"`
	Difficulty      float64         `json:"difficulty,omitempty"`
	Credit          *float64        `json:"credit,omitempty"`
	ShareDifficulty float64         `json:"share_difficulty,omitempty"`
	Hash            string          `json:"hash,omitempty"`
	Above           *aboveLine      `json:"above,omitempty"`
	Solution        *solutionLine   `json:"solution,omitempty"`
	Block           *blockLine      `json:"block,omitempty"`
	Statistics      map[string]any  `json:"statistics,omitempty"`
	Oldest          string          `json:"oldest_job,omitempty"`
	Work            json.RawMessage `json:"work,omitempty"`
	Why             string          `json:"why,omitempty"`
	Lost            *lostLine       `json:"lost,omitempty"`
}

type solutionLine struct {
	Variant     uint8  `json:"variant"`
	Extranonce1 string `json:"extranonce1"`
	Extranonce2 string `json:"extranonce2"`
	NTime       string `json:"ntime"`
	Nonce       string `json:"nonce"`
	Version     string `json:"version"`
}

// aboveLine is what another pool said of a share that went up.
type aboveLine struct {
	Verdict    string  `json:"verdict"`
	Text       string  `json:"text,omitempty"`
	Difficulty float64 `json:"difficulty"`
	Here       string  `json:"here"` // reason, as far as that pool is not asked
}

type blockLine struct {
	Height            int64   `json:"height"`
	State             string  `json:"state"`
	Confirmations     int64   `json:"confirmations,omitempty"`
	Reward            int64   `json:"reward"`
	NetworkDifficulty float64 `json:"network_difficulty"`
}

type lostLine struct {
	Ring    int    `json:"ring"`
	Records uint64 `json:"records"`
	Shares  uint64 `json:"shares"`
}

// AppendJSON appends a record as a JSON object in one line, for people: times as in
// RFC 3339, hashes with the most significant digit first, other bytes in hex.
func (k *Record) AppendJSON(b []byte) ([]byte, error) {
	l := line{At: k.Position.String(), Kind: k.Kind.String()}
	if k.Time != 0 {
		l.Time = time.UnixMicro(k.Time).UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	if m := k.Miner; m != nil && k.Kind != KindMissing {
		l.User, l.Worker, l.Agent, l.Address = m.User, m.Worker, m.Agent, m.Address
	}
	switch k.Kind {
	case KindShare:
		s := &k.Share
		l.Job, l.Reason, l.Scheme, l.Difficulty, l.Credit = jobName(s.Job), k.Reason, k.Scheme, s.Difficulty, &s.Credit
		if s.Hashed() {
			l.Hash, l.ShareDifficulty = work.FormatHash(s.Hash), s.Achieved()
		}
		if s.Above != NotSent {
			l.Above = &aboveLine{s.Above.String(), string(s.AboveText), s.AboveDifficulty, k.Here}
		}
		l.Solution = &solutionLine{
			s.Variant, hex.EncodeToString(s.Extranonce1), hex.EncodeToString(s.Extranonce2),
			fmt.Sprintf("%08x", s.NTime), fmt.Sprintf("%08x", s.Nonce), fmt.Sprintf("%08x", s.Version),
		}
	case KindJob:
		l.Job, l.Oldest, l.Work = jobName(k.Job.ID), jobName(k.Job.Oldest), k.Job.Record
	case KindWorker:
		l.Client = k.Worker.Client
	case KindConnect:
		l.Client = k.Connect.Client
	case KindLeave:
		l.Client, l.Why = k.Leave.Client, k.Leave.Why
	case KindDifficulty:
		l.Client, l.Job, l.Difficulty = k.Difficulty.Client, jobName(k.Difficulty.Job), k.Difficulty.Difficulty
	case KindBlock:
		o := &k.Block
		l.Job, l.Hash, l.Why = jobName(o.Job), work.FormatHash(o.Hash), o.Text
		l.Block = &blockLine{o.Height, o.State, o.Confirmations, o.Reward, o.NetworkDifficulty}
	case KindStatistics:
		l.Statistics = statisticsLine(&k.Statistics.PoolStatus)
	case KindLost:
		l.Lost = &lostLine{k.Lost.Ring, k.Lost.Records, k.Lost.Shares}
	case KindMissing:
		l.Why = k.Missing.String()
	}
	text, err := json.Marshal(&l)
	if err != nil {
		return b, fmt.Errorf("record %v: %w", k.Position, err)
	}
	return append(append(b, text...), '\n'), nil
}

func jobName(id uint64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", id)
}

// statisticsLine has the three objects of the pool's status file in one.
func statisticsLine(s *sharelog.PoolStatus) map[string]any {
	all := map[string]any{}
	for _, text := range s.Lines() {
		_ = json.Unmarshal([]byte(text), &all) // our own
	}
	delete(all, "lastupdate") // the record's time
	return all
}
