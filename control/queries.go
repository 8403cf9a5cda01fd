package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/sharelog"
)

// RefusedError is a reply that says a command was not carried out.
type RefusedError struct {
	Command string // as it was sent
	Text    string // why
}

// Error is the command, once, and why it was refused.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%.100s: %s", e.Command, strings.TrimPrefix(e.Text, e.Command+": "))
}

// Time is a time in replies: unix seconds, 0 for never, which is the zero Time.
type Time struct{ time.Time }

// At is a time for a reply; the zero time is never.
func At(t time.Time) Time { return Time{t} }

func (t Time) seconds() int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// UnmarshalJSON reads seconds.
func (t *Time) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	t.Time = time.Time{}
	if seconds != 0 {
		t.Time = time.Unix(int64(seconds), 0)
	}
	return nil
}

// Rates are averages of difficulty per second over the last minutes; times 2^32
// they are hashes per second.
type Rates struct {
	DSPS1    float64 `json:"dsps1"`    // 1 minute
	DSPS5    float64 `json:"dsps5"`    // 5 minutes
	DSPS60   float64 `json:"dsps60"`   // an hour
	DSPS1440 float64 `json:"dsps1440"` // a day
}

// User is one user.
type User struct {
	User           string  `json:"user"`     // name
	ID             int64   `json:"id"`       // that no other user gets
	Workers        int64   `json:"workers"`  // connected
	BestDifficulty float64 `json:"bestdiff"` // of the round
	Rates
	DSPS10080 float64 `json:"dsps10080"` // a week
	LastShare Time    `json:"lastshare"` // that was accepted
	BestEver  float64 `json:"bestever"`  // difficulty, since the user was first seen
}

// Worker is one worker of a user.
type Worker struct {
	User   string `json:"user"`   // name of the user
	Worker string `json:"worker"` // the user's name included
	ID     int64  `json:"id"`     // of the user
	Rates
	LastShare      Time    `json:"lastshare"` // that was accepted
	Started        Time    `json:"started"`   // of the connection, never if there is none
	BestDifficulty float64 `json:"bestdiff"`  // of the round
	MinDifficulty  int64   `json:"mindiff"`   // 0: no worker has one of its own
	Idle           bool    `json:"idle"`      // not connected, or no share for a minute
	// Shares since the worker was first seen, and submits that were refused.
	AcceptedShares int64   `json:"accepted_shares"`
	Rejects        Counts  `json:"rejects"`    // by reason
	LastReject     string  `json:"lastreject"` // reason
	LastRejected   Time    `json:"lastrejected"`
	BestEver       float64 `json:"bestever"`
}

// Connection is one connected miner.
type Connection struct {
	ID                uint64  `json:"id"`         // that no other connection gets
	Extranonce1       string  `json:"enonce1"`    // hex
	Extranonce1Own    string  `json:"enonce1var"` // the part that is the miner's alone
	Extranonce1Number int64   `json:"enonce1_64"` // as a little-endian number
	Difficulty        float64 `json:"diff"`       // of its shares
	Rates
	DSPS10080      float64 `json:"dsps10080"`  // a week
	LastShare      Time    `json:"lastshare"`  // that was accepted
	Start          Time    `json:"starttime"`  // when it connected
	Address        string  `json:"address"`    // of the miner, without port
	Subscribed     bool    `json:"subscribed"` // it has sent mining.subscribe
	Authorised     bool    `json:"authorised"` // it has logged in
	Idle           bool    `json:"idle"`       // no share for a minute
	UserAgent      string  `json:"useragent"`  // as mining.subscribe told it
	Worker         string  `json:"workername"` // name, with the user's
	UserID         int64   `json:"userid"`     // of the user
	Server         int     `json:"server"`     // index of the listen address
	BestDifficulty float64 `json:"bestdiff"`   // of its best share
	ProxyID        int64   `json:"proxyid"`    // 0 where work comes from nodes
	SubProxyID     int64   `json:"subproxyid"` // connection to that pool
	NoRolling      bool    `json:"no_rolling"` // it asked for version rolling and was told false
}

