package control

import (
	"context"
	"fmt"
	"strconv"
)

// Proxy is a pool that an instance mines for, with an account there.
type Proxy struct {
	ID            int64   `json:"id"`         // which no other gets
	Global        bool    `json:"global"`     // everybody mines there
	UserID        int64   `json:"userid"`     // who alone does, 0 for everybody
	Auth          string  `json:"auth"`       // account at the pool
	Pass          string  `json:"pass"`       // its password
	Difficulty    float64 `json:"diff"`       // that the pool asks of shares
	Disabled      bool    `json:"disabled"`   // by an operator
	Alive         bool    `json:"alive"`      // a connection is authorised and has work
	Subproxies    int64   `json:"subproxies"` // connections
	*ProxyNumbers         // of the first connection; nil: it has none yet
	ProxyPlace
}

// ProxyNumbers are how a pool tells its connections apart.
type ProxyNumbers struct {
	Extranonce1    string `json:"enonce1"`   // hex
	Extranonce1Len int64  `json:"nonce1len"` // bytes
	Extranonce2Len int64  `json:"nonce2len"` // bytes, that the pool leaves
}

// ProxyPlace is what part in the whole a pool has.
type ProxyPlace struct {
	URL      string  `json:"url"`               // as configured
	User     string  `json:"user"`              // the name of UserID
	Priority int64   `json:"priority"`          // its place in the order, 0 the first
	Weight   float64 `json:"weight" digits:"6"` // 0: none
	Wanted   float64 `json:"wanted" digits:"6"` // part of the hash rate that it is to have, 0 to 1
	Part     float64 `json:"part" digits:"6"`   // that it has
	Active   bool    `json:"active"`            // miners are sent there at present
	Clients  int64   `json:"clients"`           // miners that work for it
	Reason   string  `json:"reason"`            // why it is not alive
}

// SubProxy is one connection to a pool.
type SubProxy struct {
	SubID         int64   `json:"subid"`    // which no other connection to the pool gets, 0 the first
	Auth          string  `json:"auth"`     // account at the pool
	Pass          string  `json:"pass"`     // its password
	Difficulty    float64 `json:"diff"`     // that the pool asks of shares
	Disabled      bool    `json:"disabled"` // by an operator
	Alive         bool    `json:"alive"`    // it is authorised and has work
	*ProxyNumbers         // nil: it has none yet
	Clients       int64   `json:"clients"`    // miners that work on it
	MaxClients    int64   `json:"maxclients"` // for how many there is room
}

// ProxyAccount is a pool that was added or changed.
type ProxyAccount struct {
	ID      int64  `json:"id"`                // as in Proxy
	URL     string `json:"url"`               // of the place it is connected to, or is to be
	BaseURL string `json:"baseurl,omitempty"` // as configured; not of one just added
	Auth    string `json:"auth"`              // account at the pool
	Pass    string `json:"pass"`              // its password
	UserID  int64  `json:"userid,omitempty"`  // not of everybody's
}

// ProxyConnection is one connection to a pool, and its room for miners. Lengths are
// bytes.
type ProxyConnection struct {
	ID                int64   `json:"id"`               // of the pool, as in Proxy
	SubID             int64   `json:"subid"`            // of the connection, as in SubProxy
	Priority          int64   `json:"priority"`         // of the pool, 0 the first
	Difficulty        float64 `json:"diff"`             // that the pool asks of shares
	BaseURL           string  `json:"baseurl"`          // as configured
	URL               string  `json:"url"`              // of the place it is connected to
	Auth              string  `json:"auth"`             // account at the pool
	Pass              string  `json:"pass"`             // its password
	Extranonce1       string  `json:"enonce1"`          // hex
	Extranonce1Len    int64   `json:"enonce1constlen"`  // of the pool's
	Extranonce1OwnLen int64   `json:"enonce1varlen"`    // of a miner's own
	Extranonce2Len    int64   `json:"nonce2len"`        // that the pool leaves
	MinerLen          int64   `json:"enonce2varlen"`    // that is left to a miner
	Subscribed        bool    `json:"subscribed"`       // the pool has given an extranonce1
	Notified          bool    `json:"notified"`         // it has work
	Clients           int64   `json:"clients"`          // extranonce1 in use
	MaxClients        int64   `json:"maxclients"`       // that there are
	Bound             int64   `json:"bound_clients"`    // miners that work on it
	Combined          int64   `json:"combined_clients"` // on all connections to the pool
	Headroom          int64   `json:"headroom"`         // extranonce1 that are free on all of them
	SubProxies        int64   `json:"subproxy_count"`   // connections to the pool
	Dead              bool    `json:"dead"`             // there is no connection
	Global            bool    `json:"global"`           // everybody mines there
	UserID            int64   `json:"userid"`           // who alone does, 0 for everybody
	Resting           int64   `json:"resting"`          // extranonce1 given back that are not given again yet
	VersionMask       string  `json:"version_mask"`     // hex
}

