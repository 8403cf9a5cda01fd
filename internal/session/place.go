package session

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/ckpool/ckpool/stratum"
)

// waitForPlace is how long a newcomer waits for a source that has room, in seconds,
// before it is told that there is none.
const waitForPlace = 30

// placeTries is how many sources in a row may turn out to be full.
const placeTries = 3

// place gives an unplaced client a source, and one that has not subscribed yet that of
// its user: false where there is none for it now. user is whose the session was that it
// goes on with, if that is known; mask is what it asks to roll, if it does.
func (c client) place(agent, user string, rolls bool, mask uint32) bool {
	if c.b.Sources == nil || c.s.source != 0 && user == "" {
		return true
	}
	n := Newcomer{Client: c.s.client, User: user, UserAgent: agent, Rolls: rolls, VersionMask: mask, Source: c.s.source}
	if c.s.login != 0 {
		n.User = c.logins.get(c.s.login).user.Name
	}
	if c.s.is(configured) && c.s.mask != 0 {
		n.Rolls, n.VersionMask = true, c.s.mask
	}
	from, ok := c.b.Sources.Place(&n)
	if !ok || c.b.Jobs.Work(from) == nil {
		return false
	}
	c.s.source = from
	return true
}

// enter gives a client a session of its source, or of another if that is full. resume is
// the id of the session that it goes on with, "" none.
func (c client) enter(agent, resume string) bool {
	user := ""
	if c.b.Settings().UserAccounts {
		if id, ok := parseID(resume); c.s.login != 0 {
			user = c.logins.get(c.s.login).user.Name
		} else if ok {
			user = c.g.registry.userOf(id)
		}
	}
	for range placeTries {
		if !c.place(agent, user, false, 0) {
			return false
		}
		w := c.work()
		if w != nil {
			id, extranonce1, ok := c.g.registry.subscribeTo(w, c.s.client, c.loop)
			if ok {
				c.s.id = id
				c.settle(w, extranonce1)
				c.b.Sources.Opened(c.s.source)
				return true
			}
			c.b.Sources.Full(c.s.source)
		}
		c.s.source = 0
	}
	return false
}

// settle gives the session the shape of its source's work, and an extranonce1.
func (c client) settle(w *Work, extranonce1 uint64) {
	shape := w.Upstream.Shape
	c.s.extranonce1 = [8]byte{}
	c.s.extranonce1Len, c.s.extranonce2Len = uint8(shape.Own), uint8(shape.Extranonce2)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], extranonce1)
	copy(c.s.extranonce1[:], b[:shape.Own])
}

// extranonce2Len is how many bytes of extranonce2 the client has.
func (c client) extranonce2Len() int {
	if c.b.Sources == nil {
		return c.b.Settings().Extranonce2Len
	}
	return int(c.s.extranonce2Len)
}

// waits keeps the line under way until there is a place for the client; false when it
// has waited for too long.
func (q request) waits() bool {
	if q.s.start.since(q.seconds()) > waitForPlace {
		return false
	}
	q.hold(q.slot, q.s, q.line)
	return true
}

// former is an extranonce1 that a session had with another source.
type former struct {
	source         uint32
	extranonce1    Extranonce
	extranonce2Len uint8
	job            uint64 // last one sent under it
}

// maxFormer is how many of them are kept: of more moves in the time in which jobs count,
// shares of the first are unknown.
const maxFormer = 8

// formerOf is what the session had when it was sent a job, nil for what it has.
func (c client) formerOf(w *Work) *former {
	list := c.former[c.slot]
	for i := range list {
		if f := &list[i]; f.source == w.Source() && w.Job.ID <= f.job {
			return f
		}
	}
	return nil
}

// forgetFormer forgets what no job is of any more.
func (c client) forgetFormer() {
	list := c.former[c.slot]
	newest := c.b.Jobs.Newest()
	n := 0
	for n < len(list) && list[n].job < newest.Oldest {
		n++
	}
	if list = list[n:]; len(list) == 0 {
		delete(c.former, c.slot)
		c.s.flags &^= hasFormer
	} else {
		c.former[c.slot] = list
	}
}