// PoolStats are statistics of the pool; counts and sums are of the round.
type PoolStats struct {
	Start             Time    `json:"start"`          // of the program
	Update            Time    `json:"update"`         // when the averages were true
	Workers           int64   `json:"workers"`        // connected
	Users             int64   `json:"users"`          // with a connection
	Disconnected      int64   `json:"disconnected"`   // sessions that may be resumed
	Shares            int64   `json:"shares"`         // accepted
	SPS1              float64 `json:"sps1"`           // shares per second over a minute
	SPS5              float64 `json:"sps5"`           // over 5 minutes
	SPS15             float64 `json:"sps15"`          // over 15 minutes
	SPS60             float64 `json:"sps60"`          // over an hour
	Accepted          float64 `json:"accepted"`       // difficulty
	Rejected          float64 `json:"rejected"`       // difficulty
	DSPS1             float64 `json:"dsps1"`          // difficulty per second over a minute
	DSPS5             float64 `json:"dsps5"`          // over 5 minutes
	DSPS15            float64 `json:"dsps15"`         // over 15 minutes
	DSPS60            float64 `json:"dsps60"`         // over an hour
	DSPS360           float64 `json:"dsps360"`        // over 6 hours
	DSPS1440          float64 `json:"dsps1440"`       // over a day
	DSPS10080         float64 `json:"dsps10080"`      // over a week
	AcceptedCount     int64   `json:"accepted_count"` // shares
	RejectedCount     int64   `json:"rejected_count"` // shares
	BestShare         float64 `json:"bestshare"`      // difficulty
	NetworkDifficulty float64 `json:"netdiff"`        // of the block that is mined
	Height            int64   `json:"height"`         // of the block that is mined, 0 without work
	Work              Time    `json:"worktime"`       // when the work was made
	NoRolling         int64   `json:"no_rolling"`     // miners that asked for version rolling and were told false
	// Since the start, however many rounds there were.
	TotalAccepted      float64 `json:"total_accepted"` // difficulty
	TotalRejected      float64 `json:"total_rejected"`
	TotalAcceptedCount int64   `json:"total_accepted_count"` // shares
	TotalRejectedCount int64   `json:"total_rejected_count"`
}

// Uptime is how long the pool has run.
type Uptime struct {
	Seconds int64 `json:"uptime"` // since the start
}

// Payout says whether blocks can be paid to an address.
type Payout struct {
	Address string `json:"address"` // that was asked about
	Valid   bool   `json:"valid"`   // blocks can be paid to it
	Reason  string `json:"reason"`  // why not
}

// Block is a block the pool has found.
type Block struct {
	Height     int64   `json:"height"`          // in the chain
	Hash       string  `json:"hash"`            // hex, most significant byte first
	Worker     string  `json:"worker"`          // that found it
	Difficulty float64 `json:"difficulty"`      // of the network
	Reward     int64   `json:"reward"`          // satoshis
	Time       Time    `json:"time"`            // when it was found
	State      string  `json:"state"`           // pending, confirmed N, orphaned, rejected: TEXT
	Chain      string  `json:"chain,omitempty"` // main, test, testnet4, signet, regtest; "" unknown
	Work       float64 `json:"work,omitempty"`  // difficulty of the pool's shares since its block before that was not lost; 0 unknown
}

// Node is one of the pool's bitcoin nodes.
type Node struct {
	URL       string  `json:"url"`                   // host:port
	State     string  `json:"state"`                 // ok, or what is wrong, in a word or two
	Reason    string  `json:"reason"`                // why it is not ok
	Version   string  `json:"version"`               // as it calls itself, "" unknown
	Current   bool    `json:"current"`               // work comes from it
	Height    int64   `json:"height"`                // -1 unknown
	LatencyMS float64 `json:"latency_ms" digits:"6"` // of its last answer
}

// Journal is that of the pool's shares. Sizes are bytes.
type Journal struct {
	Kept         bool            `json:"kept"`          // there is one, and it is open
	Epoch        uint64          `json:"epoch"`         // of the last record that is safe against a power cut
	Number       uint64          `json:"number"`        // of that record
	UnsafeShares uint64          `json:"unsafe_shares"` // safe against the end of the process alone
	UnsafeBytes  int64           `json:"unsafe_bytes"`  // of them and of other records
	UnsafeAgeMS  float64         `json:"unsafe_age_ms"` // of the oldest, at most
	LostRecords  uint64          `json:"lost_records"`  // that there was no room for while the disk did not take more
	LostShares   uint64          `json:"lost_shares"`   // of them
	Size         int64           `json:"size"`          // on disk
	Error        string          `json:"error"`         // why nothing can be written at present
	Readers      []JournalReader `json:"readers"`       // by name
}

// JournalReader is who reads a journal, such as ckdb.
type JournalReader struct {
	Name   string `json:"name"`   // that it gave itself
	Epoch  uint64 `json:"epoch"`  // of the last record that it has stored
	Number uint64 `json:"number"` // of that record
	Behind uint64 `json:"behind"` // records that it has not stored
}