// ProxyShares are what became of shares of a pool's work: how many, and the sum of
// their difficulties.
type ProxyShares struct {
	AcceptedCount    int64   `json:"accepted_count"`        // by the pool
	RejectedCount    int64   `json:"rejected_count"`        // by the pool
	Rejects          Counts  `json:"rejects"`               // of these, by what the pool said
	UnansweredCount  int64   `json:"unanswered_count"`      // the pool said nothing in time
	Unanswered       float64 `json:"unanswered"`            // their difficulty, as in all that stand beside a count
	NotSentCount     int64   `json:"not_sent_count"`        // good, and below what the pool asks
	NotSent          float64 `json:"not_sent"`              // difficulty
	UnsendableCount  int64   `json:"unsendable_count"`      // the connection did not take them
	Unsendable       float64 `json:"unsendable"`            // difficulty
	RefusedHereCount int64   `json:"refused_here_count"`    // the pool never heard of them
	RefusedHere      float64 `json:"refused_here"`          // difficulty
	Waiting          int64   `json:"waiting"`               // for the pool's answer
	LatencyMS        float64 `json:"latency_ms" digits:"6"` // of answers, on average
	SlowestMS        float64 `json:"slowest_ms" digits:"6"` // of answers, the longest
}

// ProxyTotals are those of all connections to a pool.
type ProxyTotals struct {
	TotalAccepted float64 `json:"total_accepted"` // difficulty
	TotalRejected float64 `json:"total_rejected"` // difficulty
	Subproxies    int64   `json:"subproxies"`     // connections
	TDSPS1        float64 `json:"tdsps1"`         // accepted difficulty per second over a minute
	TDSPS5        float64 `json:"tdsps5"`         // over 5 minutes
	TDSPS60       float64 `json:"tdsps60"`        // over an hour
	TDSPS1440     float64 `json:"tdsps1440"`      // over a day
}

// ProxyOwn are those of one connection.
type ProxyOwn struct {
	Rates            // of what the pool accepted
	Accepted float64 `json:"accepted"` // difficulty
	Rejected float64 `json:"rejected"` // difficulty
}

// ProxyStats are what became of shares of a pool, or of one connection to it.
type ProxyStats struct {
	ID             int64   `json:"id"`        // as in Proxy
	UserID         int64   `json:"userid"`    // who alone mines there, 0 for everybody
	BaseURL        string  `json:"baseurl"`   // as configured
	URL            string  `json:"url"`       // of the place it is connected to
	Auth           string  `json:"auth"`      // account at the pool
	Pass           string  `json:"pass"`      // its password
	Extranonce1    string  `json:"enonce1"`   // this and the next two of the first connection, or of the one
	Extranonce1Len int64   `json:"nonce1len"` // bytes
	Extranonce2Len int64   `json:"nonce2len"` // bytes, that the pool leaves
	Difficulty     float64 `json:"diff"`      // that the pool asks of shares
	*ProxyTotals           // nil: of one connection
	*ProxyOwn              // nil: of one of many pools; of one pool its first connection
	Connect        string  `json:"connect"`         // this and the next two: Initial, Success or Failed
	Subscribe      string  `json:"subscribe"`       // how mining.subscribe went
	Authorise      string  `json:"authorise"`       // how mining.authorize went
	Backoff        int64   `json:"backoff"`         // seconds between tries
	LastShare      Time    `json:"lastshare"`       // that was accepted
	Global         bool    `json:"global"`          // everybody mines there
	Disabled       bool    `json:"disabled"`        // by an operator
	Alive          bool    `json:"alive"`           // it is authorised and has work
	MaxClients     int64   `json:"maxclients"`      // for how many miners there is room
	SubID          *int64  `json:"subid,omitempty"` // nil: of a pool
	Clients        int64   `json:"clients"`         // miners that work for it
	ProxyShares
}

