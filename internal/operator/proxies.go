package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/upstream/status"
)

// Proxies are the other pools that an instance mines for. Their methods may be called
// from any goroutine and do not wait for a pool.
type Proxies interface {
	// Pools are all, in order of preference, those of single users behind the others.
	Pools() []status.Pool
	// Users are those that have accounts of their own there, or were to, and how many
	// logins found no room for another.
	Users() (list []status.User, left int)
	// Add adds one behind the others: for everybody, or for the user of that id alone
	// unless it is 0. The error says why it cannot be.
	Add(u *config.Upstream, userID int64) (status.Pool, error)
	// Remove takes one away, and returns how it was; false: there is none of that id.
	Remove(id int64) (status.Pool, bool)
	// Place gives one the place of that number, 0 the first, and returns how it is then.
	Place(id, place int64) (status.Pool, bool)
	// Enable makes one be mined for, or not, and returns how it is then.
	Enable(id int64, enabled bool) (status.Pool, bool)
	// Open opens further connections to one. The error says why it cannot be.
	Open(id, count int64) error
	// Close closes a connection to one; its miners go to others.
	Close(id, connection int64) error
}

// proxies registers what is about other pools that work comes from.
func (o *Operator) proxies(r Registrar) {
	if o.Proxies == nil {
		noProxies(r)
		return
	}
	r.Ask("list", func(context.Context, time.Time) any { return o.proxyList() })
	r.about("sublist", o.subProxies)
	r.actShowing("addproxy", withoutSecrets, encoded("addproxy", o.addProxy))
	r.Act("delproxy", encoded("delproxy", o.changeProxy(o.Proxies.Remove)))
	r.Act("enableproxy", encoded("enableproxy", o.enableProxy(true)))
	r.Act("disableproxy", encoded("disableproxy", o.enableProxy(false)))
	r.Act("setproxy", encoded("setproxy", o.placeProxy))
	r.about("proxystats", o.proxyStats)
	r.Ask("subproxystats", func(context.Context, time.Time) any { return o.subProxyStats() })
	r.Ask("proxyusers", func(context.Context, time.Time) any { return o.proxyUsers() })
	r.about("proxyinfo", o.proxyInfo)
	r.about("getproxy", o.proxyConnection)
	r.Act("recruit", o.recruit)
	r.Act("dropproxy", o.dropProxyConnection)
}

// noProxies answers for an instance that mines from nodes.
func noProxies(r Registrar) {
	r.Answer("proxyinfo", word(control.Encode(control.ProxyConnectionList{})))
	r.about("getproxy", noProxy("id"))
	r.about("setproxy", noProxy("id", "priority"))
	for _, prefix := range []string{
		"list", "sublist", "addproxy", "delproxy", "enableproxy", "disableproxy", "proxystats", "subproxystats", "proxyusers",
		"recruit", "dropproxy",
	} {
		r.Answer(prefix, refuse(prefix+": this instance mines from nodes, it has no upstream pools"))
	}
}

// noProxy looks for a proxy and finds none.
func noProxy(keys ...string) func(context.Context, question) (any, error) {
	return func(_ context.Context, q question) (any, error) {
		var id int64
		for _, key := range keys {
			v, err := argument[int64](q, key)
			if err != nil {
				return nil, err
			}
			if key == "id" {
				id = v
			}
		}
		if sub, err := argument[int64](q, "subid"); err == nil {
			return nil, fmt.Errorf("Failed to find proxy %d:%d", id, sub)
		}
		return nil, fmt.Errorf("Failed to find proxy %d", id)
	}
}

// pool is the one of an id.
func (o *Operator) pool(id int64) (status.Pool, bool) {
	pools := o.Proxies.Pools()
	i := slices.IndexFunc(pools, func(p status.Pool) bool { return p.ID == id })
	if i < 0 {
		return status.Pool{}, false
	}
	return pools[i], true
}

// connection is the one of an id. The first, 0, is there before it is open.
func connection(p *status.Pool, id int64) (status.Connection, bool) {
	for _, c := range p.Connections {
		if c.ID == id {
			return c, true
		}
	}
	return status.Connection{}, id == 0
}