// Objects counts things in memory.
type Objects struct {
	Count  int64 `json:"count"`  // how many there are
	Memory int64 `json:"memory"` // bytes, about
}

// Made are objects of which it is known how many were ever made.
type Made struct {
	Objects
	Generated int64 `json:"generated"` // how many there ever were
}

// StratifierStats are what a pool holds in memory.
type StratifierStats struct {
	Workbases       Made     `json:"workbases"`         // jobs
	RemoteWorkbases Objects  `json:"remote_workbases"`  // always 0: jobs of trusted remotes are not kept
	UserWorkbases   *Objects `json:"userwbs,omitempty"` // solo: of addresses
	Users           Objects  `json:"users"`             // that are known
	Clients         Made     `json:"clients"`           // connections
	Disconnected    Made     `json:"disconnected"`      // sessions that may be resumed
	Shares          Made     `json:"shares"`            // remembered for duplicates
	Transactions    Made     `json:"transactions"`      // always 0, as are the three that follow: nothing is queued
	Sends           Made     `json:"ssends"`            // to miners
	Receives        Made     `json:"srecvs"`            // from miners
	Transfers       Made     `json:"stxnq"`             // of transactions
}

// ConnectorStats are the connections, what slow ones cost, how many have not come
// through PROXY header and TLS handshake, and why others ended.
type ConnectorStats struct {
	Clients  Made   `json:"clients"`  // connections
	Dead     Made   `json:"dead"`     // always 0: what is closed is not kept
	Sends    Made   `json:"sends"`    // clients with unsent output, and its bytes
	Delays   Made   `json:"delays"`   // the same; Generated is how often newer work replaced unsent work
	Entering Made   `json:"entering"` // not yet through PROXY header and TLS handshake
	Drops    Counts `json:"drops"`    // closed connections by reason
}

// BestShares are the best shares of a user, or of the pool.
type BestShares struct {
	User      string  `json:"user"`      // name
	BestShare float64 `json:"bestshare"` // of the round
	BestEver  float64 `json:"bestever"`  // since the user was first seen
}

// Link is another pool whose miners are served over one connection.
type Link struct {
	ID      int64  `json:"id"`      // that no other link gets
	Role    string `json:"role"`    // passthrough, node or remote
	Address string `json:"address"` // where it comes from, host:port
	Program string `json:"program"` // as it calls itself
	Dialect int64  `json:"dialect"` // 0: that of ckpool in C
	Miners  int64  `json:"miners"`  // that are behind it
	Since   Time   `json:"since"`   // when it was made
}

// Replies with a list.
type (
	// UserList is the reply to users.
	UserList struct {
		Users []User `json:"users"` // by ID
	}
	// WorkerList is the reply to workers.
	WorkerList struct {
		Workers []Worker `json:"workers"` // by ID of the user
	}
	// ConnectionList are connections, all or those of one user.
	ConnectionList struct {
		User    string       `json:"user,omitempty"` // "": of all users
		Clients []Connection `json:"clients"`        // in no order
	}
	// ConnectionIDs are the connections of a user or worker.
	ConnectionIDs struct {
		User    string   `json:"user,omitempty"`   // that was asked for, or "" and a worker
		Worker  string   `json:"worker,omitempty"` // likewise
		Clients []uint64 `json:"clients"`          // as in Connection
	}
	// BlockList is the reply to blocks.
	BlockList struct {
		Blocks []Block `json:"blocks"` // the oldest first
	}
	// NodeList is the reply to nodes.
	NodeList struct {
		Nodes []Node `json:"nodes"` // in order of preference
	}
	// LinkList is the reply to links.
	LinkList struct {
		Links []Link `json:"links"` // the oldest first
	}
	// BestShareList is the reply to bestshares.
	BestShareList struct {
		BestShare float64      `json:"bestshare"` // of the round
		Users     []BestShares `json:"users"`     // the best first
	}
	// RejectCounts are rejected shares by reason.
	RejectCounts struct {
		Rejects Counts `json:"rejects"` // since the start
	}
	// DropCounts are closed connections by reason.
	DropCounts struct {
		Drops Counts `json:"drops"` // since the start
	}
)

// Connector is ConnectorStats with the seconds since the start, as it stands in the log.
type Connector struct {
	Runtime int64 `json:"runtime"` // seconds
	ConnectorStats
}