// SubProxyStats are what became of shares of a pool's connections.
type SubProxyStats struct {
	ID          int64        `json:"id"`       // of the pool, as in Proxy
	Connections []ProxyStats `json:"subproxy"` // one for each connection
}

// ProxyUser is what became of one user's shares of other pools' work.
type ProxyUser struct {
	User    string  `json:"user"`    // name
	UserID  int64   `json:"userid"`  // id here
	State   string  `json:"state"`   // of the user's account: ok, no work, refused or none
	Clients int64   `json:"clients"` // connected miners
	Proxies []int64 `json:"proxies"` // ids of pools that are the user's alone
	ProxyOwn
	LastShare Time `json:"lastshare"` // that was accepted
	ProxyShares
	Refused string `json:"refused,omitempty"` // what the pool said if it refused the user
	Again   Time   `json:"again"`             // when it is asked again then
}

// GeneratorStats are what an instance that mines for other pools holds in memory.
type GeneratorStats struct {
	Proxies     Made    `json:"proxies"`      // pools
	DeadProxies Objects `json:"dead_proxies"` // always 0: no dead ones are kept
	SubProxies  Made    `json:"subproxies"`   // connections to pools
	Notifies    Made    `json:"notifies"`     // jobs
	Shares      Made    `json:"shares"`       // without an answer
	Sends       Made    `json:"psends"`       // always 0: nothing is queued
}

// Replies with a list of pools that are mined for.
type (
	// ProxyList is the reply to proxies.
	ProxyList struct {
		Proxies []Proxy `json:"proxies"` // in order of preference
	}
	// SubProxyList is the reply to subproxies.
	SubProxyList struct {
		SubProxies []SubProxy `json:"subproxies"` // by SubID
	}
	// ProxyConnectionList are connections, of which an instance that mines from nodes
	// has none.
	ProxyConnectionList struct {
		Proxies []ProxyConnection `json:"proxies"` // of all pools
	}
	// ProxyStatsList is the reply to proxystats without a pool.
	ProxyStatsList struct {
		Proxies []ProxyStats `json:"proxy"` // one for each pool
	}
	// SubProxyStatsList is the reply to subproxystats.
	SubProxyStatsList struct {
		Proxies []SubProxyStats `json:"proxy"` // one for each pool
	}
	// ProxyUserList is the reply to proxyusers.
	ProxyUserList struct {
		Users []ProxyUser `json:"users"`   // in no order
		Left  int64       `json:"no_room"` // logins of users for whom there was no room
	}
)

// NewProxy is a pool to mine for as addproxy takes it. All but URL and Auth may be left
// out; they are what they are in an entry of "proxy" in ckpool.conf.
type NewProxy struct {
	URL    string  `json:"url"`              // host:port, or as in ckpool.conf
	Auth   string  `json:"auth"`             // account at the pool
	Pass   string  `json:"pass"`             // its password
	UserID int64   `json:"userid,omitempty"` // who alone is to mine there, 0 for everybody
	Weight float64 `json:"weight,omitempty"` // part of the hash rate, in proportion to other weights
	SOCKS5 string  `json:"socks5,omitempty"` // proxy to connect through, host:port
	Pin    string  `json:"pin,omitempty"`    // hex
	Agent  string  `json:"agent,omitempty"`  // what the pool is told as user agent
}