// connections are all of a pool, at least the first.
func connections(p *status.Pool) []status.Connection {
	if len(p.Connections) == 0 {
		return make([]status.Connection, 1)
	}
	return p.Connections
}

// place of a pool among all.
func (o *Operator) place(id int64) int64 {
	return int64(slices.IndexFunc(o.Proxies.Pools(), func(p status.Pool) bool { return p.ID == id }))
}

func (o *Operator) proxyList() control.ProxyList {
	pools := o.Proxies.Pools()
	reply := control.ProxyList{Proxies: make([]control.Proxy, len(pools))}
	for i := range pools {
		p := &pools[i]
		first := connections(p)[0]
		clients := 0
		for _, c := range p.Connections {
			clients += c.Sessions
		}
		reply.Proxies[i] = control.Proxy{
			ID: p.ID, Global: p.UserID == 0, UserID: p.UserID, Auth: p.Account, Pass: p.Password, Difficulty: first.Difficulty,
			Disabled: p.Disabled, Alive: p.Up, Subproxies: int64(len(p.Connections)), ProxyNumbers: numbers(&first),
			ProxyPlace: control.ProxyPlace{
				URL: p.URL, User: p.User, Priority: int64(i), Weight: p.Weight, Wanted: p.Wanted, Part: p.Part, Active: p.Active,
				Clients: int64(clients), Reason: p.Reason,
			},
		}
	}
	return reply
}

// numbers are nil before the pool has given any.
func numbers(c *status.Connection) *control.ProxyNumbers {
	if c.Subscribe != status.Success {
		return nil
	}
	return &control.ProxyNumbers{Extranonce1: c.Extranonce1, Extranonce1Len: int64(len(c.Extranonce1) / 2), Extranonce2Len: int64(c.Extranonce2Len)}
}

// subProxies is sublist={"id":N}.
func (o *Operator) subProxies(_ context.Context, q question) (any, error) {
	id, err := argument[int64](q, "id")
	if err != nil {
		return nil, fmt.Errorf("Failed to get ID in send_sublist JSON: %s", q.args)
	}
	p, ok := o.pool(id)
	if !ok {
		return nil, fmt.Errorf("Proxy id %d not found", id)
	}
	reply := control.SubProxyList{SubProxies: make([]control.SubProxy, len(p.Connections))}
	for i := range p.Connections {
		c := &p.Connections[i]
		reply.SubProxies[i] = control.SubProxy{
			SubID: c.ID, Auth: p.Account, Pass: p.Password, Difficulty: c.Difficulty, Disabled: p.Disabled, Alive: c.Works,
			ProxyNumbers: numbers(c), Clients: int64(c.Sessions), MaxClients: int64(c.Space.Size),
		}
	}
	return reply, nil
}

// withoutSecrets is what the log shows of addproxy.
func withoutSecrets(args string) string {
	var p struct{ URL, Auth string }
	if json.Unmarshal([]byte(args), &p) != nil {
		return "…"
	}
	return p.URL + " " + p.Auth
}

// addProxy is addproxy={"url":…,"auth":…,"pass":…[,"userid":N]}, and the other members of
// an entry of the configuration.
func (o *Operator) addProxy(_ context.Context, q question) (any, error) {
	var given struct {
		URL, Auth *string
		UserID    *int64
	}
	if err := json.Unmarshal([]byte(q.args), &given); err != nil || given.URL == nil || given.Auth == nil {
		return nil, fmt.Errorf("Failed to decode url/auth/pass in addproxy %s", q.args)
	}
	userID := int64(0)
	if given.UserID != nil {
		if userID = *given.UserID; userID <= 0 {
			return nil, fmt.Errorf("want the id of a user, got %d", userID)
		}
	}
	u, err := config.ParseUpstream([]byte(q.args))
	if err != nil {
		return nil, err
	}
	p, err := o.Proxies.Add(&u, userID)
	if err != nil {
		return nil, err
	}
	return control.ProxyAccount{ID: p.ID, URL: p.URL, Auth: p.Account, Pass: p.Password, UserID: p.UserID}, nil
}

