package users

import (
	"time"
	"unique"

	"github.com/ckpool/ckpool/internal/session"
)

// connections are the miners connected to one worker: nearly always one, which
// then costs no map.
type connections struct {
	one  connection            // while there is no other; client 0: the last there was
	many map[uint64]connection // two and more, by client
}

// count is how many miners are connected.
func (c *connections) count() int {
	switch {
	case c.many != nil:
		return len(c.many)
	case c.one.client != 0:
		return 1
	}
	return 0
}

type connection struct {
	client uint64 // from 1
	at     stamp
	agent  unique.Handle[string]
}

// add reports whether the client was not connected before.
func (c *connections) add(n connection) bool {
	switch {
	case c.has(n.client):
		return false
	case c.many != nil:
		c.many[n.client] = n
	case c.one.client != 0:
		c.many = map[uint64]connection{c.one.client: c.one, n.client: n}
	default:
		c.one = n
	}
	return true
}

func (c *connections) has(client uint64) bool {
	if c.many == nil {
		return client != 0 && c.one.client == client
	}
	_, ok := c.many[client]
	return ok
}

// remove returns what add was given, false if the client was not connected.
func (c *connections) remove(client uint64) (connection, bool) {
	if !c.has(client) {
		return connection{}, false
	}
	if c.many == nil {
		n := c.one
		c.one.client = 0
		return n, true
	}
	n := c.many[client]
	delete(c.many, client)
	if len(c.many) == 1 {
		for _, left := range c.many {
			c.one = left
		}
		c.many = nil
	}
	return n, true
}

// started is when the first of the connected miners connected, never if none is.
func (c *connections) started() stamp {
	if c.count() == 0 {
		return never
	}
	if c.many == nil {
		return c.one.at
	}
	var first *stamp
	for _, n := range c.many {
		if first == nil || n.at < *first {
			first = &n.at
		}
	}
	return *first
}

// agentName is the user agent of the miner, Other where several are connected,
// the last known where none is.
func (c *connections) agentName() string {
	if c.many != nil {
		return otherAgent
	}
	return c.one.agentName()
}

// kind is the normalised user agent that all connected miners share, Other
// where they differ.
func (c *connections) kind() string {
	if c.many == nil {
		return normalAgent(c.one.agentName())
	}
	kind := ""
	for _, n := range c.many {
		k := normalAgent(n.agentName())
		if kind != "" && k != kind {
			return otherAgent
		}
		kind = k
	}
	return kind
}

func (n *connection) agentName() string {
	if n.agent == (unique.Handle[string]{}) {
		return ""
	}
	return n.agent.Value()
}

// Attach counts a miner on a worker and its user. Attaching a client twice
// counts it once.
func (s *Users) Attach(id session.WorkerID, client uint64, userAgent string, at time.Time) {
	w := s.directory.table.get(id)
	if w == nil {
		return
	}
	c := connection{client: client, at: s.stamp(at), agent: unique.Make(userAgent)}
	w.mu.Lock()
	added := w.connected.add(c)
	w.mu.Unlock()
	if !added {
		return
	}
	s.agents.add(userAgent, 1)
	s.workers.Add(1)
	s.count(w.user, 1)
}

// Detach gives a grant back, and is the end of what Attach began.
func (s *Users) Detach(id session.WorkerID, client uint64, userAgent string) {
	w := s.directory.table.get(id)
	if w == nil {
		return
	}
	defer s.directory.release(w)
	w.mu.Lock()
	c, removed := w.connected.remove(client)
	s.touch(&w.tally)
	w.mu.Unlock()
	if !removed {
		return
	}
	s.agents.add(c.agentName(), -1)
	s.workers.Add(-1)
	s.count(w.user, -1)
}

func (s *Users) count(u *user, by int32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.attached += by
	switch {
	case u.attached == 0:
		s.active.Add(-1)
	case u.attached == 1 && by == 1:
		s.active.Add(1)
	}
}

// remember sets the last known user agent of a worker nobody is connected to.
func (c *connections) remember(userAgent string) {
	if c.count() == 0 {
		c.one.agent = unique.Make(userAgent)
	}
}