// Proxies are the pools that the instance mines for, in order of preference, those of
// single users behind the others. An instance that mines from nodes refuses this and all
// that follows but ProxyConnections, which are none there.
func (c *Client) Proxies(ctx context.Context) ([]Proxy, error) {
	reply, err := list[ProxyList](ctx, c, "list")
	return reply.Proxies, err
}

// SubProxies are the connections to a pool.
func (c *Client) SubProxies(ctx context.Context, id int64) ([]SubProxy, error) {
	reply, err := list[SubProxyList](ctx, c, fmt.Sprintf(`sublist={"id": %d}`, id))
	return reply.SubProxies, err
}

// AddProxy makes the instance mine for another pool too, until it ends.
func (c *Client) AddProxy(ctx context.Context, p NewProxy) (ProxyAccount, error) {
	return query[ProxyAccount](ctx, c, "addproxy="+Encode(p))
}

// RemoveProxy takes a pool from those that are mined for.
func (c *Client) RemoveProxy(ctx context.Context, id int64) (ProxyAccount, error) {
	return ask[ProxyAccount](ctx, c, "delproxy", number(id))
}

// EnableProxy mines for a pool that was disabled.
func (c *Client) EnableProxy(ctx context.Context, id int64) (ProxyAccount, error) {
	return ask[ProxyAccount](ctx, c, "enableproxy", number(id))
}

// DisableProxy mines for a pool no longer until it is enabled.
func (c *Client) DisableProxy(ctx context.Context, id int64) (ProxyAccount, error) {
	return ask[ProxyAccount](ctx, c, "disableproxy", number(id))
}

// MoveProxy gives a pool a place in the order of preference, 0 the first.
func (c *Client) MoveProxy(ctx context.Context, id, priority int64) (ProxyConnection, error) {
	return ask[ProxyConnection](ctx, c, "setproxy", number(id), number(priority))
}

// ProxyStats are what became of shares, by pool.
func (c *Client) ProxyStats(ctx context.Context) ([]ProxyStats, error) {
	reply, err := list[ProxyStatsList](ctx, c, "proxystats")
	return reply.Proxies, err
}

// OneProxyStats are what became of the shares of one pool.
func (c *Client) OneProxyStats(ctx context.Context, id int64) (ProxyStats, error) {
	return ask[ProxyStats](ctx, c, "proxystats", number(id))
}

// OneSubProxyStats are what became of the shares of one connection.
func (c *Client) OneSubProxyStats(ctx context.Context, id, subID int64) (ProxyStats, error) {
	return ask[ProxyStats](ctx, c, "proxystats", number(id), number(subID))
}

// SubProxyStats are what became of shares, by connection.
func (c *Client) SubProxyStats(ctx context.Context) ([]SubProxyStats, error) {
	reply, err := list[SubProxyStatsList](ctx, c, "subproxystats")
	return reply.Proxies, err
}

// ProxyUsers are the users that have accounts of their own at another pool, or were to.
func (c *Client) ProxyUsers(ctx context.Context) (ProxyUserList, error) {
	return list[ProxyUserList](ctx, c, "proxyusers")
}

// ProxyConnections are the connections to all pools and their room for miners.
func (c *Client) ProxyConnections(ctx context.Context) ([]ProxyConnection, error) {
	reply, err := list[ProxyConnectionList](ctx, c, "proxyinfo")
	return reply.Proxies, err
}

// ProxyConnection is one connection to a pool, by the ids of [Proxy] and [SubProxy].
func (c *Client) ProxyConnection(ctx context.Context, id, subID int64) (ProxyConnection, error) {
	return ask[ProxyConnection](ctx, c, "getproxy", number(id), number(subID))
}

// OpenProxyConnections opens so many more connections to a pool.
func (c *Client) OpenProxyConnections(ctx context.Context, id int64, count int) error {
	_, err := c.Run(ctx, "recruit", number(id), strconv.Itoa(count))
	return err
}

// CloseProxyConnection closes one connection to a pool, not the first.
func (c *Client) CloseProxyConnection(ctx context.Context, id, subID int64) error {
	_, err := c.Run(ctx, "dropproxy", number(id), number(subID))
	return err
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