// changeProxy is a command that does something to one of them.
func (o *Operator) changeProxy(change func(id int64) (status.Pool, bool)) func(context.Context, question) (any, error) {
	return func(_ context.Context, q question) (any, error) {
		id, err := argument[int64](q, "id")
		if err != nil {
			return nil, err
		}
		p, ok := change(id)
		if !ok {
			return nil, fmt.Errorf("Proxy id %d not found", id)
		}
		return control.ProxyAccount{ID: p.ID, URL: p.URL, BaseURL: p.BaseURL, Auth: p.Account, Pass: p.Password}, nil
	}
}

// enableProxy is enableproxy={"id":N} or disableproxy={"id":N}.
func (o *Operator) enableProxy(enabled bool) func(context.Context, question) (any, error) {
	change := o.changeProxy(func(id int64) (status.Pool, bool) { return o.Proxies.Enable(id, enabled) })
	return func(ctx context.Context, q question) (any, error) {
		if id, err := argument[int64](q, "id"); err == nil {
			if err := o.ofAll(id); err != nil {
				return nil, err
			}
		}
		return change(ctx, q)
	}
}

// ofAll tells why a pool that is a user's own account has no place in the order of all.
func (o *Operator) ofAll(id int64) error {
	if p, ok := o.pool(id); ok && p.User != "" {
		return fmt.Errorf("proxy %d is the own account of user %q, which comes and goes with his miners: delproxy ends it until his next login", id, p.User)
	}
	return nil
}

// placeProxy is setproxy={"id":N,"priority":P}.
func (o *Operator) placeProxy(_ context.Context, q question) (any, error) {
	id, err := argument[int64](q, "id")
	if err != nil {
		return nil, err
	}
	place, err := argument[int64](q, "priority")
	switch {
	case err != nil:
		return nil, err
	case place < 0:
		return nil, fmt.Errorf("want a priority of 0, the first, or more, got %d", place)
	}
	if err := o.ofAll(id); err != nil {
		return nil, err
	}
	p, ok := o.Proxies.Place(id, place)
	if !ok {
		return nil, fmt.Errorf("Failed to find proxy %d", id)
	}
	return showProxyConnection(&p, o.place(id), &connections(&p)[0]), nil
}

// proxyStats is proxystats, of all pools, proxystats={"id":N} or
// proxystats={"id":N,"subid":M}.
func (o *Operator) proxyStats(_ context.Context, q question) (any, error) {
	if q.args == "" {
		pools := o.Proxies.Pools()
		reply := control.ProxyStatsList{Proxies: make([]control.ProxyStats, len(pools))}
		for i := range pools {
			reply.Proxies[i] = statsOfPool(&pools[i])
		}
		return reply, nil
	}
	id, err := argument[int64](q, "id")
	if err != nil {
		return nil, err
	}
	p, ok := o.pool(id)
	if !ok {
		return nil, fmt.Errorf("Proxy id %d not found", id)
	}
	sub, err := argument[int64](q, "subid")
	if err != nil {
		s := statsOfPool(&p)
		s.ProxyOwn = own(&connections(&p)[0].Figures)
		return s, nil
	}
	c, ok := connection(&p, sub)
	if !ok {
		return nil, fmt.Errorf("Proxy id %d:%d not found", id, sub)
	}
	return statsOfConnection(&p, &c), nil
}

func (o *Operator) subProxyStats() control.SubProxyStatsList {
	pools := o.Proxies.Pools()
	reply := control.SubProxyStatsList{Proxies: make([]control.SubProxyStats, len(pools))}
	for i := range pools {
		p := &pools[i]
		s := control.SubProxyStats{ID: p.ID, Connections: make([]control.ProxyStats, len(p.Connections))}
		for k := range p.Connections {
			s.Connections[k] = statsOfConnection(p, &p.Connections[k])
		}
		reply.Proxies[i] = s
	}
	return reply
}

// commonStats are what is the same for a pool and one of its connections.
func commonStats(p *status.Pool, c *status.Connection) control.ProxyStats {
	return control.ProxyStats{
		ID: p.ID, UserID: p.UserID, BaseURL: p.BaseURL, URL: p.URL, Auth: p.Account, Pass: p.Password,
		Extranonce1: c.Extranonce1, Extranonce1Len: int64(len(c.Extranonce1) / 2), Extranonce2Len: int64(c.Extranonce2Len),
		Difficulty: c.Difficulty, Connect: c.Connect.String(), Subscribe: c.Subscribe.String(), Authorise: c.Authorize.String(),
		Backoff: int64(p.Backoff.Seconds()), Global: p.UserID == 0, Disabled: p.Disabled,
	}
}

