package blocks

import (
	"bytes"
	"context"
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

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/source"
)

// MatureConfirmations is how many confirmations a block is followed for: its
// coinbase can be spent then.
const MatureConfirmations = 100

// Block is a block the pool has found.
type Block struct {
	Height     int64
	Hash       string // 64 hex digits, most significant first
	Worker     string
	Difficulty float64 // of the network
	Reward     int64   // satoshis
	Work       float64 // difficulty of the pool's shares since its block before that was not lost; 0 unknown
	Time       time.Time
	Chain      string // main, test, testnet4, signet, regtest; "" unknown
	// Own is Work since the block found before it, whatever became of that; 0 unknown.
	Own float64
	// Counted is what of the work of the present round is that of blocks, of which this is
	// the newest; below 0 is work of the round before that is the next block's.
	Counted float64

	source.BlockState // what has become of it; the text only of a rejected one
}

// StateText is the state in a word: pending, confirmed 6, orphaned, rejected: high-hash.
func (b *Block) StateText() string {
	switch b.State {
	case source.BlockConfirmed:
		return fmt.Sprintf("confirmed %d", b.Confirmations)
	case source.BlockRejected:
		return "rejected: " + b.Text
	}
	return b.State
}

func (b *Block) parseState(text string) error {
	if reason, ok := strings.CutPrefix(text, "rejected: "); ok {
		b.BlockState = source.BlockState{State: source.BlockRejected, Text: reason}
		return nil
	}
	if n, ok := strings.CutPrefix(text, "confirmed "); ok {
		confirmations, err := strconv.ParseInt(n, 10, 64)
		b.BlockState = source.BlockState{State: source.BlockConfirmed, Confirmations: confirmations}
		return err
	}
	if text != source.BlockPending && text != source.BlockOrphaned {
		return fmt.Errorf("unknown block state %q", text)
	}
	b.BlockState = source.BlockState{State: text}
	return nil
}

// Final reports whether nothing is expected to change any more: mature, or
// rejected. An orphan may come back.
func (b *Block) Final() bool {
	return b.State == source.BlockRejected || b.State == source.BlockConfirmed && b.Confirmations >= MatureConfirmations
}

// lost reports whether the work of the block is that of the next.
func (b *Block) lost() bool {
	return b.State == source.BlockOrphaned || b.State == source.BlockRejected
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
	Chain      string  `json:"chain,omitempty"`
	Work       float64 `json:"work,omitempty"`
	Own        float64 `json:"own_work,omitempty"`
	Counted    float64 `json:"counted_work,omitempty"`
}

// MarshalJSON gives the form of blocks.json.
func (b Block) MarshalJSON() ([]byte, error) {
	return json.Marshal(blockFile{b.Height, b.Hash, b.Worker, b.Difficulty, b.Reward, b.Time.Unix(), b.StateText(), b.Chain, b.Work, b.Own, b.Counted})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (b *Block) UnmarshalJSON(data []byte) error {
	var f blockFile
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	*b = Block{
		Height: f.Height, Hash: f.Hash, Worker: f.Worker,
		Difficulty: f.Difficulty, Reward: f.Reward, Time: time.Unix(f.Time, 0), Chain: f.Chain, Work: f.Work, Own: f.Own, Counted: f.Counted,
	}
	return b.parseState(f.State)
}

// maxBlocks is how many blocks the table has: the newest.
const maxBlocks = 1000

// table is the newest blocks the pool has found. Its run keeps it in a file;
// reading and changing it never wait for the disk.
type table struct {
	// immutable
	path   string
	events event.Func
	wake   chan struct{} // capacity 1: the file is older than the table

	file  chan struct{} // capacity 1; holds one while the file is written
	moved bool          // of who holds file; it is another process's

	mu    sync.Mutex
	found []Block // guarded by mu; in the order they were found
	// ended are the hashes of blocks whose round is over. Guarded by mu.
	ended   map[string]bool
	counted float64 // guarded by mu; Counted of the newest block
}

// newTable makes an empty table of <logdir>/pool/blocks.json.
func newTable(logDir string, events event.Func) table {
	return table{
		path: filepath.Join(logDir, "pool", "blocks.json"), events: events,
		wake: make(chan struct{}, 1), file: make(chan struct{}, 1), ended: map[string]bool{},
	}
}

// load reads what an earlier run has left. Where not all of the file can be
// read it is put aside.
func (t *table) load() {
	data, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var list []Block
	if err == nil {
		if list, err = parseBlocks(data); err != nil {
			err = fmt.Errorf("%s: %w", t.path, err)
		}
	}
	t.replace(list)
	if err != nil {
		t.events.Say(event.Error, "Found blocks left out: "+sharelog.PutAside(t.path, err))
		t.changed()
	}
}

// replace takes over a table of an earlier run, or of another process.
func (t *table) replace(list []Block) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.found, t.ended = list, map[string]bool{}
	for i := range t.found {
		if b := &t.found[i]; b.State != source.BlockPending {
			t.ended[b.Hash] = true
		}
	}
	t.counted = 0
	if n := len(t.found); n > 0 {
		t.counted = t.found[n-1].Counted
	}
	t.trim()
}

