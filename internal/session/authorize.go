package session

import (
	"strings"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

var (
	rejectWorkerName  = stratum.Reject{Code: stratum.Other, Text: "Invalid workername parameter"}
	rejectNoEntries   = stratum.Reject{Code: stratum.Other, Text: "params missing array entries"}
	rejectOther       = stratum.Reject{Code: stratum.Unauthorized, Text: "Session belongs to another worker, subscribe again"}
	rejectManyWorkers = stratum.Reject{Code: stratum.Unauthorized, Text: "Too many workers on this connection"}
)

// onAuthorize answers mining.authorize: params are the worker name and an
// optional password. Every accepted name adds a worker to the connection.
func (q request) onAuthorize() *stratum.Reject {
	m := &q.msg
	p, ok := stratum.ParseParams(m.Params)
	if !ok {
		return &rejectParamsArray
	}
	raw, ok := p.Next()
	if !ok {
		return &rejectNoEntries
	}
	v, ok := stratum.String(raw, q.scratch[:0])
	if !ok {
		return &rejectWorkerName
	}
	known, first := q.findLogin(v) != 0, q.undecided.find(q.slot, v)
	name := string(v)
	password := q.nextString(&p)

	if known {
		q.accept(m.ID)
		return nil
	}
	if first != nil && q.undecided.hold(first, q.line) {
		return nil // it is answered after the first of that name
	}
	greeting, undecided, r := q.login(name, password)
	if undecided {
		return nil
	}
	if r != nil {
		q.reject(m.ID, r)
		q.g.Log.refused(q.client, name, r)
		q.refused()
		return nil
	}
	q.s.refusals = 0
	if q.b.Witness != nil {
		q.b.Witness.Authorised(q.event(q.logins.get(q.findLogin([]byte(name))).worker), !q.s.is(authorised))
	}
	if q.s.is(authorised) { // a further worker: nothing changes for the connection
		q.accept(m.ID)
		q.g.Log.authorised(q.client, name)
		return nil
	}
	q.s.flags |= authorised
	q.t.Authorized(q.slot)
	options := parsePassword(password)
	q.applyPassword(options)
	q.accept(m.ID)
	q.welcome(greeting, options)
	q.sendMask()
	if q.s.is(subscribed) && (q.b.Settings().Solo || q.wanted(q.work()) != q.s.sent()) {
		q.sendWork()
	}
	q.placeAgain()
	q.g.Log.authorised(q.client, name)
	if q.s.is(noRolling) {
		q.g.Log.noRolling(q.client)
	}
	return nil
}

// login asks the backend and adds the worker; it also settles who owns a
// resumed session. It returns the pool's greeting. While it is undecided the line
// is kept.
func (q request) login(name, password string) (greeting string, undecided bool, r *stratum.Reject) {
	if q.extra[q.slot].count() >= maxWorkers {
		return "", false, &rejectManyWorkers
	}
	// In solo mode the first name's address is paid for the whole connection, and where
	// users have accounts at other pools all its work is for the first name's: further
	// names are workers of it.
	full := name
	if set := q.b.Settings(); (set.Solo || set.UserAccounts) && q.s.login != 0 {
		if owner := q.logins.get(q.s.login).user.Name; userOf(name) != owner {
			full = owner + "." + name
		}
	}
	q.attempt = Login{
		Time: q.t.Now(), Worker: full, Password: password, UserAgent: q.agents.get(q.s.agent),
		Remote: q.t.Remote(q.slot), Client: q.s.client, NewNames: int(q.s.newNames), Further: q.s.login != 0,
		Verdict: q.verdict, Ticket: q.ticket(),
	}
	if q.verdict == nil && !q.undecided.hasRoom(q.slot, q.line) {
		q.attempt.Verdict = new(Verdict)
	}
	grant, r := q.b.Workers.Authorize(&q.attempt)
	q.attempt = Login{} // which held what the line it came with is in
	switch {
	case r != nil:
		return "", false, r
	case grant.Undecided:
		q.undecided.add(q.slot, q.s.client, name, q.line)
		return "", true, nil
	}
	if grant.NewName {
		q.s.newNames++
	}
	first := q.s.login == 0
	if first && q.s.is(subscribed) && !(q.admits(grant.User.Name) && q.own(q.s.id, name)) {
		q.b.Workers.Detach(grant.Worker, q.s.client, q.agents.get(q.s.agent))
		q.forget()
		return "", false, &rejectOther
	}
	// Connections share what they have in common. Of a worker that a miner spells
	// otherwise than the backend there is one for each connection.
	shared := WorkerID(0)
	if name == grant.Name {
		name, shared = grant.Name, grant.Worker
	}
	i := q.logins.use(shared, login{name: name, user: grant.User, worker: grant.Worker})
	q.addLogin(i)
	q.b.Workers.Attach(grant.Worker, q.s.client, q.agents.get(q.s.agent), q.t.Now())
	if first && q.b.Sources != nil {
		q.b.Sources.Login(grant.User.Name, password)
	}
	if grant.Minimum > 0 {
		q.setMinimum(grant.Worker, grant.Minimum)
	}
	return grant.Message, false, nil
}

// admits tells that the session may go on with its source as a user's.
func (c client) admits(user string) bool {
	return c.b.Sources == nil || c.b.Sources.Admits(c.s.source, user)
}

// own makes the connection the owner of a session under its first worker name,
// and closes the connection that owned it before.
func (c client) own(id uint64, name string) bool {
	loops, from, ok := c.g.registry.claim(id, name, c.s.client, c.loop)
	if !ok {
		return false
	}
	c.s.loops = loops
	if from == nil {
		return true
	}
	// Its work so far has the difficulties it was sent with. What this
	// connection was sent before it was the owner is sent again. Of a session that
	// was kept over a restart that is all that is known.
	if len(from.difficulties) == 0 && c.s.sent() != 0 {
		from.difficulties = earlier{c.s.present}
	}
	c.earlier[c.slot] = from.difficulties
	c.s.flags |= hasEarlier
	c.s.present = change{}
	if from.open != 0 {
		c.g.replace(from.open, loops)
	}
	return true
}

// refused counts a refused login, and closes a connection that asks for
// nothing else: it is a miner better off with its other pool, or no miner.
func (q request) refused() {
	most := uint16(maxRefusals)
	if q.s.login != 0 {
		most = maxWorkers
	}
	if q.s.refusals++; q.s.refusals >= most {
		q.t.Close(q.slot, netserver.LoginsRefused)
	}
}

// userOf is the text before the first '.' or '_'.
func userOf(worker string) string {
	if i := strings.IndexAny(worker, "._"); i >= 0 {
		return worker[:i]
	}
	return worker
}

// welcome greets miners known to display messages, and names to all a password
// option that is unusable, or that the pool has another value for.
func (q request) welcome(text string, o passwordOptions) {
	q.messageIfShown(text)
	if o.unusable != "" {
		q.b.Notice("password option", "Worker "+q.logins.get(q.s.login).name+": password option \""+o.unusable+"\" is not usable, want a number above 0")
		q.showMessage("Password option \"" + o.unusable + "\" is not usable: want a number above 0")
	}
	if text := o.notGranted(q.clamp); text != "" {
		q.showMessage(text)
	}
}
