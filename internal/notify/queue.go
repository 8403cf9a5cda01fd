package notify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/sharelog"
)

// Bounds of a queue. What it cannot hold is what leastWanted says.
const (
	maxQueued   = 500
	maxFileSize = 256 << 10
)

// How long a message is worth sending.
const (
	keptFor      = 48 * time.Hour
	blockKeptFor = 7 * 24 * time.Hour
)

// entry is a message that waits, the content of a file.
type entry struct {
	Notice
	Replaces []string `json:"replaces,omitempty"` // ids of messages that are in it
	For      string   `json:"for,omitempty"`      // user of the target that it is for; "" the pool's

	held  bool     // until it is written that this was told
	saved bool     // there is a file
	left  []string // ids of messages that are in it, whose files are there until it has one or is gone
	tries int      // in this process
}

// queue is the messages that wait for one target, each in a file of its directory. Any
// goroutine may call its methods.
type queue struct {
	dir string // immutable

	mu      sync.Mutex
	user    string   // guarded by mu; of the target, "" one of the pool
	entries []*entry // guarded by mu; in the order they came
	gone    []string // guarded by mu; ids of the last that were here
}

// maxGone is how many ids are remembered: what was told is written after the messages of
// it, and a process that ends between the two has it told again.
const maxGone = 1000

// fileOf is what an id becomes in names: 32 hex digits.
func fileOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

const extension = ".json"

func (q *queue) path(id string) string { return filepath.Join(q.dir, fileOf(id)+extension) }

// openQueue reads what an earlier run has left. Files that cannot be read are put aside,
// which the error tells of.
func openQueue(dir string) (*queue, error) {
	q := &queue{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return q, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return q, err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if sharelog.IsTemporary(f.Name()) {
			_ = os.Remove(path) // of a write that was cut off
		}
		if !strings.HasSuffix(f.Name(), extension) {
			continue
		}
		e, readErr := readEntry(path)
		if readErr == nil && q.path(e.ID) != path {
			readErr = errors.New("its name is that of another message")
		}
		if readErr != nil {
			err = errors.Join(err, errors.New(sharelog.PutAside(path, fmt.Errorf("%s: %w", path, readErr))))
			continue
		}
		q.entries = append(q.entries, e)
	}
	slices.SortStableFunc(q.entries, func(a, b *entry) int { return a.Time.Compare(b.Time) })
	for _, e := range slices.Clone(q.entries) {
		for _, id := range e.Replaces {
			_ = q.remove(id) // the last run has not come to that
		}
	}
	return q, err
}

func readEntry(path string) (*entry, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileSize {
		return nil, fmt.Errorf("it has %d bytes", info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseEntry(data)
}

func parseEntry(data []byte) (*entry, error) {
	e := &entry{saved: true}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, err
	}
	if e.ID == "" || e.Event == "" || e.Count < 0 {
		return nil, errors.New("it is no message")
	}
	e.Title, e.Text = whole(e.Title, maxTitle), whole(e.Text, maxText)
	return e, nil
}

// add puts a message into the queue, unless it is there, and returns how many it had no
// room for. It waits there for release. After an error the message is in memory alone, until
// release can write it.
func (q *queue) add(n *Notice) (dropped int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if slices.Contains(q.gone, n.ID) || slices.ContainsFunc(q.entries, func(e *entry) bool { return e.ID == n.ID || slices.Contains(e.Replaces, n.ID) }) {
		return 0, nil
	}
	for len(q.entries) >= maxQueued {
		_ = q.removeAt(q.leastWanted()) // a file that stays is dropped when it is read
		dropped++
	}
	e := &entry{Notice: *n, For: q.user, held: true}
	err = q.save(e)
	q.entries = append(q.entries, e)
	return dropped, err
}

// leastWanted is the message that goes where there is no room: of those that are least bad
// the oldest, those about blocks last. It is for who holds mu.
func (q *queue) leastWanted() (i int) {
	for k, e := range q.entries {
		if e.worth() < q.entries[i].worth() {
			i = k
		}
	}
	return i
}

// keep tells whose the target is, and drops what waits for that of another user: a target
// may have the name that another had before. It returns how many these are.
func (q *queue) keep(user string) (dropped int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.user = user
	q.entries = slices.DeleteFunc(q.entries, func(e *entry) bool {
		if e.For == user {
			return false
		}
		dropped++
		err = errors.Join(err, q.removeFile(e.ID))
		return true
	})
	return dropped, err
}

// saveAgain writes what could not be written before, as far as it can be now. It is for who
// holds mu.
func (q *queue) saveAgain() {
	for _, e := range q.entries {
		if !e.saved && q.save(e) != nil { // was told
			return
		}
		_ = q.removeLeft(e) // what stays is in e, which the next run sees
	}
}

// release lets messages go that were added, and tells whether there are any.
func (q *queue) release() (any bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.saveAgain()
	for _, e := range q.entries {
		any = any || e.held
		e.held = false
	}
	return any
}

// save is for who holds mu.
func (q *queue) save(e *entry) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(q.dir, 0o700); err != nil {
		return err
	}
	if err = sharelog.ReplaceFile(q.path(e.ID), data, true); err == nil {
		e.saved, err = true, syncDir(q.dir)
	}
	return err
}

