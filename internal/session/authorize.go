package session

import (
	"strings"

	"ckpool/internal/netserver"
	"ckpool/stratum"
)

var (
	rejectWorkerName  = stratum.Reject{Code: stratum.Other, Text: "Invalid workername parameter"}
	rejectNoEntries   = stratum.Reject{Code: stratum.Other, Text: "params missing array entries"}
	rejectOther       = stratum.Reject{Code: stratum.Unauthorized, Text: "Session belongs to another worker, subscribe again"}
	rejectManyWorkers = stratum.Reject{Code: stratum.Unauthorized, Text: "Too many workers on this connection"}
)

// onAuthorize answers mining.authorize: params are the worker name and an
// optional password. Every accepted name adds a worker to the connection.
func (h *Handler) onAuthorize(slot netserver.Slot, s *session) *stratum.Reject {
	m := &h.msg
	p, ok := stratum.ParseParams(m.Params)
	if !ok {
		return &rejectParamsArray
	}
	raw, ok := p.Next()
	if !ok {
		return &rejectNoEntries
	}
	v, ok := stratum.String(raw, h.scratch[:0])
	if !ok {
		return &rejectWorkerName
	}
	name := string(v)
	password := h.nextString(&p)

	if h.findLogin(slot, s, v) != 0 {
		h.accept(slot, m.ID)
		return nil
	}
	greeting, r := h.login(slot, s, name, password)
	if r != nil {
		h.reject(slot, m.ID, r)
		return nil
	}
	if s.is(authorised) { // a further worker: nothing changes for the connection
		h.accept(slot, m.ID)
		return nil
	}
	s.flags |= authorised
	h.t.Authorized(slot)
	options := parsePassword(password)
	h.applyPassword(s, options)
	h.accept(slot, m.ID)
	h.welcome(slot, s, greeting, options)
	h.sendMask(slot, s)
	if s.is(subscribed) && (h.b.Settings().Solo || s.want != s.sent()) {
		h.sendWork(slot, s)
	}
	return nil
}

// login asks the backend and adds the worker; it also settles who owns a
// resumed session. It returns the pool's greeting.
func (h *Handler) login(slot netserver.Slot, s *session, name, password string) (string, *stratum.Reject) {
	if len(h.extra[slot]) >= maxWorkers {
		return "", &rejectManyWorkers
	}
	// In solo mode the first name's address is paid for the whole connection,
	// so that further names are workers of it.
	full := name
	if h.b.Settings().Solo && s.login != 0 {
		if owner := h.logins.get(s.login).user; userOf(name) != owner {
			full = owner + "." + name
		}
	}
	grant, r := h.b.Authorize(&Login{
		Time: h.t.Now(), Worker: full, Password: password, UserAgent: h.agents.get(s.agent),
		Remote: h.t.Remote(slot), Client: s.client, NewNames: int(s.newNames),
	})
	if r != nil {
		return "", r
	}
	if grant.NewName {
		s.newNames++
	}
	if s.login == 0 && s.is(subscribed) && !h.own(s, s.id, name) {
		h.forget(s)
		return "", &rejectOther
	}
	l := login{name: name, user: grant.User, worker: grant.Worker, payout: grant.Payout}
	i := h.logins.use(full+"\x00"+name, l)
	if s.login == 0 {
		s.login = i
	} else {
		h.extra[slot] = append(h.extra[slot], i)
	}
	h.b.Attach(grant.Worker, s.client, h.agents.get(s.agent), h.t.Now())
	return grant.Message, nil
}

// own makes the connection the owner of a session under its first worker name,
// and closes the connection that owned it before.
func (h *Handler) own(s *session, id uint64, name string) bool {
	e, previous, ok := h.g.registry.claim(id, name, s.client, h.loop)
	if !ok {
		return false
	}
	s.loops = e.loops
	if previous != 0 && previous != s.client {
		h.g.closeClient(previous, netserver.Replaced)
	}
	return true
}

// findLogin is the connection's login of that name, 0 when there is none.
func (h *Handler) findLogin(slot netserver.Slot, s *session, name []byte) uint32 {
	if s.login == 0 {
		return 0
	}
	if h.logins.rows[s.login-1].value.name == string(name) {
		return s.login
	}
	for _, i := range h.extra[slot] {
		if h.logins.rows[i-1].value.name == string(name) {
			return i
		}
	}
	return 0
}

// userOf is the text before the first '.' or '_'.
func userOf(worker string) string {
	if i := strings.IndexAny(worker, "._"); i >= 0 {
		return worker[:i]
	}
	return worker
}

// welcome greets miners known to display messages, and names an unusable
// password option to all.
func (h *Handler) welcome(slot netserver.Slot, s *session, text string, o passwordOptions) {
	h.messageIfShown(slot, s, text)
	if o.unusable != "" {
		h.b.Notice("Worker " + h.logins.get(s.login).name + ": password option \"" + o.unusable + "\" is not usable, want a number above 0")
		h.showMessage(slot, "Password option \""+o.unusable+"\" is not usable: want a number above 0")
	}
}
