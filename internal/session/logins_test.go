package session

import (
	"fmt"
	"testing"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// A connection that only collects refusals is answered and closed; a miner's,
// which has a worker, may have as many wrong names as it could have workers.
func TestRefusedLoginsEndAConnection(t *testing.T) {
	refusal := &stratum.Reject{Code: stratum.Unauthorized, Text: "no"}
	authorize := func(r *rig, slot netserver.Slot, name string) {
		r.Helper()
		answer := `{"result":true,"error":null,"id":2}`
		if r.backend.refuse != nil {
			answer = rejectLine(24, "no", "2")
		}
		r.want(slot, `{"id":2,"method":"mining.authorize","params":["`+name+`","x"]}`, answer)
	}
	r := newRig(t, nil)
	stranger := r.open()
	miner, _ := r.miner("bob")
	r.backend.refuse = refusal
	for i := range maxRefusals {
		if why, closed := r.closed[stranger]; closed {
			t.Fatalf("closed after %d refusals: %v", i, why)
		}
		authorize(r, stranger, fmt.Sprint("eve", i))
		authorize(r, miner, fmt.Sprint("bob.", i))
	}
	if why, closed := r.closed[stranger]; !closed || why != netserver.LoginsRefused {
		t.Errorf("after %d refusals: closed %v, %v", maxRefusals, closed, why)
	}
	if why, closed := r.closed[miner]; closed {
		t.Fatalf("a miner at work was closed: %v", why)
	}
	r.backend.refuse = nil
	authorize(r, miner, "bob.good") // counting begins anew
	r.backend.refuse = refusal
	for i := range maxWorkers - 1 {
		authorize(r, miner, fmt.Sprint("bob.", i))
	}
	if why, closed := r.closed[miner]; closed {
		t.Fatalf("closed for %d refusals in a row: %v", maxWorkers-1, why)
	}
	authorize(r, miner, "bob.last")
	if why, closed := r.closed[miner]; !closed || why != netserver.LoginsRefused {
		t.Errorf("after %d refusals in a row: closed %v, %v", maxWorkers, closed, why)
	}
}

// Workers of a connection are found by name however many there are, and all of
// them are detached in the end.
func TestManyWorkersOfAConnection(t *testing.T) {
	r := newRig(t, nil)
	slot, _ := r.miner("bob.first")
	for i := 1; i < maxWorkers; i++ {
		r.want(slot, fmt.Sprintf(`{"id":2,"method":"mining.authorize","params":["bob.%d","x"]}`, i), `{"result":true,"error":null,"id":2}`)
	}
	c := r.client(slot)
	for i := 1; i < maxWorkers; i++ {
		name := fmt.Sprint("bob.", i)
		if l := c.findLogin([]byte(name)); l == 0 || c.logins.get(l).name != name {
			t.Fatalf("%s is login %d, %+v", name, l, c.logins.get(l))
		}
	}
	if l := c.findLogin([]byte("bob.none")); l != 0 {
		t.Errorf("a name that did not log in is login %d", l)
	}
	if r.backend.attached != maxWorkers {
		t.Fatalf("%d attached", r.backend.attached)
	}
	r.Closed(slot, netserver.PeerClosed)
	if r.backend.attached != 0 || len(r.extra) != 0 {
		t.Errorf("%d attached after the end, %d connections with further logins", r.backend.attached, len(r.extra))
	}
}
