package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ckpool/sharelog"
)

// BlockState is what has become of a found block.
type BlockState uint8

const (
	BlockPending   BlockState = iota // no node has it as the block of its height yet
	BlockConfirmed                   // it is part of the chain
	BlockOrphaned                    // another block took its place
	BlockRejected                    // every node refused it
)

// MatureConfirmations is how many confirmations a block is followed for: its
// coinbase can be spent then.
const MatureConfirmations = 100

// Block is a block the pool has found.
type Block struct {
	Height        int64
	Hash          string // 64 hex digits, most significant first
	Worker        string
	Difficulty    float64 // of the network
	Reward        int64   // satoshis
	Time          time.Time
	State         BlockState
	Confirmations int    // in BlockConfirmed
	Reason        string // in BlockRejected
}

// StateText is the state in a word: pending, confirmed 6, orphaned, rejected: high-hash.
func (b *Block) StateText() string {
	switch b.State {
	case BlockConfirmed:
		return fmt.Sprintf("confirmed %d", b.Confirmations)
	case BlockOrphaned:
		return "orphaned"
	case BlockRejected:
		return "rejected: " + b.Reason
	}
	return "pending"
}

func (b *Block) parseState(text string) error {
	if reason, ok := strings.CutPrefix(text, "rejected: "); ok {
		b.State, b.Reason = BlockRejected, reason
		return nil
	}
	if n, ok := strings.CutPrefix(text, "confirmed "); ok {
		var err error
		b.State = BlockConfirmed
		b.Confirmations, err = strconv.Atoi(n)
		return err
	}
	switch text {
	case "pending":
		b.State = BlockPending
	case "orphaned":
		b.State = BlockOrphaned
	default:
		return fmt.Errorf("unknown block state %q", text)
	}
	return nil
}

// Settled reports whether nothing is expected to change any more: mature, or
// rejected. An orphan may come back.
func (b *Block) Settled() bool {
	return b.State == BlockRejected || b.State == BlockConfirmed && b.Confirmations >= MatureConfirmations
}

// blockFile is the form of a Block in blocks.json.
type blockFile struct {
	Height     int64   `json:"height"`
	Hash       string  `json:"hash"`
	Worker     string  `json:"worker"`
	Difficulty float64 `json:"difficulty"`
	Reward     int64   `json:"reward"`
	Time       int64   `json:"time"`
	State      string  `json:"state"`
}

// MarshalJSON gives the form of blocks.json.
func (b Block) MarshalJSON() ([]byte, error) {
	return json.Marshal(blockFile{b.Height, b.Hash, b.Worker, b.Difficulty, b.Reward, b.Time.Unix(), b.StateText()})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (b *Block) UnmarshalJSON(data []byte) error {
	var f blockFile
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	*b = Block{
		Height: f.Height, Hash: f.Hash, Worker: f.Worker,
		Difficulty: f.Difficulty, Reward: f.Reward, Time: time.Unix(f.Time, 0),
	}
	return b.parseState(f.State)
}

// Blocks is the table of blocks the pool has found, kept in a file. Reading it
// never waits for the disk.
type Blocks struct {
	path string // immutable

	saving sync.Mutex // one write at a time, the newest last

	mu   sync.Mutex
	list []Block // guarded by mu; in the order they were found
	// ended are the hashes of blocks whose round is over. Guarded by mu.
	ended map[string]bool
}

// OpenBlocks reads <logdir>/pool/blocks.json; without one the table is empty.
func OpenBlocks(logDir string) (*Blocks, error) {
	t := &Blocks{path: filepath.Join(logDir, "pool", "blocks.json"), ended: map[string]bool{}}
	data, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("found blocks: %w", err)
	}
	if err := json.Unmarshal(data, &t.list); err != nil {
		return nil, fmt.Errorf("found blocks: %s: %w", t.path, err)
	}
	for i := range t.list {
		if b := &t.list[i]; b.State != BlockPending {
			t.ended[b.Hash] = true
		}
	}
	return t, nil
}

// Add puts a block into the table and the file. A block that is there already
// is left alone.
func (t *Blocks) Add(b Block) error {
	b.Time = time.Unix(b.Time.Unix(), 0) // what the file keeps
	t.mu.Lock()
	if t.find(b.Hash) != nil {
		t.mu.Unlock()
		return nil
	}
	t.list = append(t.list, b)
	t.mu.Unlock()
	return t.save()
}

// Update changes the block with a hash and, if that changed it, the file. It
// reports whether there is such a block.
func (t *Blocks) Update(hash string, change func(*Block)) (found bool, err error) {
	t.mu.Lock()
	b := t.find(hash)
	if b == nil {
		t.mu.Unlock()
		return false, nil
	}
	old := *b
	change(b)
	changed := *b != old
	t.mu.Unlock()
	if !changed {
		return true, nil
	}
	return true, t.save()
}

// EndRound reports whether the round of a confirmed block is still to be ended:
// true the first time, also where an earlier run found the block.
func (t *Blocks) EndRound(hash string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended[hash] {
		return false
	}
	t.ended[hash] = true
	return true
}

// find is for a caller that holds mu.
func (t *Blocks) find(hash string) *Block {
	for i := len(t.list) - 1; i >= 0; i-- { // the newest are asked for
		if t.list[i].Hash == hash {
			return &t.list[i]
		}
	}
	return nil
}

// List returns the blocks in the order they were found.
func (t *Blocks) List() []Block {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.list)
}

// Open returns the blocks that are not settled.
func (t *Blocks) Open() []Block {
	return slices.DeleteFunc(t.List(), func(b Block) bool { return b.Settled() })
}

func (t *Blocks) save() error {
	t.saving.Lock()
	defer t.saving.Unlock()
	data, err := json.MarshalIndent(t.List(), "", " ")
	if err != nil {
		return fmt.Errorf("found blocks: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(t.path), 0o750); err != nil {
		return fmt.Errorf("found blocks: %w", err)
	}
	if err := sharelog.ReplaceFile(t.path, append(data, '\n'), true); err != nil {
		return fmt.Errorf("found blocks: %w", err)
	}
	return nil
}
