package pool

import (
	"unsafe"

	"ckpool/sharelog"
)

// Objects counts things in memory, for the command stats.
type Objects struct {
	Count     int64
	Memory    int64 // bytes, about
	Generated int64 // ever made
}

// StratifierStats are the parts of stats that a State does not know.
type StratifierStats struct {
	Workbases     Objects // jobs
	UserWorkbases Objects // solo
	Clients       Objects
	Disconnected  Objects
	Shares        Objects // remembered for duplicates
	Transactions  Objects
	Sends         Objects
	Receives      Objects
}

// Stats is stats of the stratifier, and stratifierstats.
func (q Queries) Stats(p StratifierStats) []byte {
	users, workers := q.State.names.users.Load(), int64(q.State.names.table.count())
	const names = 48 // a long address
	memory := users*(int64(unsafe.Sizeof(user{}))+names) + workers*int64(unsafe.Sizeof(worker{}))
	o := sharelog.NewObject(nil)
	put := func(key string, c Objects, generated bool) {
		e := sharelog.NewObject(nil)
		e.Int("count", c.Count)
		e.Int("memory", c.Memory)
		if generated {
			e.Int("generated", c.Generated)
		}
		o.Raw(key, e.Close())
	}
	put("workbases", p.Workbases, true)
	put("remote_workbases", Objects{}, false)
	if q.State.cfg.Solo {
		put("userwbs", p.UserWorkbases, false)
	}
	put("users", Objects{Count: users, Memory: memory}, false)
	put("clients", p.Clients, true)
	put("disconnected", p.Disconnected, true)
	put("shares", p.Shares, true)
	put("transactions", p.Transactions, true)
	put("ssends", p.Sends, true)
	put("srecvs", p.Receives, true)
	put("stxnq", Objects{}, true)
	return o.Close()
}
