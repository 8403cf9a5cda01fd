package pool

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"ckpool/internal/session"
	"ckpool/sharelog"
)

// Clients is clients: all sessions.
func (q Queries) Clients(all []session.Info) []byte {
	return object("clients", pointers(all), q.client)
}

// GetClient is getclient={"id":N}.
func (q Queries) GetClient(arg string, all []session.Info) []byte {
	id, answer := argument[uint64]("getclient", arg, "id")
	if answer != nil {
		return answer
	}
	for i := range all {
		if all[i].ID == id {
			return q.client(nil, &all[i])
		}
	}
	return fault("Failed to find client %d", id)
}

// UserClients is userclients={"user":"U"}: the ids of a user's sessions.
func (q Queries) UserClients(arg string, all []session.Info) []byte {
	u, answer := q.findUser("userclients", arg)
	if answer != nil {
		return answer
	}
	return named("user", u.Name, q.ofUser(u, all), clientID)
}

// WorkerClients is workerclients={"worker":"W"}.
func (q Queries) WorkerClients(arg string, all []session.Info) []byte {
	w, answer := q.findWorker("workerclients", arg)
	if answer != nil {
		return answer
	}
	return named("worker", w.name, q.ofWorker(w, all), clientID)
}

// UserClientInfo is ucinfo={"user":"U"}.
func (q Queries) UserClientInfo(arg string, all []session.Info) []byte {
	u, answer := q.findUser("ucinfo", arg)
	if answer != nil {
		return answer
	}
	return named("user", u.Name, q.ofUser(u, all), q.client)
}

// WorkerClientInfo is wcinfo={"worker":"W"}.
func (q Queries) WorkerClientInfo(arg string, all []session.Info) []byte {
	w, answer := q.findWorker("wcinfo", arg)
	if answer != nil {
		return answer
	}
	return named("user", w.user.Name, q.ofWorker(w, all), q.client)
}

func pointers(all []session.Info) []*session.Info {
	list := make([]*session.Info, len(all))
	for i := range all {
		list[i] = &all[i]
	}
	return list
}

// workersOfUser chooses the workers of the user that args name.
func (q Queries) workersOfUser(args string) func(session.WorkerID) bool {
	u, _ := q.findUser("", args)
	return func(id session.WorkerID) bool {
		w := q.State.names.table.get(id)
		return w != nil && w.user == u
	}
}

// thatWorker chooses the worker that args name.
func (q Queries) thatWorker(args string) func(session.WorkerID) bool {
	w, _ := q.findWorker("", args)
	return func(id session.WorkerID) bool { return w != nil && id == w.id }
}

func (q Queries) ofUser(u *user, all []session.Info) (list []*session.Info) {
	for i := range all {
		if w := q.workerOf(&all[i]); w != nil && w.user == u {
			list = append(list, &all[i])
		}
	}
	return list
}

func (q Queries) ofWorker(w *worker, all []session.Info) (list []*session.Info) {
	for i := range all {
		if q.workerOf(&all[i]) == w {
			list = append(list, &all[i])
		}
	}
	return list
}

// named is {key: name, "clients": [...]}.
func named(key, name string, list []*session.Info, element func([]byte, *session.Info) []byte) []byte {
	o := sharelog.NewObject(nil)
	o.String(key, name)
	o.Raw("clients", array(list, element))
	return o.Close()
}

func clientID(b []byte, i *session.Info) []byte { return strconv.AppendUint(b, i.ID, 10) }

func (q Queries) client(b []byte, i *session.Info) []byte {
	var userID int64
	if w := q.workerOf(i); w != nil {
		userID = w.user.id
	}
	o := sharelog.NewObject(b)
	o.Int("id", int64(i.ID))
	o.String("enonce1", i.Extranonce1)
	o.String("enonce1var", i.Extranonce1)
	o.Int("enonce1_64", extranonceNumber(i.Extranonce1))
	o.Real("diff", i.Difficulty, 17)
	o.Real("dsps1", i.DSPS1, 17)
	o.Real("dsps5", i.DSPS5, 17)
	o.Real("dsps60", i.DSPS60, 17)
	o.Real("dsps1440", i.DSPS1440, 17)
	o.Real("dsps10080", i.DSPS10080, 17)
	o.Int("lastshare", unix(i.LastShare))
	o.Int("starttime", unix(i.Start))
	o.String("address", i.Address)
	o.Bool("subscribed", i.Subscribed)
	o.Bool("authorised", i.Authorised)
	o.Bool("idle", i.Idle)
	o.String("useragent", i.UserAgent)
	o.String("workername", i.WorkerName)
	o.Int("userid", userID)
	o.Int("server", int64(i.Listener))
	o.Real("bestdiff", i.Best, 17)
	o.Int("proxyid", 0) // no upstream pools
	o.Int("subproxyid", 0)
	return o.Close()
}

// extranonceNumber is extranonce1 as the little-endian number it is counted up
// as, 0 for one that is no hex or longer than eight bytes.
func extranonceNumber(extranonce1 string) int64 {
	var b [8]byte
	if len(extranonce1) > 2*len(b) {
		return 0
	}
	if _, err := hex.Decode(b[:], []byte(extranonce1)); err != nil {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b[:]))
}
