package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ckpool/ckpool/internal/segment"
)

// Cursor is how far a reader has come: a value to keep, as JSON or otherwise, beside what
// was made of the records up to there. The zero value is at the beginning.
type Cursor struct {
	// What it is a place in. A Reader refuses another one.
	Instance string `json:"instance"` // Header.Instance; "" is any journal
	Network  string `json:"network"`  // Header.Network; "" is any

	Position        // of the last record read
	Time     int64  `json:"time"` // of that record, microseconds since 1970
	Life     string `json:"life"` // Header.Life of its epoch; "" if it is not known
}

// Beyond reports whether the newest segment of the journal, whose header is h, is older
// than the cursor's place, or has other records there.
func (c Cursor) Beyond(h *Header) bool {
	return h.Epoch < c.Epoch || h.Epoch == c.Epoch && c.Life != "" && h.Life != c.Life
}

// In reports whether a journal that has these epochs is the one that the cursor came
// to its place in. It is not where an older copy was put back since then, and went on:
// other records have the same numbers.
func (c Cursor) In(epochs []Epoch) bool {
	later := true // all epochs are: those up to the cursor's are deleted
	for _, e := range epochs {
		if e.Number == c.Epoch && (e.Life == c.Life || e.Life == "" || c.Life == "") {
			return true
		}
		later = later && e.Number > c.Epoch
	}
	return later
}

const (
	cursorPrefix = "cursor-"
	cursorSuffix = ".json"
)

func cursorPath(dir, name string) (string, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("cursor %q: want a name that can be part of a file's", name)
	}
	return filepath.Join(dir, cursorPrefix+name+cursorSuffix), nil
}

// WriteCursor replaces the cursor that a reader of some name has in the journal's
// directory. What all of these have read the pool deletes: write it after the records are
// safe elsewhere. ckdb's is called ckdb. A reader without one holds nothing back.
func WriteCursor(dir, name string, c Cursor) error {
	path, err := cursorPath(dir, name)
	if err != nil {
		return err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return segment.Replace(path, append(b, '\n'), true)
}

// ReadCursor is the cursor of a reader; that of a new one is at the beginning.
func ReadCursor(dir, name string) (c Cursor, err error) {
	path, err := cursorPath(dir, name)
	if err != nil {
		return c, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Cursor{}, nil
	}
	if err != nil {
		return Cursor{}, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return Cursor{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Cursors are the cursors of a directory by name. One that cannot be read is at the
// beginning, so that nothing is deleted behind it, and bad tells why.
func Cursors(dir string) (list map[string]Cursor, bad error) {
	entries, err := os.ReadDir(dir) // not by a pattern, which the directory's own name may look like
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list = map[string]Cursor{}
	for _, e := range entries {
		name, ours := strings.CutPrefix(e.Name(), cursorPrefix)
		name, ends := strings.CutSuffix(name, cursorSuffix)
		if !ours || !ends {
			continue
		}
		c, err := ReadCursor(dir, name)
		if err != nil {
			bad = err
		}
		list[name] = c
	}
	return list, bad
}