// syncDir makes names in a directory survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// remove takes a message out that its target has, or that is in another.
func (q *queue) remove(id string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.entries, func(e *entry) bool { return e.ID == id })
	if i < 0 {
		return nil
	}
	return q.removeAt(i)
}

// removeAt is for who holds mu.
func (q *queue) removeAt(i int) error {
	e := q.takeAt(i)
	err := q.removeLeft(e)
	if !e.saved {
		return err
	}
	return errors.Join(err, q.removeFile(e.ID))
}

// takeAt takes a message out whose file stays. It is for who holds mu.
func (q *queue) takeAt(i int) *entry {
	e := q.entries[i]
	q.entries = slices.Delete(q.entries, i, i+1)
	q.gone = slices.Concat(q.gone, e.Replaces, []string{e.ID})
	q.gone = q.gone[max(0, len(q.gone)-maxGone):]
	return e
}

// removeLeft removes files of messages that are in another. It is for who holds mu.
func (q *queue) removeLeft(e *entry) (err error) {
	for _, id := range e.left {
		err = errors.Join(err, q.removeFile(id))
	}
	e.left = nil
	return err
}

func (q *queue) removeFile(id string) error {
	err := os.Remove(q.path(id))
	if err == nil {
		err = syncDir(q.dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// waiting are the messages about blocks, those of found ones first, and all others, in the
// order they came.
func (q *queue) waiting() (blocks, others []*entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.entries {
		if e.held {
			continue
		}
		if e.ofBlock() {
			blocks = append(blocks, e)
		} else {
			others = append(others, e)
		}
	}
	slices.SortStableFunc(blocks, func(a, b *entry) int { return cmp.Compare(rank(&a.Notice), rank(&b.Notice)) })
	return blocks, others
}

// merge puts messages into a digest, which takes their place. Their files stay until it has
// one, or is gone.
func (q *queue) merge(list []*entry) (*entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	notices, ids := make([]*Notice, len(list)), make([]string, len(list))
	for i, e := range list {
		notices[i], ids[i] = &e.Notice, e.ID
	}
	e := &entry{Notice: *digestOf(notices, "digest-"+fileOf(strings.Join(ids, "\n"))), Replaces: ids, For: q.user}
	for _, old := range list {
		e.left, e.Replaces = append(e.left, old.left...), append(e.Replaces, old.left...)
		if i := slices.Index(q.entries, old); i >= 0 && q.takeAt(i).saved {
			e.left = append(e.left, old.ID)
		}
	}
	err := q.save(e)
	if e.saved {
		err = errors.Join(err, q.removeLeft(e))
	}
	q.entries = append(q.entries, e)
	return e, err
}

// rank puts found blocks first.
func rank(n *Notice) int {
	if n.Event == config.EventBlockFound {
		return 0
	}
	return 1
}