// parseBlocks reads as many blocks as it can; err is of the first it cannot.
func parseBlocks(data []byte) (list []Block, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if open, e := d.Token(); e != nil || open != json.Delim('[') {
		return nil, errors.New("it is no list of blocks")
	}
	for d.More() {
		var entry json.RawMessage
		if e := d.Decode(&entry); e != nil {
			return list, errors.Join(err, fmt.Errorf("after %d blocks: %w", len(list), e))
		}
		var b Block
		if e := json.Unmarshal(entry, &b); e == nil {
			list = append(list, b)
		} else if err == nil {
			err = fmt.Errorf("block %d: %w", len(list)+1, e)
		}
	}
	if _, e := d.Token(); e != nil {
		err = errors.Join(err, fmt.Errorf("after %d blocks: %w", len(list), e))
	}
	return list, err
}

// add puts a block into the table, whose Work is that of the round. A block that is there
// already is left alone.
func (t *table) add(b Block) {
	b.Time = time.Unix(b.Time.Unix(), 0) // what the file keeps
	if b.State == "" {
		b.State = source.BlockPending
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.find(b.Hash) != nil {
		return
	}
	if b.Work > 0 {
		if b.Work < t.counted {
			t.counted = 0 // the round began anew without a block
		}
		b.Own, t.counted = b.Work-t.counted, b.Work
	}
	b.Counted = t.counted
	t.found = append(t.found, b)
	t.trim()
	t.changed()
}

// roundEnded notes that a round of so much work has ended with a block. What was done since it
// was found is the next one's.
func (t *table) roundEnded(hash string, round float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A round that has less work than counts is what files had of it when the process was
	// killed, or began without a block, as an operator may let it.
	t.counted = min(t.counted-round, 0)
	if b := t.find(hash); b == nil || b.Own == 0 {
		t.counted = 0 // an earlier run found it: all that is known is that the work was for it
	}
	if n := len(t.found); n > 0 {
		t.found[n-1].Counted = t.counted
		t.changed()
	}
}

// trim is for a caller that holds mu.
func (t *table) trim() {
	if n := len(t.found) - maxBlocks; n > 0 {
		for _, b := range t.found[:n] {
			delete(t.ended, b.Hash)
		}
		t.found = slices.Delete(t.found, 0, n)
	}
}

// update changes the block with a hash and reports whether there is one.
func (t *table) update(hash string, change func(*Block)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.find(hash)
	if b == nil {
		return false
	}
	old := *b
	change(b)
	if *b != old {
		t.changed()
	}
	return true
}

// changed asks Run to write the file.
func (t *table) changed() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// get returns the block with a hash.
func (t *table) get(hash string) (b Block, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found := t.find(hash); found != nil {
		return *found, true
	}
	return b, false
}

// endRound reports whether the round of a confirmed block is still to be ended:
// true the first time, also where an earlier run found the block.
func (t *table) endRound(hash string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended[hash] {
		return false
	}
	t.ended[hash] = true
	return true
}

// find is for a caller that holds mu.
func (t *table) find(hash string) *Block {
	for i := len(t.found) - 1; i >= 0; i-- { // the newest are asked for
		if t.found[i].Hash == hash {
			return &t.found[i]
		}
	}
	return nil
}

// list returns the blocks in the order they were found, each with the work of those before
// it that were lost, as is known now.
func (t *table) list() []Block {
	t.mu.Lock()
	list := append([]Block{}, t.found...)
	t.mu.Unlock()
	var lost float64
	for i := range list {
		b := &list[i]
		if b.Own > 0 { // else an earlier version found it
			b.Work = lost + b.Own
		}
		if lost += b.Own; !b.lost() {
			lost = 0
		}
	}
	return list
}

// open returns the blocks that are not final.
func (t *table) open() []Block {
	return slices.DeleteFunc(t.list(), func(b Block) bool { return b.Final() })
}

// abroad counts the open blocks of other chains than one, by chain.
func (t *table) abroad(chain string) map[string]int {
	n := map[string]int{}
	for _, b := range t.open() {
		if chain != "" && b.Chain != "" && b.Chain != chain {
			n[b.Chain]++
		}
	}
	return n
}

// writeBlocksEvery is between two writes of the file: on a test chain blocks
// may come as fast as shares.
const writeBlocksEvery = time.Second

// run writes the file when the table has changed, again and again if it cannot,
// and a last time when ctx ends.
func (t *table) run(ctx context.Context) {
	var told time.Time // zero: the last write succeeded
	write := func() {
		err := t.save()
		if err == nil {
			told = time.Time{}
			return
		}
		t.changed()
		if now := time.Now(); now.Sub(told) >= time.Minute {
			told = now
			t.events.Say(event.Error, "Cannot write blocks.json, trying again: "+err.Error())
		}
	}
	for {
		select {
		case <-ctx.Done():
			select {
			case <-t.wake:
				told = time.Time{}
				write()
			default:
			}
			return
		case <-t.wake:
		}
		write()
		select {
		case <-ctx.Done():
		case <-time.After(writeBlocksEvery):
		}
	}
}

func (t *table) save() error {
	t.file <- struct{}{}
	defer func() { <-t.file }()
	if t.moved {
		return nil
	}
	data, err := json.MarshalIndent(t.list(), "", " ")
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
