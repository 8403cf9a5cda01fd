package session

import (
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/netserver"
)

// A session is its first user's from the first login to its end, and with that password.
func TestSessionsOfUsers(t *testing.T) {
	r, a := newProxy(t, func(s *Settings) { s.UserAccounts = true })
	slot, _ := r.miner("alice.rig1")
	r.send(slot, `{"id":5,"method":"mining.authorize","params":["alice.rig2","other"]}`)
	r.send(slot, `{"id":5,"method":"mining.authorize","params":["bob.rig","his"]}`)
	second, _ := r.miner("alice.rig3")
	if a.users["alice"] != 2 || a.users["bob"] != 0 || !slices.Equal(a.passwords, []string{"x", "x"}) {
		t.Errorf("sessions %v with passwords %q", a.users, a.passwords)
	}
	// All that it finds is for her account: so it is her worker's.
	if w := r.logins.at(r.client(slot).findLogin([]byte("bob.rig"))).value; w.user.Name != "alice" || r.backend.WorkerName(w.worker) != "alice.bob.rig" {
		t.Errorf("bob's name on her connection is worker %q of user %q", r.backend.WorkerName(w.worker), w.user.Name)
	}
	_, b := a.next(1)
	if b.users["alice"] != 2 || len(b.users) != 1 || len(b.passwords) != 0 {
		t.Errorf("in another process %v, passwords %q", b.users, b.passwords)
	}
	r.disconnect(slot)
	r.disconnect(second)
	if a.users["alice"] != 0 {
		t.Errorf("sessions after the end: %v", a.users)
	}
}

// A miner that names the session it had is placed as its user's before it logs in. Another
// user cannot log in there: he has to subscribe again.
func TestSessionOfAnotherUser(t *testing.T) {
	r, a := newProxy(t, func(s *Settings) { s.UserAccounts = true })
	a.owner[2] = "alice"
	a.give(2, false)
	a.place = func(n *Newcomer) (uint32, bool) {
		if n.User == "alice" {
			return 2, true
		}
		return 1, true
	}
	slot, _ := r.miner("alice.rig")
	id := formatID(r.session(slot).id)
	r.disconnect(slot)
	subscribe := `{"id":1,"method":"mining.subscribe","params":["x","` + id + `"]}`

	slot = r.open()
	r.send(slot, subscribe)
	if from := r.session(slot).source; from != 2 {
		t.Errorf("she is at source %d", from)
	}
	lines := r.send(slot, `{"id":2,"method":"mining.authorize","params":["alice.rig","x"]}`)
	if strings.Contains(strings.Join(lines, ""), "reconnect") || r.session(slot).source != 2 {
		t.Errorf("at source %d, sent %q", r.session(slot).source, lines)
	}
	id = formatID(r.session(slot).id)
	r.disconnect(slot)

	subscribe = `{"id":1,"method":"mining.subscribe","params":["x","` + id + `"]}`
	slot = r.open()
	r.send(slot, subscribe)
	before := a.users["bob"]
	r.want(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig","x"]}`, rejectLine(24, rejectOther.Text, "2"))
	if s := r.session(slot); s.source != 0 || s.is(subscribed) || a.opened[2] != 0 || a.users["bob"] != before {
		t.Errorf("he is at source %d, %d sessions there", s.source, a.opened[2])
	}
	r.send(slot, `{"id":1,"method":"mining.subscribe","params":["x"]}`)
	r.send(slot, `{"id":2,"method":"mining.authorize","params":["bob.rig","x"]}`)
	if s := r.session(slot); s.source != 1 || !s.is(subscribed|authorised) || a.opened[1] != 1 {
		t.Errorf("he is at source %d after he subscribed again", s.source)
	}
	r.disconnect(slot)
	if used, _, _ := r.group.registry.Space(2); used != 0 || a.opened[1]+a.opened[2] != 0 {
		t.Errorf("%v extranonce1 of hers are used by nobody, sessions %v", used, a.opened)
	}
	// A session that nobody knows of says nothing.
	slot = r.open()
	r.send(slot, `{"id":1,"method":"mining.subscribe","params":["x","0123456789abcdef"]}`)
	if from := r.session(slot).source; from != 1 {
		t.Errorf("at source %d", from)
	}
	r.Handler.Closed(slot, netserver.PeerClosed)
}
