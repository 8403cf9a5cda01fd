package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/sharelog"
)

// privateUsers are users whom ckdb says to be named to nobody. A file has them, since they
// stay so while ckdb is away, and over upgrades.
type privateUsers struct {
	path   string
	events event.Func

	mu    sync.Mutex
	users map[string]bool // guarded by mu; names as they are compared; nil: the file was not read
}

func newPrivateUsers(logDir string, events event.Func) *privateUsers {
	return &privateUsers{path: filepath.Join(logDir, "pool", "private.json"), events: events}
}

// read reads the file, when it is first asked for: before an upgrade is over another
// process writes it. It is for who holds mu.
func (p *privateUsers) read() {
	if p.users != nil {
		return
	}
	p.users = map[string]bool{}
	var list []string
	data, err := os.ReadFile(p.path)
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.events.Say(event.Error, "Who is private is not known until ckdb says it: "+sharelog.PutAside(p.path, fmt.Errorf("%s: %w", p.path, err)))
	}
	for _, user := range list {
		p.users[user] = true
	}
}

// has tells whether a user is one, however his name is written if it is an address.
func (p *privateUsers) has(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read()
	return p.users[address.Fold(user)]
}

// set makes a user one, or none any more.
func (p *privateUsers) set(user string, private bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read()
	if user = address.Fold(user); p.users[user] == private {
		return
	}
	if private {
		p.users[user] = true
	} else {
		delete(p.users, user)
	}
	data, err := json.Marshal(slices.Sorted(maps.Keys(p.users)))
	if err == nil {
		err = sharelog.ReplaceFile(p.path, append(data, '\n'), false)
	}
	if err != nil {
		p.events.Say(event.Error, "Who is private is not written: "+err.Error())
	}
}

// Private tells that a user is named to nobody but himself: the configuration says so, or
// ckdb.
func (p *Pool) Private(user string) bool { return p.config.Load().Private(user) || p.private.has(user) }
