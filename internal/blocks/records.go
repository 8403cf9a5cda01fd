package blocks

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// Versions of the records here; older ones are read.
const (
	candidatesVersion = 1
	blocksVersion     = 1
)

// Candidates is the record of what was submitted.
func (k *Blocks) Candidates() []byte { return k.candidates.append(nil) }

// ImportCandidates reads the record of Candidates.
func (k *Blocks) ImportCandidates(record []byte) error { return k.candidates.read(record) }

// Export is the record of all blocks.
func (k *Blocks) Export() ([]byte, error) {
	return json.Marshal(describeBlocks(&k.table, k.options.Network.Unsaved()))
}

// Import reads the record of Export. It is for before Run.
func (k *Blocks) Import(record []byte) error {
	list, unsaved, err := readBlocks(record)
	if err != nil {
		return err
	}
	k.table.replace(list)
	k.table.changed() // it may not be in the file
	k.unsaved = unsaved
	return nil
}

// blocksRecord is the table of found blocks, and those of them that are only in
// memory.
type blocksRecord struct {
	Version int             `json:"version"`
	Table   []Block         `json:"table"`
	Unsaved []unsavedRecord `json:"unsaved,omitempty"`
}

type unsavedRecord struct {
	Height int64  `json:"height"`
	Hash   string `json:"hash"`  // as blocks.json has it
	Block  string `json:"block"` // hex
}

func describeBlocks(t *table, unsaved []source.SolvedBlock) blocksRecord {
	r := blocksRecord{Version: blocksVersion, Table: t.list()}
	for _, b := range unsaved {
		r.Unsaved = append(r.Unsaved, unsavedRecord{b.Height, work.FormatHash(b.Hash), hex.EncodeToString(b.Serialised)})
	}
	return r
}

func readBlocks(record []byte) (table []Block, unsaved []source.SolvedBlock, err error) {
	var r blocksRecord
	err = wire.ReadJSON(record, blocksVersion, &r)
	for _, u := range r.Unsaved {
		hash, hashErr := work.ParseHash(u.Hash)
		block, blockErr := hex.DecodeString(u.Block)
		err = errors.Join(err, hashErr, blockErr)
		unsaved = append(unsaved, source.SolvedBlock{Height: u.Height, Hash: hash, Serialised: block})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("found blocks: %w", err)
	}
	return r.Table, unsaved, nil
}

// fields is for a caller that holds mu.
func (c *candidates) fields(w *wire.Codec) {
	wire.Elements(w, func(yield func(*[32]byte) bool) {
		for _, generation := range []map[[32]byte]bool{c.old, c.hashes} {
			for h := range generation {
				if !yield(&h) {
					return
				}
			}
		}
	}, func(h *[32]byte) { c.remember(*h) }, func(h *[32]byte, w *wire.Codec) { w.Array(h[:]) })
}

func (c *candidates) append(b []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := wire.Append(b)
	w.Versioned(candidatesVersion, c.fields)
	return w.Written()
}

func (c *candidates) read(record []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hashes, c.old = nil, nil
	r := wire.Read(record)
	r.Versioned(candidatesVersion, c.fields)
	if err := r.Done(); err != nil {
		return fmt.Errorf("candidates: %w", err)
	}
	return nil
}