// Upstream is a pool that serves the miners of a passthrough.
type Upstream struct {
	URL     string `json:"url"`     // host:port
	Alive   bool   `json:"alive"`   // it gives a link
	Active  bool   `json:"active"`  // new miners go there
	Changed Time   `json:"changed"` // when it became alive, or was no longer
	Dialect string `json:"dialect"` // of the link, in words
	Clients int64  `json:"clients"` // that it serves
	Reason  string `json:"reason"`  // why it is not alive
}

// UpstreamList are the pools of a passthrough, in order of preference.
type UpstreamList struct {
	Upstreams []Upstream `json:"upstreams"` // the most preferred first
}

// Passed is one miner of a passthrough.
type Passed struct {
	ID         uint64 `json:"id"`         // of its channel
	Address    string `json:"address"`    // of the miner, without port
	Worker     string `json:"workername"` // whom it said to be, "" nobody yet
	UserAgent  string `json:"useragent"`  // as mining.subscribe told it
	Subscribed bool   `json:"subscribed"` // it has sent mining.subscribe
	Authorised bool   `json:"authorised"` // it has logged in
	Redirected bool   `json:"redirected"` // it was told to connect to a pool itself
	Upstream   string `json:"upstream"`   // that serves it
	Server     int    `json:"server"`     // index of the listen address
}

// PassedList are the miners of a passthrough.
type PassedList struct {
	Clients []Passed `json:"clients"` // by ID
}

// Base is what getbase adds to the template of the node.
type Base struct {
	Difficulty float64 `json:"diff"`      // of the network
	Time       string  `json:"ntime"`     // this and the next in hex, most significant byte first
	Version    string  `json:"bbversion"` // of the header
	Bits       string  `json:"nbit"`      // compact target
}

// Reloaded tells what reading the configuration again has changed.
type Reloaded struct {
	Changed []string `json:"changed"` // keys in force
	Restart []string `json:"restart"` // keys that wait for the next start
}

// text asks for a reply that is no object. The error is a [*RefusedError] where
// the pool refused, else one of [Client.Do].
func (c *Client) text(ctx context.Context, request string) (string, error) {
	reply, err := c.Do(ctx, request)
	if err != nil {
		return "", err
	}
	if !Failed(reply) {
		return reply, nil
	}
	return "", &RefusedError{request, Refusal(reply)}
}

// query decodes a reply's object.
func query[T any](ctx context.Context, c *Client, request string) (v T, err error) {
	reply, err := c.text(ctx, request)
	if err == nil {
		err = json.Unmarshal([]byte(reply), &v)
		if err != nil {
			err = fmt.Errorf("reply to %.100s: %w", request, err)
		}
	}
	return v, err
}

// list is a query for a reply with a list, which must be there.
func list[T any](ctx context.Context, c *Client, request string) (v T, err error) {
	v, err = query[T](ctx, c, request)
	if err != nil {
		return v, err
	}
	for f, field := range reflect.ValueOf(v).Fields() {
		if field.Kind() == reflect.Slice && field.IsNil() {
			name, _ := key(f)
			return v, fmt.Errorf("reply to %.100s: no %s", request, name)
		}
	}
	return v, nil
}

// Run sends one of [Commands] with its arguments, such as "messageuser", "alice",
// "hello", and returns the reply. A refusal is a [*RefusedError].
func (c *Client) Run(ctx context.Context, name string, args ...string) (string, error) {
	request, err := Message(append([]string{name}, args...)...)
	if err != nil {
		return "", err
	}
	return c.text(ctx, request)
}

// Ping returns nil if the instance answers.
func (c *Client) Ping(ctx context.Context) error {
	reply, err := c.text(ctx, "ping")
	if err == nil && reply != "pong" {
		err = errors.New("ping: answered " + strconv.Quote(reply))
	}
	return err
}

// Version is the program's.
func (c *Client) Version(ctx context.Context) (string, error) { return c.text(ctx, "version") }

// Uptime is the time since the start.
func (c *Client) Uptime(ctx context.Context) (time.Duration, error) {
	up, err := query[Uptime](ctx, c, "uptime")
	return time.Duration(up.Seconds) * time.Second, err
}

// Shutdown ends the instance. It is still ending when Shutdown returns.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.text(ctx, "shutdown")
	return err
}

// SetLogLevel sets the level, 0 to 7, up to which lines are logged.
func (c *Client) SetLogLevel(ctx context.Context, level int) error {
	_, err := c.text(ctx, "loglevel="+strconv.Itoa(level))
	return err
}