func statsOfPool(p *status.Pool) control.ProxyStats {
	s := commonStats(p, &connections(p)[0])
	r := p.Rates
	s.ProxyTotals = &control.ProxyTotals{
		TotalAccepted: p.Accepted.Difficulty.Float64(), TotalRejected: p.Refused.Difficulty.Float64(), Subproxies: int64(len(p.Connections)),
		TDSPS1: r[0], TDSPS5: r[1], TDSPS60: r[2], TDSPS1440: r[3],
	}
	s.Alive, s.LastShare, s.ProxyShares = p.Up, control.At(p.LastAccepted), shares(&p.Figures)
	for _, c := range p.Connections {
		s.Clients += int64(c.Sessions)
		s.MaxClients += int64(c.Space.Size)
	}
	return s
}

func statsOfConnection(p *status.Pool, c *status.Connection) control.ProxyStats {
	s := commonStats(p, c)
	s.SubID, s.ProxyOwn = &c.ID, own(&c.Figures)
	s.Alive, s.LastShare, s.ProxyShares = c.Works, control.At(c.LastAccepted), shares(&c.Figures)
	s.Clients, s.MaxClients = int64(c.Sessions), int64(c.Space.Size)
	return s
}

func own(f *status.Figures) *control.ProxyOwn {
	r := f.Rates
	return &control.ProxyOwn{
		Rates:    control.Rates{DSPS1: r[0], DSPS5: r[1], DSPS60: r[2], DSPS1440: r[3]},
		Accepted: f.Accepted.Difficulty.Float64(), Rejected: f.Refused.Difficulty.Float64(),
	}
}

