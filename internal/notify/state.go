package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/sharelog"
)

// state is what was told already, as it is kept in a file. Owned by the Notifier's Run.
type state struct {
	// Blocks are those of the pool's table, by hash.
	Blocks map[string]*toldBlock `json:"blocks"`
	// Conditions last at present, by event and subject: how bad each is that was told.
	Conditions map[string]int `json:"conditions"`
	// Down are workers that are, and since when.
	Down map[string]time.Time `json:"down"`
	// Best are best shares of users.
	Best map[string]*best `json:"best"`
	// Payments and Rewards are the event of each payment, by the transaction that was signed
	// first, and what was told of each block's reward; nil: nobody has looked yet.
	Payments map[string]string `json:"payments"`
	Rewards  map[string]string `json:"rewards"`

	path  string
	fresh bool // there was no file: nothing was ever told
	dirty bool // the file is older
}

// toldBlock is what was told of a block.
type toldBlock struct {
	State   string    `json:"state"`   // the last that was told: found, matured, orphaned, rejected
	Notices int       `json:"notices"` // so far
	At      time.Time `json:"at"`      // the last time
}

// best is the best share of a user that is to be told or was.
type best struct {
	Worker     string    `json:"worker"`
	Difficulty float64   `json:"difficulty"`
	Told       time.Time `json:"told"` // the last time; zero: not yet
	Pending    bool      `json:"pending"`
}

// loadState reads the file at path. One that cannot be read is put aside.
func loadState(path string, events event.Func) *state {
	s := &state{path: path}
	data, err := os.ReadFile(path)
	if err == nil {
		if err = json.Unmarshal(data, s); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		*s = state{path: path, fresh: true, dirty: true}
		if !errors.Is(err, fs.ErrNotExist) {
			events.Say(event.Error, "What was told is not known: "+sharelog.PutAside(path, err))
		}
	}
	if s.Blocks == nil {
		s.Blocks = map[string]*toldBlock{}
	}
	if s.Conditions == nil {
		s.Conditions = map[string]int{}
	}
	if s.Down == nil {
		s.Down = map[string]time.Time{}
	}
	if s.Best == nil {
		s.Best = map[string]*best{}
	}
	for hash, b := range s.Blocks { // null in the file
		if b == nil {
			delete(s.Blocks, hash)
		}
	}
	for user, b := range s.Best {
		if b == nil {
			delete(s.Best, user)
		}
	}
	return s
}

// save writes the file if something changed.
func (s *state) save() error {
	if !s.dirty {
		return nil
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = sharelog.ReplaceFile(s.path, append(data, '\n'), true)
	}
	s.dirty = err != nil
	return err
}
