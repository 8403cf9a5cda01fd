package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/remote"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// maxElsewhere is how many blocks of other pools are known: the newest.
const maxElsewhere = 1000

// elsewhere is the blocks of other pools that were submitted here too, in a file: a block that
// an earlier run has saved is one of the pool's own if it is none of these.
type elsewhere struct {
	// immutable
	path   string
	events event.Func

	file sync.Mutex // held while the file is written; before mu

	mu     sync.Mutex
	read   bool              // guarded by mu; the file was
	blocks []*blockElsewhere // guarded by mu; the newest last
}

// blockElsewhere is one of them in the file.
type blockElsewhere struct {
	Height int64  `json:"height"`
	Hash   string `json:"hash"` // as nodes show it
	Worker string `json:"worker"`
	Name   string `json:"name"`            // of the pool's instance
	Ended  bool   `json:"ended,omitempty"` // its round has: it was part of the chain
}

func newElsewhere(logDir string, events event.Func) *elsewhere {
	return &elsewhere{path: filepath.Join(logDir, "pool", "elsewhere.json"), events: events}
}

// find is a block by its hash, nil if it is none of these. The caller holds mu.
func (e *elsewhere) find(hash string) *blockElsewhere {
	if !e.read {
		e.read = true
		text, err := os.ReadFile(e.path)
		if err == nil {
			err = json.Unmarshal(text, &e.blocks)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			e.blocks = nil
			e.events.Say(event.Warning, "Blocks of other pools left out: "+sharelog.PutAside(e.path, err))
		}
	}
	for _, b := range e.blocks {
		if b != nil && b.Hash == hash {
			return b
		}
	}
	return nil
}

// note adds a block, unless it is there.
func (e *elsewhere) note(b *remote.Block) {
	e.mu.Lock()
	defer e.mu.Unlock()
	hash := work.FormatHash(b.ID)
	if e.find(hash) != nil {
		return
	}
	e.blocks = append(e.blocks, &blockElsewhere{Height: b.Height, Hash: hash, Worker: b.Worker, Name: b.Name})
	if more := len(e.blocks) - maxElsewhere; more > 0 {
		e.blocks = e.blocks[more:]
	}
}

// end notes that a block is part of the chain, if it is; first: for the first time. It is not
// known if it is none of these.
func (e *elsewhere) end(hash string, confirmed bool) (b blockElsewhere, first, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := e.find(hash)
	if k == nil {
		return b, false, false
	}
	first = confirmed && !k.Ended
	k.Ended = k.Ended || confirmed
	return *k, first, true
}

// save writes the file.
func (e *elsewhere) save() {
	e.file.Lock()
	defer e.file.Unlock()
	e.mu.Lock()
	text, err := json.Marshal(e.blocks)
	e.mu.Unlock()
	if err == nil {
		err = sharelog.ReplaceFile(e.path, append(text, '\n'), false)
	}
	if err != nil {
		e.events.Say(event.Error, "Cannot write which blocks are of other pools: "+err.Error())
	}
}

// changedElsewhere notes what became of a block of another pool. The first time that it is part
// of the chain its round is over. It is false for a block that is none of those. The caller is in
// Ours of the found blocks.
func (p *Pool) changedElsewhere(hash string, s source.BlockState) bool {
	b, first, known := p.elsewhere.end(hash, s.State == source.BlockConfirmed)
	if !first {
		return known
	}
	text := &remote.Block{WholeBlock: poolproto.WholeBlock{Height: b.Height, Hash: b.Hash, Worker: b.Worker, Name: b.Name}}
	p.events.Tell(event.Event{Level: event.Warning, Headline: true, Text: fmt.Sprintf("%v: it is part of the chain", text)})
	if p.collector != nil {
		_, shown := p.users.EndRound(b.Height, b.Worker, 0, time.Now())
		p.miners.Show("", shown)
	}
	p.elsewhere.save()
	return true
}
