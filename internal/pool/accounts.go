package pool

import (
	"fmt"

	"github.com/ckpool/ckpool/event"
)

// accountHolders are the pool's miners for who keeps their accounts.
type accountHolders struct{ pool *Pool }

// Lock implements authority.Miners.
func (h accountHolders) Lock(user, text string) {
	h.pool.events.Say(event.Notice, fmt.Sprintf("User %s is locked: %s", user, text))
	h.pool.miners.Lock(user, text)
}

// SetMinimum implements authority.Miners.
func (h accountHolders) SetMinimum(worker string, difficulty float64) {
	if id := h.pool.users.WorkerID(worker); id != 0 { // else nobody is connected as that
		h.pool.miners.SetMinimum(id, difficulty)
	}
}

// SetPrivate implements authority.Miners.
func (h accountHolders) SetPrivate(user string, private bool) { h.pool.private.set(user, private) }

// Message implements authority.Miners.
func (h accountHolders) Message(user, text string) { h.pool.miners.Show(user, text) }
