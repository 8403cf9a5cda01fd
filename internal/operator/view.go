package operator

import (
	"context"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/session"
)

// View is what pages show of a pool: the replies of control commands, without their
// form. Methods may be called from any goroutine.
type View struct{ o *Operator }

// View shows the pool.
func (o *Operator) View() View { return View{o} }

// Started is when what is counted began.
func (v View) Started() time.Time { return v.o.Users.Started() }

// Solo tells that blocks pay who finds them.
func (v View) Solo() bool { return v.o.Solo }

// Chain is that of the work, as Bitcoin Core names it, "" unknown.
func (v View) Chain() string { return v.o.Source.Chain() }

// Usable tells that work can be had.
func (v View) Usable() bool { return v.o.Source.Usable() }

// Pool is poolstats, but for what the loops would have to be asked: whose version rolling
// was refused.
func (v View) Pool(now time.Time) control.PoolStats { return v.o.PoolStats(now) }

// BestSinceStart is the best share since the start, whatever rounds there were; an upgrade
// is none.
func (v View) BestSinceStart() float64 { return v.o.Users.Totals().Best }

// Rejects is rejects.
func (v View) Rejects() control.Counts { return v.o.rejects().Rejects }

// Drops is drops.
func (v View) Drops() control.Counts { return Drops(v.o.Server) }

// Listeners are miners by the address that they came by, in the order of the configuration.
func (v View) Listeners() control.Counts { return v.o.listeners() }

// Blocks is blocks.
func (v View) Blocks() []control.Block { return v.o.blocks().Blocks }

// Nodes is nodes, of a proxy those it mines for.
func (v View) Nodes() []control.Node { return v.o.nodesReply().Nodes }

// Links is links.
func (v View) Links() []control.Link { return v.o.links().Links }

// Proxies is list; nil where work comes from nodes.
func (v View) Proxies() []control.Proxy {
	if v.o.Proxies == nil {
		return nil
	}
	return v.o.proxyList().Proxies
}

// BestShares is bestshares.
func (v View) BestShares() []control.BestShares { return v.o.bestShares().Users }

// Users is users: the newest if there are too many.
func (v View) Users(now time.Time) []control.User { return v.o.users(now).Users }

// User is getuser, false for one that is not known.
func (v View) User(name string, now time.Time) (control.User, bool) {
	u, ok := v.o.Users.User(name, now)
	if !ok {
		return control.User{}, false
	}
	return showUser(&u), true
}

// Workers are the workers of a user: the newest if there are too many.
func (v View) Workers(user string, now time.Time) []control.Worker {
	list := v.o.Users.WorkersOf(user, now, session.MaxListed)
	reply := make([]control.Worker, len(list))
	for i := range list {
		reply[i] = showWorker(&list[i])
	}
	return reply
}

// WorkerCount is how many workers of a user are known.
func (v View) WorkerCount(user string) int { return v.o.Users.WorkerCount(user) }

// UserFile is the content of a user's status file, false for a user that is not known.
func (v View) UserFile(name string, now time.Time) ([]byte, bool) {
	return v.o.Users.UserFile(name, now, session.MaxListed)
}

// PoolFile is pool.status as it was last written. The error is that of reading it.
func (v View) PoolFile() ([]byte, error) { return v.o.Users.PoolFile() }

// Connections is ucinfo.
func (v View) Connections(ctx context.Context, user string) ([]control.Connection, error) {
	return v.o.connections(ctx, v.o.Users.OfUser(user))
}

// Journal is journal.
func (v View) Journal() control.Journal { return v.o.journalReply() }

// AllWorkers is workers: the newest if there are too many.
func (v View) AllWorkers(now time.Time) []control.Worker { return v.o.workers(now).Workers }