func shares(f *status.Figures) control.ProxyShares {
	s := control.ProxyShares{
		AcceptedCount: f.Accepted.Shares, RejectedCount: f.Refused.Shares,
		UnansweredCount: f.Unanswered.Shares, Unanswered: f.Unanswered.Difficulty.Float64(),
		NotSentCount: f.NotSent.Shares, NotSent: f.NotSent.Difficulty.Float64(),
		UnsendableCount: f.Unsendable.Shares, Unsendable: f.Unsendable.Difficulty.Float64(),
		RefusedHereCount: f.RefusedHere.Shares, RefusedHere: f.RefusedHere.Difficulty.Float64(),
		Waiting: f.Open, LatencyMS: milliseconds(f.Latency), SlowestMS: milliseconds(f.Slowest),
	}
	for reason, t := range f.Reasons {
		s.Rejects = append(s.Rejects, control.Count{Name: reason, Count: t.Shares})
	}
	slices.SortFunc(s.Rejects, func(a, b control.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (o *Operator) proxyUsers() control.ProxyUserList {
	list, left := o.Proxies.Users()
	reply := control.ProxyUserList{Users: make([]control.ProxyUser, len(list)), Left: int64(left)}
	for i := range list {
		u := &list[i]
		reply.Users[i] = control.ProxyUser{
			User: u.Name, UserID: u.ID, State: u.State, Clients: int64(u.Miners), Proxies: u.Pools, ProxyOwn: *own(&u.Figures),
			LastShare: control.At(u.LastAccepted), ProxyShares: shares(&u.Figures), Refused: u.Refused, Again: control.At(u.Again),
		}
	}
	return reply
}

// proxyInfo is proxyinfo, of all connections, or proxyinfo={"userid":N}.
func (o *Operator) proxyInfo(_ context.Context, q question) (any, error) {
	userID, err := int64(0), error(nil)
	if q.args != "" {
		if userID, err = argument[int64](q, "userid"); err != nil {
			return nil, err
		}
	}
	reply := control.ProxyConnectionList{Proxies: []control.ProxyConnection{}}
	for i, p := range o.Proxies.Pools() {
		if q.args != "" && p.UserID != userID {
			continue
		}
		for _, c := range connections(&p) {
			reply.Proxies = append(reply.Proxies, showProxyConnection(&p, int64(i), &c))
		}
	}
	return reply, nil
}

// proxyConnection is getproxy={"id":N} or getproxy={"id":N,"subid":M}.
func (o *Operator) proxyConnection(ctx context.Context, q question) (any, error) {
	id, err := argument[int64](q, "id")
	if err != nil {
		return nil, err
	}
	p, ok := o.pool(id)
	if !ok {
		return noProxy("id")(ctx, q)
	}
	c := connections(&p)[0]
	if sub, err := argument[int64](q, "subid"); err == nil {
		if c, ok = connection(&p, sub); !ok {
			return noProxy("id")(ctx, q)
		}
	}
	return showProxyConnection(&p, o.place(id), &c), nil
}

func showProxyConnection(p *status.Pool, place int64, c *status.Connection) control.ProxyConnection {
	s := control.ProxyConnection{
		ID: p.ID, SubID: c.ID, Priority: place, Difficulty: c.Difficulty, BaseURL: p.BaseURL, URL: p.URL, Auth: p.Account, Pass: p.Password,
		Extranonce1: c.Extranonce1, Extranonce1Len: int64(len(c.Extranonce1) / 2), Extranonce1OwnLen: int64(c.Own),
		Extranonce2Len: int64(c.Extranonce2Len), MinerLen: int64(c.Extranonce2Len - c.Pad - c.Own),
		Subscribed: c.Subscribe == status.Success, Notified: c.Works,
		Clients: int64(c.Space.Used), MaxClients: int64(c.Space.Size), Bound: int64(c.Sessions), Resting: int64(c.Space.Resting),
		SubProxies: int64(len(p.Connections)), Dead: !c.Works, Global: p.UserID == 0, UserID: p.UserID,
		VersionMask: fmt.Sprintf("%08x", c.VersionMask),
	}
	for _, c := range p.Connections {
		s.Combined += int64(c.Sessions)
		if c.Works {
			s.Headroom += int64(c.Space.Free())
		}
	}
	return s
}

// recruit is recruit=ID:COUNT.
func (o *Operator) recruit(_ context.Context, args string) (string, error) {
	id, count, err := twoNumbers("recruit=ID:COUNT", args)
	if err != nil {
		return "", err
	}
	if _, ok := o.pool(id); !ok {
		return "", fmt.Errorf("Proxy id %d not found", id)
	}
	if count < 1 {
		return "", fmt.Errorf("want one more connection or more, got %d", count)
	}
	return "recruiting", o.Proxies.Open(id, count)
}

// dropProxyConnection is dropproxy=ID:SUBID.
func (o *Operator) dropProxyConnection(_ context.Context, args string) (string, error) {
	id, sub, err := twoNumbers("dropproxy=ID:SUBID", args)
	if err != nil {
		return "", err
	}
	p, ok := o.pool(id)
	if !ok {
		return "", fmt.Errorf("Proxy id %d not found", id)
	}
	if sub == 0 {
		return "", errors.New("the first connection stays open: disableproxy or delproxy close it with the others")
	}
	if _, ok := connection(&p, sub); !ok {
		return "", fmt.Errorf("Proxy id %d:%d not found", id, sub)
	}
	return "dropping", o.Proxies.Close(id, sub)
}

func twoNumbers(form, args string) (first, second int64, err error) {
	a, b, _ := strings.Cut(args, ":")
	first, err = strconv.ParseInt(strings.TrimSpace(a), 10, 64)
	if err == nil {
		second, err = strconv.ParseInt(strings.TrimSpace(b), 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("want %s, got %.50q", form, args)
	}
	return first, second, nil
}

func (o *Operator) generatorStats() (reply control.GeneratorStats) {
	reply.Notifies = made(int64(len(o.Jobs.Recent())), 0, o.Jobs.Made())
	for _, p := range o.Proxies.Pools() {
		reply.Proxies.Count++
		reply.Proxies.Generated = max(reply.Proxies.Generated, p.ID+1)
		made := int64(0)
		for _, c := range p.Connections {
			reply.SubProxies.Count++
			made = max(made, c.ID+1)
		}
		reply.SubProxies.Generated += made
		reply.Shares.Count += p.Open
		reply.Shares.Generated += p.Open + p.Accepted.Shares + p.Refused.Shares + p.Unanswered.Shares
	}
	return reply
}