// Move has a session get its work from another source.
type Move struct {
	Client uint64
	To     uint32
}

// Move brings clients to other sources, those of this loop: with one clean job where
// their extranonces can stay, with mining.set_extranonce where they understand it, else
// they are asked to connect again. Who is of that source, or has no session, stays.
func (h *Handler) Move(list []Move) {
	for _, m := range list {
		if slot, ok := h.byID[m.Client]; ok {
			h.client(slot).move(m.To, true)
		}
	}
}

// move is Move for one client, which stays where it is if it would have to connect again
// and is not to be asked that. Ids of its jobs count up: where the work there is older
// than what it has, it waits for another job of it.
func (c client) move(to uint32, ask bool) {
	delete(c.moves, c.slot)
	w := c.b.Jobs.Work(to)
	switch {
	case w == nil || !c.s.is(subscribed) || c.s.source == to || c.s.toldToGo != 0:
		return
	case w.Job.ID <= c.s.job:
		c.moves[c.slot] = waitingMove{to, ask}
		c.b.Jobs.Renew(to, c.s.job)
		return
	case c.s.is(configured) && c.s.mask != 0 && c.s.mask&w.Job.Mask == 0: // it was told that it may roll
		c.comeAgain(ask)
		return
	}
	shape := w.Upstream.Shape
	sameShape := shape.Own == int(c.s.extranonce1Len) && shape.Extranonce2 == int(c.s.extranonce2Len)
	if !sameShape && !c.s.is(takesExtranonce) {
		c.comeAgain(ask)
		return
	}
	old := MakeExtranonce(c.s.extranonce1Bytes())
	extranonce1, ok := c.g.registry.move(c.s.id, c.s.client, w, !c.s.is(takesExtranonce))
	if !ok {
		if c.s.is(takesExtranonce) {
			c.b.Sources.Full(to)
		} else {
			c.comeAgain(ask)
		}
		return
	}
	from := c.s.source
	if c.s.job != 0 {
		list := c.former[c.slot]
		if len(list) >= maxFormer {
			list = append(list[:0], list[1:]...)
		}
		c.former[c.slot] = append(list, former{from, old, c.s.extranonce2Len, c.s.job})
		c.s.flags |= hasFormer
	}
	c.s.source = to
	c.s.firstInvalid, c.s.invalid = 0, 0 // what was refused there says nothing here
	c.settle(w, extranonce1)
	if !sameShape || MakeExtranonce(c.s.extranonce1Bytes()) != old {
		c.write(stratum.AppendSetExtranonce(c.out[:0], hex.EncodeToString(c.s.extranonce1Bytes()), shape.Extranonce2))
	}
	c.b.Sources.Closed(from)
	c.b.Sources.Opened(to)
	if c.s.job != 0 {
		c.sendWork()
	}
}

// waitingMove is a move that waits for a later job of a source.
type waitingMove struct {
	to  uint32
	ask bool
}

// comeAgain asks the miner to come again, if it may be asked, which then gets another
// place. Who is still there after a minute is closed: not every miner knows the message.
func (c client) comeAgain(ask bool) {
	if ask && c.s.toldToGo == 0 {
		c.write(stratum.AppendReconnect(c.out[:0], "", ""))
		c.s.toldToGo = moment(c.seconds())
	}
}

// placeAgain asks where a client belongs now that its user is known. One that has work
// is not asked to connect again for that: it would be in the same place then.
func (c client) placeAgain() {
	if c.b.Sources == nil || c.s.source == 0 || !c.s.is(subscribed) {
		return
	}
	to, ok := c.b.Sources.Place(&Newcomer{
		Client: c.s.client, User: c.logins.get(c.s.login).user.Name, UserAgent: c.agents.get(c.s.agent),
		Rolls: c.s.is(configured) && c.s.mask != 0, VersionMask: c.s.mask, Source: c.s.source,
	})
	if ok {
		c.move(to, c.work() == nil)
	}
}