// Reload makes the instance read its configuration again.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return query[Reloaded](ctx, c, "reload")
}

// Update makes the pool ask its node for new work.
func (c *Client) Update(ctx context.Context) error {
	_, err := c.text(ctx, "update")
	return err
}

// PoolStats are the pool's statistics.
func (c *Client) PoolStats(ctx context.Context) (PoolStats, error) {
	return query[PoolStats](ctx, c, "poolstats")
}

// Users are all users of this run and those read from files.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	reply, err := list[UserList](ctx, c, "users")
	return reply.Users, err
}

// Workers are all workers.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	reply, err := list[WorkerList](ctx, c, "workers")
	return reply.Workers, err
}

// Clients are all connected miners.
func (c *Client) Clients(ctx context.Context) ([]Connection, error) {
	reply, err := list[ConnectionList](ctx, c, "clients")
	return reply.Clients, err
}

// Connection is one connected miner.
func (c *Client) Connection(ctx context.Context, id uint64) (Connection, error) {
	return ask[Connection](ctx, c, "getclient", strconv.FormatUint(id, 10))
}

// UserConnections are a user's connected miners.
func (c *Client) UserConnections(ctx context.Context, name string) ([]Connection, error) {
	reply, err := list[ConnectionList](ctx, c, about("ucinfo", "user", name))
	return reply.Clients, err
}

// WorkerConnections are a worker's connected miners.
func (c *Client) WorkerConnections(ctx context.Context, name string) ([]Connection, error) {
	reply, err := list[ConnectionList](ctx, c, about("wcinfo", "worker", name))
	return reply.Clients, err
}

// about is a request with one text, which strangers may have chosen: whatever it is, it is
// nothing but that.
func about(command, key, text string) string {
	o := sharelog.NewObject([]byte(command + "="))
	o.String(key, text)
	return string(o.Close())
}

// User is one user; the error is a [*RefusedError] if there is none.
func (c *Client) User(ctx context.Context, name string) (User, error) {
	return query[User](ctx, c, about("getuser", "user", name))
}

// Worker is one worker.
func (c *Client) Worker(ctx context.Context, name string) (Worker, error) {
	return query[Worker](ctx, c, about("getworker", "worker", name))
}

// ask is a query with arguments.
func ask[T any](ctx context.Context, c *Client, args ...string) (v T, err error) {
	request, err := Message(args...)
	if err != nil {
		return v, err
	}
	return query[T](ctx, c, request)
}

// CheckAddress asks whether blocks can be paid to an address.
func (c *Client) CheckAddress(ctx context.Context, address string) (Payout, error) {
	return query[Payout](ctx, c, about("checkaddr", "address", address))
}

// Blocks are the blocks the pool has found, the oldest first.
func (c *Client) Blocks(ctx context.Context) ([]Block, error) {
	reply, err := list[BlockList](ctx, c, "blocks")
	return reply.Blocks, err
}

// Links are the other pools that have a link here, the oldest first.
func (c *Client) Links(ctx context.Context) ([]Link, error) {
	reply, err := list[LinkList](ctx, c, "links")
	return reply.Links, err
}

// Nodes are the pool's nodes, in order of preference.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	reply, err := list[NodeList](ctx, c, "nodes")
	return reply.Nodes, err
}

// Journal is how the journal of shares does.
func (c *Client) Journal(ctx context.Context) (Journal, error) {
	return ask[Journal](ctx, c, "journal")
}

// BestShares are those of the users with the best shares, the best first.
func (c *Client) BestShares(ctx context.Context) ([]BestShares, error) {
	reply, err := list[BestShareList](ctx, c, "bestshares")
	return reply.Users, err
}

// Rejects counts rejected shares by reason, since the start.
func (c *Client) Rejects(ctx context.Context) (Counts, error) {
	reply, err := list[RejectCounts](ctx, c, "rejects")
	return reply.Rejects, err
}

// Drops counts closed connections by reason, since the start.
func (c *Client) Drops(ctx context.Context) (Counts, error) {
	reply, err := list[DropCounts](ctx, c, "drops")
	return reply.Drops, err
}

// ShowMessage shows a text on all miners.
func (c *Client) ShowMessage(ctx context.Context, text string) error {
	_, err := c.text(ctx, "message="+text)
	return err
}

// Drop closes one miner's connection.
func (c *Client) Drop(ctx context.Context, id uint64) error {
	_, err := c.text(ctx, "dropclient="+strconv.FormatUint(id, 10))
	return err
}
